"""Real stores are injured, repaired and featurized again: every byte is as if nothing had been."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore import FeatureStore
from featurestore.format.clips import ClipTable
from featurestore.format.commits import invalidated, read_commit, write_commit
from featurestore.format.division import Division
from featurestore.maintenance.repair import repair
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import grid
from featurestore.storage.local import LocalFiles
from featurestore.writer import StoreWriter
from pipeline.catalogs import open_catalog
from pipeline.run.layouts import layouts
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SR = 8000
SPECS = grid(sr=[SR], n_mels=[16, 8], hop=[1, 2], log=["db"])
ROUNDS = 4
INJURIES = 3
"""At a time."""


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Twenty files of noise of 1 to 3 s; one is empty."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for number in range(20):
        samples = rng.uniform(-0.5, 0.5, SR + 800 * number)
        soundfile.write(folder / f"{number:02}.flac", samples, SR)
    (folder / "07.flac").write_bytes(b"")
    return folder


@pytest.fixture
def featurize(music, tmp_path, scheduler):
    """Make the store, or go on with it; `division` is that of a store which is made."""

    def featurize(take, division=None):
        settings = RunSettings(
            window=Excerpt(duration=1.0, take=take),
            encoding=Encoding(name="uint8"),
            scheduler=scheduler,
        )
        settings = dataclasses.replace(settings, window=settings.window.fitted(SPECS))
        if division is not None:
            with StoreWriter(tmp_path / "store.zarr", settings.window, division) as writer:
                writer.prepare(ClipTable.empty(), layouts(SPECS[:1], settings, division))
        return run(open_catalog(str(music)), str(tmp_path / "store.zarr"), SPECS, settings)

    return featurize


def contents(path):
    files = (file for file in sorted(Path(path).rglob("*")) if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def injure(path, key, data, rng):
    how = rng.integers(4)
    if how == 0:
        (path / key).unlink()
    elif how == 1:
        (path / key).write_bytes(data[: rng.integers(len(data))])
    else:
        hurt = bytearray(data)
        hurt[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (path / key).write_bytes(hurt)


@pytest.mark.parametrize(
    ("take", "shards_per_part"), [("center", 8192), ("all", 8192), ("center", 1)]
)
def test_what_was_injured_repaired_and_featurized_again_equals_what_never_was(
    featurize, tmp_path, take, shards_per_part
):
    rng = np.random.default_rng(1)
    path = tmp_path / "store.zarr"
    division = Division(clips_per_shard=8, shards_per_part=shards_per_part)
    store = featurize(take, division).store
    assert store.metadata.division == division
    n_clips = store.n_clips
    assert FeatureStore.open(path).verify().unfinished == ()
    whole = contents(path)
    manifests = (part.key for part in store.status.parts)
    beyond_repair = {"zarr.json", *manifests, *store.table.files(division)}
    keys = [key for key in whole if key not in beyond_repair]
    for _ in range(ROUNDS):
        for key in rng.choice(keys, INJURIES, replace=False):
            injure(path, key, whole[key], rng)
        report = repair(FeatureStore.open(path))
        assert report.is_repaired
        assert FeatureStore.open(path).verify().is_healthy
        summary = featurize(take)
        assert summary.n_computed < n_clips
        assert contents(path) == whole


def test_swapped_shards_are_computed_again_and_nothing_else(featurize, tmp_path):
    path = tmp_path / "store.zarr"
    featurize("all")
    whole = contents(path)
    one, other = (f"{SPECS[0].name}/values/c/{shard}/0/0" for shard in (0, 1))
    (path / one).write_bytes(whole[other])
    (path / other).write_bytes(whole[one])
    report = repair(FeatureStore.open(path))
    rows = {row for damage in report.damage for row in damage.rows}
    summary = featurize("all")
    assert summary.n_computed == len(rows)
    assert contents(path) == whole


def test_a_run_does_not_take_swapped_rows_over_as_its_own(featurize, tmp_path):
    """A shard that is completed keeps the rows that its record commits, and no others."""
    path = tmp_path / "store.zarr"
    featurize("all")
    whole = contents(path)
    one, other = (f"{SPECS[0].name}/values/c/{shard}/0/0" for shard in (0, 1))
    (path / one).write_bytes(whole[other])
    files = LocalFiles(path)
    commit = read_commit(
        files, Division.of(8), 0
    )  # of which a row is invalidated, so that there is work
    specs = {SPECS[0].name: invalidated(commit.specs[SPECS[0].name], [0])}
    write_commit(
        files, Division.of(8), 0, dataclasses.replace(commit, specs={**commit.specs, **specs})
    )
    featurize("all")
    assert contents(path) == whole
