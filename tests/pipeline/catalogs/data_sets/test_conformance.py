"""What holds for every catalog, on a sample of each data set's own format."""

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import CATALOGS, open_catalog
from pipeline.catalogs.catalog import SPLITS

DATA_SETS = sorted({name.split("-")[0] for name in CATALOGS})


@pytest.mark.parametrize("name", CATALOGS)
class TestEveryCatalog:
    def test_is_called_by_its_name_and_rooted_in_the_folder(self, name, sample):
        folder = sample(name.split("-")[0])
        catalog = open_catalog(folder, name)
        assert (catalog.name, catalog.root) == (name, folder)

    def test_has_unique_ids_and_paths_in_one_split_each(self, name, sample):
        catalog = open_catalog(sample(name.split("-")[0]), name)
        assert len(set(catalog.track_id)) == len(set(catalog.path)) == len(catalog) >= 2
        assert set(catalog.split) <= set(SPLITS) or set(catalog.split) == {""}

    def test_has_relative_paths(self, name, sample):
        catalog = open_catalog(sample(name.split("-")[0]), name)
        for path in catalog.path:
            assert not Path(path).is_absolute()
            assert ".." not in Path(path).parts

    def test_has_a_0_or_1_for_every_track_and_tag(self, name, sample):
        catalog = open_catalog(sample(name.split("-")[0]), name)
        assert catalog.labels.shape == (len(catalog), len(catalog.tags))
        assert catalog.labels.dtype == np.uint8
        assert set(np.unique(catalog.labels)) == {0, 1}
        assert len(set(catalog.tags)) == len(catalog.tags)

    def test_lists_no_known_bad_file(self, name, sample):
        data_set = name.split("-")[0]
        known_bad = importlib.import_module(f"pipeline.catalogs.data_sets.{data_set}").KNOWN_BAD
        assert not set(known_bad) & set(open_catalog(sample(data_set), name).path)

    def test_lists_the_same_twice_and_after_pickling(self, name, sample):
        folder = sample(name.split("-")[0])
        first = open_catalog(folder, name)
        for other in (open_catalog(folder, name), pickle.loads(pickle.dumps(first))):
            for field in ("track_id", "path", "split", "tags", "artist", "album"):
                assert getattr(other, field) == getattr(first, field)
            np.testing.assert_array_equal(other.labels, first.labels)

    def test_says_what_is_missing_from_an_empty_folder_and_where_to_get_it(self, name, tmp_path):
        with pytest.raises(CatalogError, match=r"has no .+ \(nor .+; take it as it is from https:"):
            open_catalog(str(tmp_path), name)


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_every_data_set_states_its_source_citation_licence_and_known_bad_files(data_set):
    module = importlib.import_module(f"pipeline.catalogs.data_sets.{data_set}")
    assert module.SOURCE.startswith("https://")
    assert module.CITATION.startswith("@")
    assert module.CITATION.count("{") == module.CITATION.count("}")
    assert module.LICENCE
    assert isinstance(module.KNOWN_BAD, tuple)


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_a_list_that_is_not_text_is_an_error_that_names_the_file(
    data_set: str, sample: Callable[[str], str]
):
    folder = Path(sample(data_set))
    for path in folder.rglob("*.*"):
        path.write_bytes(b"\xff\xfe\x00\x80 no text")
    name = next(name for name in CATALOGS if name.split("-")[0] == data_set)
    with pytest.raises(CatalogError, match=r"cannot be read: .+; take it as it is from https:"):
        open_catalog(str(folder), name)
