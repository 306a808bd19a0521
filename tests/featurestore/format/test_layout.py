import dataclasses
import json

import numpy as np
import pytest

from featurestore import FeatureSpec
from featurestore.errors import SettingsError
from featurestore.format.layout import Layout
from featurestore.specs.encoding import Codec, Encoding
from featurestore.storage.local import LocalFiles


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
        fields = json.loads(json.dumps(one.stored_json()))
        assert Layout.from_stored_json(one.spec.name, fields, 8) == one


def test_a_layout_knows_the_keys_of_its_files():
    assert sorted(layout().metadata_keys) == sorted(layout().files(20))


def test_a_layouts_json_spells_the_spec_out_for_other_readers():
    fields = layout().to_json()
    assert fields["spec"] == "sr16000-mel48-x2-db-fmin30"
    assert (fields["hop_length"], fields["fmin"], fields["fmax"]) == (512, 30.0, 8000.0)


def test_differences_name_what_differs():
    there = layout()
    assert there.differences(layout()) == []
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

    files = LocalFiles(tmp_path)
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


@pytest.mark.parametrize(("field", "value"), [("n_frames", 0), ("clips_per_shard", 0)])
def test_a_layout_without_frames_or_clips_is_refused(field, value):
    with pytest.raises(SettingsError, match=f"{field} is 0; it must be a whole number from 1 to"):
        layout(**{field: value})


def test_a_clip_that_no_chunk_can_hold_is_refused_with_the_remedy(make_store):
    made = make_store.layouts()[0]
    message = r"n_frames is 16777217: .* would take 512 MiB, and may take 512; choose shorter clips"
    with pytest.raises(SettingsError, match=message):
        dataclasses.replace(made, n_frames=2**24 + 1)  # of 16 bands in float16
    assert dataclasses.replace(made, n_frames=2**24).clip_nbytes == 2**29
