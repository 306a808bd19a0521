import dataclasses

import numpy as np
import pytest

from featurestore.errors import RunError, SettingsError
from featurestore.process.stages import OTHER, process_memory
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import under
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.store import FeatureStore
from pipeline.audio import decode
from pipeline.catalogs import Catalog, open_catalog
from pipeline.profile import memory_of_tasks, profile, stages_of, time_tasks
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SETTINGS = RunSettings(window=Excerpt(duration=0.5), workers=1)
SPECS = (FeatureSpec(sr=8000, n_mels=16), FeatureSpec(sr=8000, n_mels=8, hop=2))


@pytest.fixture(scope="module")
def catalog(audio):
    return open_catalog(str(audio))


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store.zarr")


def functions():
    return [
        owner[name] if isinstance(owner, dict) else getattr(owner, name)
        for found in stages_of("native").values()
        for owner, name in found
    ]


@pytest.mark.parametrize("backend", ["native", "librosa"])
def test_the_real_task_goes_through_every_stage(catalog, place, backend):
    settings = dataclasses.replace(SETTINGS, backend=backend)
    specs = under(SPECS, [Condition.parse("gain-6")])
    times = time_tasks(catalog, place, specs, settings, len(catalog))
    assert list(times.wall) == [*stages_of(backend), OTHER]
    assert [stage for stage, seconds in times.wall.items() if not seconds > 0] == []
    assert times.n_clips == len(catalog)
    assert times.peak_nbytes > 10e6


def test_what_is_timed_makes_the_store_that_a_run_makes(catalog, place, tmp_path):
    time_tasks(catalog, place, SPECS, SETTINGS, len(catalog))
    run(catalog, str(tmp_path / "run.zarr"), SPECS, SETTINGS)
    made, expected = FeatureStore.open(place), FeatureStore.open(tmp_path / "run.zarr")
    rows = list(range(len(catalog)))
    for spec in SPECS:
        assert (made[spec].read(rows) == expected[spec].read(rows)).all()


def test_tasks_run_as_written_after_a_profile(catalog, place):
    before = functions()
    time_tasks(catalog, place, SPECS, SETTINGS, 1)
    assert functions() == before
    assert decode._digest in before, "the functions themselves are looked at"


@pytest.mark.skipif(process_memory() is None, reason="the system keeps no such peak")
def test_stages_have_their_memory(catalog, place):
    most = memory_of_tasks(catalog, place, SPECS, SETTINGS, 1)
    assert list(most) == [*stages_of("native"), OTHER]
    assert min(most.values()) >= 0
    assert max(most.values()) > 0


def test_a_profile_is_made_by_a_worker_and_leaves_nothing(catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thrice = Catalog(
        name="thrice",
        root=catalog.root,
        track_id=[f"{copy} {track_id}" for copy in range(3) for track_id in catalog.track_id],
        path=catalog.path * 3,
        split=catalog.split * 3,
        labels=np.zeros((3 * len(catalog), 0), np.uint8),
        meta={"number": np.arange(3 * len(catalog))},
    )
    made = profile(thrice, SPECS, SETTINGS, n_clips=3, report="report.html")
    assert (made.n_clips, made.audio_seconds) == (8, 4)  # of one whole task
    assert [cost.stage for cost in made.stages] == [*stages_of("native"), OTHER]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_failed_clips_are_told(catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    window = Excerpt(duration=1.5, short="skip")  # the files last 1 to 2 s
    made = profile(catalog, SPECS, dataclasses.replace(SETTINGS, window=window))
    assert 0 < made.settings["failed"] < made.n_clips
    window = Excerpt(duration=9, short="skip")
    with pytest.raises(RunError, match="all of the first 6 clips failed; featurize says why"):
        profile(catalog, SPECS, dataclasses.replace(SETTINGS, window=window))


def test_no_clip_is_no_profile(catalog):
    with pytest.raises(SettingsError, match="clips is 0; it must be at least 1"):
        profile(catalog, SPECS, SETTINGS, n_clips=0)
