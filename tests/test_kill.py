"""Runs of the real program are killed at random moments; what they leave must not matter."""

import pytest

from benchmarks.kills import PHASES, audio, contents_of, kill_runs, make_music
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.writer import StoreWriter
from pipeline.catalogs import open_catalog
from pipeline.run.layouts import division_for, layouts
from pipeline.run.missing import task
from pipeline.run.rows import audio_of, clip_table
from pipeline.run.run import jobs_of
from pipeline.run.settings import RunSettings
from pipeline.run.task import compute_shard


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_killed_at_any_moment_and_run_again_ends_with_the_same_bytes(tmp_path, thorough):
    report = kill_runs(tmp_path, 1000 if thorough else 5, loops=2 if thorough else 1)
    assert not report.faults, "\n".join(report.faults)
    assert report.kills["driver"]
    assert report.kills["all"]


def test_a_task_that_outlives_its_run_writes_nothing(tmp_path):
    make_music(tmp_path)
    catalog = open_catalog(str(audio(tmp_path, PHASES[0])))
    store_path = tmp_path / "store.zarr"
    settings = RunSettings(window=Excerpt(duration=1.5))
    specs = [FeatureSpec(sr=8000, n_mels=16, hop=hop) for hop in (1, 2)]
    table = clip_table(catalog, None)
    with StoreWriter(store_path, settings.window) as writer:
        store = writer.prepare(
            table, layouts(specs, settings, division_for(len(table), specs, settings))
        )
        [job] = jobs_of(store, writer.run_id, specs, settings)
        tasks = [task(store, shard, audio_of(store, catalog, table)) for shard in (0, 1)]
        compute_shard(job, tasks[0])
    before = contents_of(store_path)
    with pytest.raises(FileNotFoundError):
        compute_shard(job, tasks[1])
    with StoreWriter(store_path, settings.window), pytest.raises(FileNotFoundError):
        compute_shard(job, tasks[1])
    assert contents_of(store_path) == before
