import dataclasses
import json

import numpy as np
import pytest

from featurestore import FeatureSpec
from featurestore.errors import SettingsError, StoreFormatError
from featurestore.format.layout import (
    FORMAT,
    ROOT_KEY,
    Layout,
    Root,
    numbers_in,
    read_attributes,
    spans_of,
    spans_without,
)
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.storage.files import Files

WINDOW = dataclasses.asdict(Excerpt())


def layout(**changes):
    return Layout(
        **{
            "spec": FeatureSpec(sr=16000, n_mels=48, hop=2, fmin=30),
            "encoding": Encoding(),
            "codec": Codec(),
            "clips_per_shard": 8,
            "n_frames": 10,
            "settings": {"backend": "native"},
            **changes,
        }
    )


def test_a_layout_is_read_back_from_its_json():
    for one in (
        layout(),
        layout(encoding=Encoding(name="float32"), codec=Codec(name="none"), settings={}),
    ):
        assert Layout.from_json(json.loads(json.dumps(one.to_json())), "here") == one


def test_a_layout_knows_the_keys_of_its_files():
    assert sorted(layout().metadata_keys) == sorted(layout().files(20))


def test_a_layouts_json_spells_the_spec_out_for_other_readers():
    fields = layout().to_json()
    assert fields["spec"] == "sr16000-mel48-x2-db-fmin30"
    assert (fields["hop_length"], fields["fmin"], fields["fmax"]) == (512, 30.0, 8000.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": "sr16000"},
        {"spec": "sr16000-mel96-x2-db-fmin30"},
        {"encoding": "float64"},
        {"codec": "zip"},
        {"clips_per_shard": 0},
        {"clips_per_shard": "8"},
        {"clips_per_shard": True},
        {"clips_per_shard": 8.0},
        {"n_frames": -1},
        {"n_frames": None},
        {"hop_length": 256},
        {"settings": 3},
        {"extra": 1},
    ],
)
def test_attributes_that_are_no_layout_are_refused(changes):
    with pytest.raises(StoreFormatError, match=r"^here: (not a melgrid spec group|the group's)"):
        Layout.from_json({**layout().to_json(), **changes}, "here")


@pytest.mark.parametrize("key", list(layout().to_json()))
def test_attributes_that_lack_a_field_are_refused(key):
    fields = layout().to_json()
    del fields[key]
    with pytest.raises(StoreFormatError, match=r"^here: "):
        Layout.from_json(fields, "here")


def test_differences_name_what_differs_and_not_the_shards_length():
    there = layout()
    assert there.differences(layout(clips_per_shard=64)) == []
    other = layout(
        encoding=Encoding(name="float32"), n_frames=11, settings={"backend": "librosa", "x": "1"}
    )
    assert there.differences(other) == [
        "encoding is float16 there, not float32",
        "n_frames is 10 there, not 11",
        "backend is native there, not librosa",
        "x is None there, not 1",
    ]


def test_a_group_is_what_zarr_python_reads(tmp_path):
    import zarr

    files = Files(tmp_path)
    made = layout().files(20)
    for key, data in made.items():
        files.write(key, data)
    assert list(made)[-1] == f"{layout().spec.name}/zarr.json"
    group = zarr.open_group(f"{tmp_path}/{layout().spec.name}", mode="r")
    assert dict(group.attrs) == {"melgrid": layout().to_json()}
    values = group["values"]
    assert values.shape == (20, 48, 10)
    assert values.chunks == (1, 48, 10)
    assert values.shards == (8, 48, 10)
    assert values.dtype == np.float16
    assert np.isnan(values[...]).all()
    assert values.metadata.dimension_names == ("clip", "mel", "time")
    np.testing.assert_array_equal(group["mel"][...], layout().spec.mel_frequencies)
    np.testing.assert_array_equal(group["time"][...], np.arange(10) * 512 / 16000)
    assert layout().shard_key(2) == f"{layout().spec.name}/values/c/2/0/0"


def test_a_root_is_read_back(tmp_path):
    root = Root(
        window=WINDOW,
        catalog="é",
        n_clips=3,
        specs=("sr16000-mel48-x2-db",),
        views=("sr16000-mel48-x4-db",),
        digests={"clips": "ab"},
    )
    files = Files(tmp_path)
    files.write(ROOT_KEY, root.to_bytes())
    assert Root.read(files) == root


def root_file(tmp_path, **changes):
    document = json.loads(Root(window=WINDOW).to_bytes())
    document["attributes"]["melgrid"] |= changes
    (tmp_path / ROOT_KEY).write_text(json.dumps(document))
    return Files(tmp_path)


@pytest.mark.parametrize("version", [FORMAT + 1, 0, "1", None])
def test_another_format_is_refused_with_both_versions(tmp_path, version):
    with pytest.raises(
        StoreFormatError,
        match=f"has format {version}; this melgrid reads format {FORMAT}: use the melgrid",
    ):
        Root.read(root_file(tmp_path, format=version))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"n_clips": -1}, "n_clips is -1"),
        ({"n_clips": "3"}, "n_clips is '3'"),
        ({"specs": ["../x"]}, "'../x' is not a spec's name"),
        ({"specs": 3}, "not iterable"),
        ({"window": {"duration": -1}}, "duration is -1 s"),
        ({"window": {"length": 3}}, "unknown window settings: length"),
        ({"window": "29.1"}, "zarr.json is damaged"),
        ({"n_clips": 3}, "the digest of its attributes does not match"),
        ({"catalog": "mtau"}, "the digest of its attributes does not match"),
    ],
)
def test_a_root_that_cannot_be_is_refused(tmp_path, changes, message):
    with pytest.raises(StoreFormatError, match=r"zarr\.json is damaged") as caught:
        Root.read(root_file(tmp_path, **changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"zarr"', b"\xff\xfe", '{"attributes": 3}', '{"attributes": []}'],
)
def test_a_damaged_zarr_json_is_refused(tmp_path, text):
    path = tmp_path / ROOT_KEY
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StoreFormatError, match=f"{tmp_path}: zarr.json is damaged"):
        Root.read(Files(tmp_path))


@pytest.mark.parametrize("cut", [1, 10, 50, 100])
def test_a_truncated_zarr_json_is_refused(tmp_path, cut):
    text = Root(window=WINDOW).to_bytes()
    (tmp_path / ROOT_KEY).write_bytes(text[:-cut])
    with pytest.raises(StoreFormatError, match=r"zarr\.json is damaged"):
        Root.read(Files(tmp_path))


@pytest.mark.parametrize("document", [{}, {"attributes": {}}, {"attributes": {"other": 1}}])
def test_a_foreign_group_has_no_melgrid_attributes(tmp_path, document):
    (tmp_path / ROOT_KEY).write_text(json.dumps({"zarr_format": 3, **document}))
    assert read_attributes(Files(tmp_path), [""]) == [None]
    assert Root.read(Files(tmp_path)) is None
    assert read_attributes(Files(tmp_path), ["elsewhere"]) == [None]


@pytest.mark.parametrize(("field", "value"), [("n_frames", 0), ("clips_per_shard", 0)])
def test_a_layout_without_frames_or_clips_is_refused(field, value):
    with pytest.raises(SettingsError, match=f"{field} is 0; it must be a whole number from 1 to"):
        layout(**{field: value})


def test_a_clip_that_no_chunk_can_hold_is_refused_with_the_remedy(make_store):
    made = make_store.layouts()[0]
    message = r"n_frames is 16777217: .* would take 512 MiB, and may take 512; choose shorter clips"
    with pytest.raises(SettingsError, match=message):
        dataclasses.replace(made, n_frames=2**24 + 1)  # of 16 bands in float16
    assert dataclasses.replace(made, n_frames=2**24).chunk_nbytes == 2**29


def test_numbers_are_kept_as_spans_and_taken_out_of_them():
    spans = spans_of([0, 1, 2, 5, 7, 8])
    assert spans == [[0, 3], [5, 6], [7, 9]]
    assert numbers_in(spans) == {0, 1, 2, 5, 7, 8}
    assert spans_without(spans, [1, 5, 8, 20]) == [[0, 1], [2, 3], [7, 8]]
    assert spans_of([]) == []
