"""A store from a stranger: nothing that it says is believed before it is looked at.

What is injured here fits its checksums and digests, as whoever made the store would see to.
"""

import dataclasses
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import melgrid
from featurestore import FeatureStore
from featurestore.errors import CorruptDataError, StoreFormatError
from featurestore.format.clips import COLUMNS
from featurestore.format.columns import TABLE, by_part
from featurestore.format.layout import digest_of
from featurestore.format.metadata import _own_digest
from featurestore.format.parts import table_digest
from featurestore.format.shard import index_nbytes, pack, read_index
from featurestore.specs.encoding import Codec
from featurestore.storage.checksum import append_crc32c
from featurestore.storage.journal import JOURNAL, finish

FUZZ = Path(__file__).with_name("fuzz_reader.py")
SPEC = "sr8000-mel8-x2-db"
READING = {
    "ls": ("ls", "{store}"),
    "info": ("info", "{store}"),
    "info of a spec": ("info", "{store}", SPEC),
    "verify": ("verify", "{store}"),
    "failures": ("failures", "{store}"),
    "diff": ("diff", "{store}", "{store}"),
    "gc": ("gc", "{store}"),
    "show": ("show", "{store}", "clip 01", "-o", "{out}.png"),
    "export": ("export", "{store}", "{out}", "--quiet"),
}


@pytest.fixture
def store(shared_store, tmp_path):
    return shutil.copytree(shared_store.path, tmp_path / "store.zarr")


def told(name, store):
    """What a reading command prints: no traceback, and an error is one line."""
    words = [word.format(store=store, out=store.parent / "out") for word in READING[name]]
    result = CliRunner().invoke(melgrid, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    lines = [line for line in result.output.splitlines() if "shards/s" not in line]
    if any(line.startswith("Error: ") for line in lines):
        assert result.exit_code == 1
        assert len(lines) == 1
        assert len(lines[0]) < 1000
    return result.output


def change_root(store, **fields):
    document = json.loads((store / "zarr.json").read_text())
    attributes = document["attributes"]["melgrid"] | fields
    attributes.pop("digest")
    attributes["digest"] = _own_digest(attributes)
    document["attributes"]["melgrid"] = attributes
    (store / "zarr.json").write_text(json.dumps(document))


def change_spec(store, **fields):
    root = json.loads((store / "zarr.json").read_text())["attributes"]["melgrid"]
    change_root(store, specs={**root["specs"], SPEC: {**root["specs"][SPEC], **fields}})


def change_table(store, key, data):
    """Another file in the clip table, whose digests the root and the part's manifest have."""
    (store / key).write_bytes(data)
    common, parts = by_part(
        {
            str(path.relative_to(store)): path.read_bytes()
            for name in COLUMNS
            for path in (store / TABLE / name).rglob("*")
            if path.is_file()
        }
        | {"clips/zarr.json": (store / "clips/zarr.json").read_bytes()}
    )
    root = json.loads((store / "zarr.json").read_text())["attributes"]["melgrid"]
    part = FeatureStore.open(store).status.parts[0]
    part = dataclasses.replace(part, table=digest_of(parts.get(0, {})))
    change_root(store, digests={**root["digests"], TABLE: table_digest(common, [part])})
    (store / part.key).write_bytes(part.to_bytes())


DEEP = "[" * 100_000


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("key", ["zarr.json", f"{SPEC}/zarr.json", "commits/c/0/1", JOURNAL])
def test_json_that_is_nested_too_deeply_is_one_line(store, name, key):
    deep = DEEP.encode()
    text = b'{"attributes": {"melgrid": ' + deep
    if key.startswith("commits"):
        text = append_crc32c(struct.pack("<II", 1, len(deep)) + deep)
    elif key == JOURNAL:
        text = append_crc32c(deep)
        (store / ".run/journal").mkdir(parents=True)
    (store / key).write_bytes(text)
    said = told(name, store)
    # The journal and the group's metadata are read by no other.
    if name == "verify" or key not in (JOURNAL, f"{SPEC}/zarr.json"):
        assert "nested too deeply" in said or "not as it was written" in said


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_clips": 10**18}, "n_clips is 1000000000000000000; it must be"),
        ({"n_clips": 10**8}, "parts/c/0"),
        ({"n_clips": 10**9, "clips_per_shard": 1, "shards_per_part": 1}, "parts/c/0"),
        ({"n_clips": "20"}, "n_clips is '20'; it must be"),
        ({"specs": [f"sr{8000 + i}-mel8-x2-db" for i in range(20_000)]}, "20,000 specs; 10,000"),
        ({"specs": [7]}, "is damaged: "),
        ({"specs": {"a": {}}}, "'a' is not a spec's name"),
        ({"views": [SPEC, SPEC]}, "views names one twice"),
        ({"clips_per_shard": 2**60}, "clips_per_shard is 1152921504606846976; it must be"),
        ({"clips_per_shard": 0}, "clips_per_shard is 0; it must be"),
        ({"shards_per_part": True}, "shards_per_part is True; it must be"),
        ({"shards_per_part": 1}, "parts/c/0"),
        ({"views": None}, "is damaged: "),
        ({"window": {"duration": 10**400}}, "is damaged: "),
        ({"window": [1]}, "is damaged: "),
        ({"catalog": {}}, "catalog is {}; it must be a text"),
        ({"digests": []}, "is damaged: "),
        ({"digests": {TABLE: 3}}, "the digest of clips is 3; it must be a text"),
    ],
)  # fmt: skip
def test_a_root_that_says_what_cannot_be_is_one_line(store, name, fields, message):
    change_root(store, **fields)
    assert message in " ".join(told(name, store).split())


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize(
    "fields",
    [
        {"n_frames": 10**12},
        {"n_frames": 10**400},
        {"n_frames": 2**26},
        {"n_frames": 1e12},
        {"n_frames": "8"},
        {"settings": {"backend": {}}},
        {"settings": [1]},
        {"encoding": ["uint8"]},
        {"codec": None},
    ],
)
def test_a_layout_that_cannot_be_is_one_line_with_the_remedy(store, name, fields):
    change_spec(store, **fields)
    said = " ".join(told(name, store).split())
    assert said.startswith(f"Error: {store}: zarr.json is damaged: ")
    assert said.endswith("featurize into another place with -o")


def metadata(store, column, **fields):
    return json.dumps(
        json.loads((store / f"clips/{column}/zarr.json").read_text()) | fields
    ).encode()


@pytest.mark.parametrize("name", ["ls", "verify", "failures", "export"])
@pytest.mark.parametrize(
    ("key", "make", "message"),
    [
        ("clips/path/zarr.json", lambda s: metadata(s, "path", shape=[10**18]), "it is not of 20"),
        ("clips/fold/zarr.json", lambda s: metadata(s, "fold", data_type="int64"), "of type int16"),
        ("clips/fold/zarr.json", lambda s: metadata(s, "fold", codecs=[{}]), "fold: no 'name'"),
        ("clips/tag/zarr.json", lambda s: metadata(s, "tag", shape=[2**40]), "tag: 109951162777"),
        ("clips/tag/zarr.json", lambda s: DEEP.encode(), "tag: nested too deeply"),
        ("clips/path/c/0", lambda s: b"(\xb5/\xfd\xe0" + b"\xff" * 20, "does not hold 20 values"),
        ("clips/path/c/0", lambda s: b"(\xb5/\xfd\x00" + b"\xff" * 20, "not say how long it is"),
        ("clips/path/c/0", lambda s: b"no frame", "a chunk is no zstd frame"),
        (
            "clips/path/c/0",
            lambda s: _zstd(struct.pack("<II", 20, 2**32 - 9) + bytes(200)),
            "path: corrupt buffer, data seem truncated",
        ),
        (
            "clips/path/c/0",
            lambda s: _zstd(struct.pack("<I", 2**32 - 1) + bytes(200)),
            "path: ",
        ),
        ("clips/path/c/0", lambda s: _zstd(struct.pack("<II", 20, 99) + b"\xff" * 99), "path: "),
        ("clips/labels/c/0/0", lambda s: _zstd(b"\x02" * 40), "a label is neither 0 nor 1"),
    ],
)
def test_a_clip_table_that_cannot_be_is_one_line(store, name, key, make, message):
    change_table(store, key, make(store))
    said = " ".join(told(name, store).split())
    assert ("no other file tells which row is which clip" if name == "verify" else message) in said


def _zstd(data):
    from numcodecs import zstd

    return zstd.compress(data)


def reseal(store, chunk, position=1):
    """Put a chunk in a shard's row, and commit it."""
    from featurestore.format.commits import read_commit, write_commit
    from featurestore.format.division import Division
    from featurestore.format.statistics import row_checksum, unpack_statistics
    from featurestore.writer import write_shard

    opened = FeatureStore.open(store)
    layout = next(k for k in opened.layouts.values() if k.spec.name == SPEC)
    data = (store / layout.statistics_key(0)).read_bytes()
    statistics = unpack_statistics(data, layout, "")[0]
    stored = append_crc32c(chunk)
    rows = [((stored,), statistics) if p == position else None for p in range(8)]
    commit = read_commit(opened.files, Division.of(8), 0)
    specs = {**commit.specs, SPEC: write_shard(opened.files, layout, 0, rows)}
    write_commit(opened.files, Division.of(8), 0, dataclasses.replace(commit, specs=specs))
    assert row_checksum((stored,), statistics)
    return FeatureStore.open(store)[SPEC]


@pytest.mark.parametrize("n_packed", [2**28, 2**31 - 1, 2**32 - 1, 200])
def test_a_chunk_that_says_it_is_longer_than_it_is_gives_nothing_away(store, n_packed):
    """That was 1.8 MB of what else was in memory, and 256 MB ended the process."""
    values = np.zeros((8, 8), np.float16)
    whole = Codec().compress(values)
    lying = whole[:12] + struct.pack("<I", n_packed) + whole[16:]
    array = reseal(store, whole)
    np.testing.assert_array_equal(array[1], values)
    array = reseal(store, lying)
    with pytest.raises(
        CorruptDataError, match=rf"clip 1: a chunk holds {len(whole)} bytes, and says {n_packed}"
    ):
        array[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({0: 3}, "in another way"),  # Blosc's version
        ({1: 2}, "in another way"),
        ({2: 0x90}, "in another way"),  # not shuffled
        ({2: 0x34}, "in another way"),  # lz4
        ({2: 0x9C}, "in another way"),  # a flag of the future
        ({2: 0x96}, "is a copy of"),
        ({3: 3}, "in another way"),
        ({4: 64}, "unpacks to 64 bytes, not 128"),
        ({8: 3}, "in another way"),  # a block
        ({8: 0}, "in another way"),
        ({16: 16}, "blocks do not fill it"),  # where it begins
        ({16: 21}, "blocks do not fill it"),
        ({20: 0}, "blocks do not fill it"),  # how long it is
        ({20: 255}, "blocks do not fill it"),
    ],
)
def test_a_chunk_whose_header_is_none_of_ours_is_refused(rng, fields, message):
    values = rng.integers(0, 2, (8, 8)).astype(np.float16)
    packed = bytearray(Codec().compress(values))
    assert packed[2] == 0x94
    for place, value in fields.items():
        packed[place] = value
    with pytest.raises(CorruptDataError, match=message):
        Codec().decompress(memoryview(packed), np.empty_like(values))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("threads", [1, 4])
def test_chunks_of_several_blocks_and_parts_are_read(rng, codec, dtype, threads):
    """lz4 packs long chunks so, and in any order if it has threads."""
    from numcodecs import blosc

    values = rng.normal(size=(96, 9000)).cumsum(axis=1).astype(dtype)
    before = blosc.set_nthreads(threads)
    try:
        packed = Codec(name=codec).compress(values)
    finally:
        blosc.set_nthreads(before)
    out = np.empty_like(values)
    Codec(name=codec).decompress(memoryview(packed), out)
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ((0, 2**63), "its index does not fit its size"),
        ((2**64 - 8, 16), "its index does not fit its size"),
        ((0, 2**40), "its index does not fit its size"),
        ((10, 5), "its index does not fit its size"),  # behind another chunk's beginning
        ((2**64 - 1, 3), "its index does not fit its size"),
    ],
)
def test_a_shards_index_is_looked_at_before_it_is_used(entry, message):
    clips = [(append_crc32c(bytes(12)),), (append_crc32c(bytes(20)),)]
    data = b"".join(pack(clips, 3, 1))
    tail = data[-index_nbytes(3) : -4]
    hurt = append_crc32c(tail[:16] + struct.pack("<QQ", *entry) + tail[32:])
    assert len(read_index(append_crc32c(tail), 3, 1, len(data), "it").places) == 3
    with pytest.raises(CorruptDataError, match=f"^it: {message}"):
        read_index(hurt, 3, 1, len(data), "it")


@pytest.mark.parametrize("head", [
    {"removed": [""], "sizes": []},
    {"removed": ["../outside"], "sizes": []},
    {"removed": ["a"], "sizes": [["/etc/passwd", 3]]},
    {"removed": ["a"], "sizes": [["b", -3], ["c", 6]]},
    {"removed": ["a"], "sizes": [["b", 2**62]]},
    {"removed": 7, "sizes": []},
    {"removed": [{}], "sizes": [["b", 3]]},
    [],
])  # fmt: skip
def test_a_journal_that_none_of_our_runs_wrote_is_not_carried_out(make_store, tmp_path, head):
    store = make_store()
    (tmp_path / "outside").mkdir()
    store.files.write(JOURNAL, append_crc32c(json.dumps(head).encode() + b"\nabc"))
    before = {path for path in tmp_path.rglob("*") if ".run" not in str(path)}
    with pytest.raises(CorruptDataError, match="changes: not a journal: "):
        finish(store.files)
    assert {path for path in tmp_path.rglob("*") if ".run" not in str(path)} == before


def test_a_file_of_metadata_that_is_too_long_is_not_read(store):
    os.truncate(store / "zarr.json", 2**40)  # with a hole that takes no room on the disk
    with pytest.raises(StoreFormatError, match=r"zarr.json is damaged: 1,099,511,627,776 bytes"):
        FeatureStore.open(store)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="guards memory by Linux's means")
@pytest.mark.parametrize("shards_per_part", [None, 1])
def test_no_injury_ends_a_reader_or_gives_it_what_was_not_there(
    make_store, shards_per_part, thorough, record_property
):
    store = Path(make_store(shards_per_part=shards_per_part).path)
    before = {path: path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}
    n = 25_000 if thorough else 1000  # four of five are of chunks
    done = subprocess.run(
        # Not where the file lies: folders of tests are called like the packages.
        [sys.executable, "-P", FUZZ, store, str(n), "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-5000:]}"
    counts = json.loads(done.stdout)
    record_property("injuries", counts)
    assert sum(counts.values()) == n
    assert counts["chunk refused"] > n / 3
    assert counts["chunk read"] > n / 20
    assert {
        path: path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()
    } == before
