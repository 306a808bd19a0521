import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CorruptDataError
from featurestore.format.division import Division
from featurestore.format.parts import (
    PARTS,
    Part,
    part_key,
    parts_metadata,
    read_parts,
    recorded_shards,
    table_digest,
    without_records,
)
from featurestore.format.texts import pack_text
from featurestore.storage.local import LocalFiles

DIVISION = Division(clips_per_shard=8, shards_per_part=4)
PART = Part(number=1, n_rows=20, table="t", status="s", records=[[4, 6]])


def packed(part=PART, **fields):
    """A manifest's file with other fields."""
    return pack_text(json.dumps({**dataclasses.asdict(part), **fields}))


@given(
    st.builds(
        Part,
        number=st.just(1),
        n_rows=st.integers(20, 32),
        table=st.text(max_size=40),
        status=st.text(max_size=40),
        records=st.sampled_from([[], [[4, 5]], [[4, 8]], [[4, 5], [7, 8]]]),
    )
)
def test_a_manifest_is_read_back(part):
    assert Part.from_bytes(part.to_bytes(), 1, DIVISION, 52) == part


def test_a_store_that_has_grown_since_it_was_opened_may_have_more_rows():
    assert Part.from_bytes(packed(n_rows=32), 1, DIVISION, 52).n_rows == 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"number": 0}, "of part 0 with 20 rows"),
        ({"number": None}, "of part None"),
        ({"n_rows": 19}, "of part 1 with 19 rows"),
        ({"n_rows": "20"}, "not a part's manifest"),
        ({"table": None}, "digests must be texts"),
        ({"status": 3}, "digests must be texts"),
        ({"records": [[5, 6], [4, 5]]}, "its records are not ascending"),
        ({"records": [[4, 6], [5, 7]]}, "its records are not ascending"),
        ({"records": [[4, 4]]}, "its records are not ascending"),
        ({"records": [[4.0, 5]]}, "its records are not ascending"),
        ({"records": [[0, 1]]}, "its records are not ascending"),
        ({"records": [[4, 9]]}, "its records are of other parts"),
        ({"records": [[4, 10**400]]}, "its records are of other parts"),
        ({"records": [[4]]}, "not a part's manifest"),
        ({"records": 7}, "not a part's manifest"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(fields, message):
    with pytest.raises(CorruptDataError, match=f"parts/c/1: .*{message}"):
        Part.from_bytes(packed(**fields), 1, DIVISION, 52)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Part)])
def test_a_manifest_that_lacks_a_field_is_refused(field):
    fields = dataclasses.asdict(PART)
    del fields[field]
    with pytest.raises(CorruptDataError, match=f"not a part's manifest: '{field}'"):
        Part.from_bytes(pack_text(json.dumps(fields)), 1, DIVISION, 52)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", "[" * 1000])
def test_a_manifest_that_is_something_else_is_refused(text):
    with pytest.raises(CorruptDataError, match="parts/c/1"):
        Part.from_bytes(pack_text(text), 1, DIVISION, 52)


def test_every_flipped_bit_of_a_manifest_is_found():
    data = PART.to_bytes()
    for place in range(8 * len(data)):
        hurt = bytearray(data)
        hurt[place // 8] ^= 1 << place % 8
        with pytest.raises(CorruptDataError, match="parts/c/1"):
            Part.from_bytes(bytes(hurt), 1, DIVISION, 52)


def test_manifests_are_read_in_their_order_and_one_that_is_missing_is_named(tmp_path):
    files = LocalFiles(tmp_path)
    parts = tuple(
        Part(number=number, n_rows=32, table=f"{number}", records=[[4 * number, 4 * number + 1]])
        for number in range(12)
    )
    for part in parts:
        files.write(part.key, part.to_bytes())
    assert read_parts(files, DIVISION, 12 * 32) == parts
    assert read_parts(files, DIVISION, 0) == ()
    assert recorded_shards(parts) == {4 * number for number in range(12)}
    files.remove(part_key(10))
    with pytest.raises(CorruptDataError, match=f"parts/c/10: missing from {tmp_path}"):
        read_parts(files, DIVISION, 12 * 32)


def test_a_store_that_says_it_has_endless_parts_is_read_to_the_first_that_is_missing(tmp_path):
    """And no list is made of them all, which would take 100 GB."""
    tiny, n_asked = Division(clips_per_shard=1, shards_per_part=1), 0

    class Counting(LocalFiles):
        def read_several(self, keys, *most):
            nonlocal n_asked
            n_asked += len(keys)
            return super().read_several(keys, *most)

    files = Counting(tmp_path)
    files.write(part_key(0), Part(number=0, n_rows=1, table="").to_bytes())
    with pytest.raises(CorruptDataError, match="parts/c/1: missing"):
        read_parts(files, tiny, 10**9)
    assert n_asked < 1000


def test_a_record_that_is_gone_is_no_longer_expected():
    part = dataclasses.replace(PART, records=[[4, 8]])
    assert without_records(part, [5, None, 99]).records == [[4, 5], [6, 8]]
    assert without_records(part, []) == part


def test_the_tables_digest_tells_apart_any_two_manifests():
    one, other = PART, dataclasses.replace(PART, number=2)
    changed = dataclasses.replace(one, table="u")
    seen = [table_digest({"a": b""}, parts) for parts in ([], [one], [one, other], [changed])]
    assert len(set(seen)) == 4
    later = dataclasses.replace(one, status="", records=[])  # which a run's end changes alone
    assert table_digest({"a": b""}, [later]) == seen[1]


def test_zarr_lists_the_manifests(tmp_path):
    import zarr

    files = LocalFiles(tmp_path)
    files.write_several(parts_metadata(DIVISION, 52))
    files.write(PART.key, PART.to_bytes())
    array = zarr.open_array(tmp_path / PARTS, mode="r")
    assert array.shape == (2,)
    assert array[0] == ""
    assert json.loads(str(array[1]))["number"] == 1
