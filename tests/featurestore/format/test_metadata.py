import dataclasses
import json

import pytest

from featurestore import FeatureSpec, FeatureStore
from featurestore.errors import SettingsError, StoreFormatError
from featurestore.format.division import Division
from featurestore.format.layout import Layout
from featurestore.format.metadata import FORMAT, ROOT_KEY, StoreMetadata
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.storage.local import LocalFiles

EMPTY = StoreMetadata(window=Excerpt(), division=Division.of(8))
LAYOUT = Layout(
    spec=FeatureSpec(sr=16000, n_mels=48, hop=2),
    encoding=Encoding(),
    codec=Codec(),
    clips_per_shard=8,
    n_frames=10,
    settings={"backend": "native"},
)


def test_a_root_is_read_back(tmp_path):
    root = StoreMetadata(
        window=Excerpt(),
        division=Division.of(8),
        catalog="é",
        n_clips=3,
        layouts=(LAYOUT,),
        views=("sr16000-mel48-x4-db",),
        digests={"clips": "ab"},
    )
    files = LocalFiles(tmp_path)
    files.write(ROOT_KEY, root.to_bytes())
    assert StoreMetadata.read(files) == root


def root_file(tmp_path, **changes):
    document = json.loads(EMPTY.to_bytes())
    document["attributes"]["melgrid"] |= changes
    (tmp_path / ROOT_KEY).write_text(json.dumps(document))
    return LocalFiles(tmp_path)


@pytest.mark.parametrize("version", [FORMAT + 1, 0, "1", None])
def test_another_format_is_refused_with_both_versions(tmp_path, version):
    with pytest.raises(
        StoreFormatError,
        match=f"has format {version}; this melgrid reads format {FORMAT}: use the melgrid",
    ):
        StoreMetadata.read(root_file(tmp_path, format=version))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "the digest of its attributes does not match"),
        ({"n_clips": -1}, "n_clips is -1"),
        ({"n_clips": "3"}, "n_clips is '3'"),
        ({"specs": {"../x": LAYOUT.stored_json()}}, "'../x' is not a spec's name"),
        ({"specs": 3}, "has no len"),
        ({"specs": [3]}, "no attribute 'items'"),
        ({"specs": {LAYOUT.spec.name: {}}}, "no 'encoding'"),
        ({"specs": {LAYOUT.spec.name: {**LAYOUT.stored_json(), "codec": "zip"}}}, "zip"),
        ({"specs": {LAYOUT.spec.name: {**LAYOUT.stored_json(), "n_frames": -1}}}, "n_frames is -1"),
        ({"clips_per_shard": 0}, "clips_per_shard is 0"),
        ({"clips_per_shard": True}, "clips_per_shard is True"),
        ({"shards_per_part": "8"}, "shards_per_part is '8'"),
        ({"window": {"duration": -1}}, "duration is -1 s"),
        ({"window": {"length": 3}}, "unknown window settings: length"),
        ({"window": "29.1"}, "zarr.json is damaged"),
        ({"n_clips": 3}, "the digest of its attributes does not match"),
        ({"catalog": "mtau"}, "the digest of its attributes does not match"),
    ],
)
def test_a_root_that_cannot_be_is_refused(tmp_path, changes, message):
    with pytest.raises(StoreFormatError, match=r"zarr\.json is damaged") as caught:
        StoreMetadata.read(root_file(tmp_path, **changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"zarr"', b"\xff\xfe", '{"attributes": 3}', '{"attributes": []}'],
)
def test_a_damaged_zarr_json_is_refused(tmp_path, text):
    path = tmp_path / ROOT_KEY
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StoreFormatError, match=f"{tmp_path}: zarr.json is damaged"):
        StoreMetadata.read(LocalFiles(tmp_path))


@pytest.mark.parametrize("cut", [1, 10, 50, 100])
def test_a_truncated_zarr_json_is_refused(tmp_path, cut):
    text = EMPTY.to_bytes()
    (tmp_path / ROOT_KEY).write_bytes(text[:-cut])
    with pytest.raises(StoreFormatError, match=r"zarr\.json is damaged"):
        StoreMetadata.read(LocalFiles(tmp_path))


@pytest.mark.parametrize("document", [{}, {"attributes": {}}, {"attributes": {"other": 1}}])
def test_a_foreign_group_has_no_melgrid_attributes(tmp_path, document):
    (tmp_path / ROOT_KEY).write_text(json.dumps({"zarr_format": 3, **document}))
    assert StoreMetadata.read(LocalFiles(tmp_path)) is None


def test_a_store_from_before_the_format_was_final_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(StoreFormatError, match=r"before melgrid's first release.*place with -o"):
        StoreMetadata.read(root_file(tmp_path, records={"8": []}))


def test_layouts_of_another_shard_length_are_refused():
    with pytest.raises(SettingsError, match="has shards of 8 clips; those of the store are of 16"):
        dataclasses.replace(EMPTY, division=Division.of(16), layouts=(LAYOUT,))


def test_a_store_of_700_specs_is_opened_by_reading_one_file(tmp_path):
    layouts = tuple(
        dataclasses.replace(LAYOUT, spec=FeatureSpec(sr=16000, n_mels=n + 8)) for n in range(100)
    )
    layouts += tuple(
        dataclasses.replace(LAYOUT, spec=FeatureSpec(sr=16000, n_mels=n + 8, hop=hop))
        for hop in (2, 3, 4, 5, 6, 7)
        for n in range(100)
    )
    files = CountingFiles(tmp_path)
    files.write(ROOT_KEY, dataclasses.replace(EMPTY, layouts=layouts).to_bytes())
    store = FeatureStore(files, StoreMetadata.read(files))
    assert len({store[spec].spec for spec in store.specs}) == 700
    assert files.keys == [ROOT_KEY]


class CountingFiles(LocalFiles):
    """Notes which keys are read."""

    def __init__(self, root):
        super().__init__(root)
        self.keys = []

    def read_several(self, keys, most=None):
        self.keys += keys
        return super().read_several(keys, most)
