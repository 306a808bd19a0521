from pathlib import Path

import numpy as np
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import open_catalog


def test_ids_paths_and_labels_are_matched_line_by_line(sample):
    catalog = open_catalog(sample("msd"), "msd")
    assert catalog.track_id == ("TRAA0", "TRAB0", "TRAA1", "TRAB1", "TRAA2", "TRAB2")
    assert catalog.path[:2] == ("1/0/10.clip.mp3", "2/2/20.mp3")
    assert catalog.split == ("train", "train", "validation", "validation", "test", "test")
    assert [np.flatnonzero(row).tolist() for row in catalog.labels] == [[0], [], [1], [], [2], []]


def test_files_of_different_lengths_are_refused(sample):
    folder = sample("msd")
    (Path(folder) / "valid_x_msd_id.txt").write_text("TRAA1\n")
    with pytest.raises(CatalogError, match=r"valid_x_msd_id\.txt has 1 lines.*_filename\.txt 2"):
        open_catalog(folder, "msd")


class _Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_labels_are_refused_unopened(sample, tmp_path):
    folder = sample("msd")
    np.save(Path(folder) / "train_y.npy", np.array([_Trap(tmp_path / "sprung")], object))
    with pytest.raises(CatalogError, match=r"train_y\.npy cannot be read"):
        open_catalog(folder, "msd")
    assert not (tmp_path / "sprung").exists()
