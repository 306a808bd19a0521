"""Runs of the real program are killed at random moments; what they leave must not matter.

Moments are counted in files that have appeared in the store, so that they spread over all of a
run: making the store, values and commits, publishing, growth. Driver, a worker, or all processes
are killed. The next run starts at once, while workers of the dead one may still be ending.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from featurestore import FeatureStore
from featurestore.errors import StoreNotFoundError
from featurestore.spec import FeatureSpec
from featurestore.window import ClipWindow
from featurestore.writer import StoreWriter
from pipeline.catalogs import open_catalog
from pipeline.missing import task
from pipeline.rows import audio_of, clip_table
from pipeline.run import jobs_of, layouts, run
from pipeline.settings import RunSettings
from pipeline.shard import compute_shard

KILLS = 20
FEATURIZE = Path(sys.executable).with_name("featurize")
SR = 8000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A command, and how the store that it is given grows."""

    n_clips: int
    arguments: tuple[str, ...]
    specs: tuple[str, ...]


# The second command finds more clips, the last shard of the first not being full, and has another
# spec.
PHASES = (
    Phase(
        n_clips=52,
        arguments=("--mels", "16", "--hop", "x1,x2"),
        specs=("sr8000-mel16-x1-db", "sr8000-mel16-x2-db"),
    ),
    Phase(
        n_clips=68,
        arguments=("--mels", "16", "--hop", "x1,x2", "--log", "log,db"),
        specs=(
            "sr8000-mel16-x1-log",
            "sr8000-mel16-x1-db",
            "sr8000-mel16-x2-log",
            "sr8000-mel16-x2-db",
        ),
    ),
)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder a phase, of short files of noise; the second has those of the first, too."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for number in range(PHASES[-1].n_clips):
        samples = rng.uniform(-0.5, 0.5, 2 * 11025 + 100 * number)
        for phase in PHASES:
            if number < phase.n_clips:
                path = folder / str(phase.n_clips) / f"{number:02}.flac"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, samples, 11025)
                os.utime(path, ns=(0, 0))  # the records tell when the audio was changed
    return folder


def audio(music, phase):
    return music / str(phase.n_clips)


@pytest.fixture(scope="module")
def wanted(music, tmp_path_factory, scheduler):
    """What the store holds after each phase, if nobody is killed."""
    path = tmp_path_factory.mktemp("wanted") / "store.zarr"
    contents = []
    for phase in PHASES:
        run(
            open_catalog(str(audio(music, phase))),
            str(path),
            [FeatureSpec.parse(name) for name in phase.specs],
            RunSettings(window=ClipWindow(duration=1.5), scheduler=scheduler),
        )
        contents.append(contents_of(path))
    return contents


def contents_of(path):
    """Bytes of all files of a store: values, commit records, clip table, metadata."""
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def n_files(path):
    """Files of a store, at a moment; not those with which a run keeps its own order."""
    return sum(len(files) for folder, _, files in os.walk(path) if "/.run" not in folder)


def descendants(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def workers(process):
    """Worker processes of a run: children of the process that it has fork them."""
    return [child for child in descendants(process) if child.ppid() != process.pid]


def start(music, phase, store):
    return subprocess.Popen(
        [
            FEATURIZE, audio(music, phase), "-o", store, "--sr", str(SR), *phase.arguments,
            "--duration", "1.5", "--workers", "2", "--quiet",
        ],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def kill(process, store, victim, moment, jitter):
    """Kill once there are so many files, and some time later.

    Returns
    -------
    orphans : list of psutil.Process or None
        Processes of the run but the driver, as they were then; None if it had ended before.
    """
    while process.poll() is None:
        if n_files(store) >= moment and (store / ".run" / "lock").exists():
            time.sleep(jitter)
            orphans = descendants(process)
            if victim == "driver":
                process.kill()
            elif victim == "all":
                os.killpg(process.pid, signal.SIGKILL)
            elif alive := workers(process):
                alive[0].kill()
            else:
                continue
            return orphans if process.poll() in (None, -signal.SIGKILL) else None
        time.sleep(0.003)
    return None


def finish(process):
    """End of a run; what it said."""
    _, said = process.communicate(timeout=120)
    return said.decode()


def is_sound(store):
    """Whether there is no damage, though workers of a dead run may still be ending."""
    try:
        return FeatureStore.open(store).verify().damage == ()
    except StoreNotFoundError:
        return True


def test_a_run_killed_at_any_moment_and_run_again_ends_with_the_same_bytes(music, wanted, tmp_path):
    rng = np.random.default_rng(0)
    n_kills = 0
    left_over = []
    while n_kills < KILLS:
        store = tmp_path / f"{n_kills}.zarr"
        for phase, contents in zip(PHASES, wanted, strict=True):
            # Five runs are killed; the sixth loses a worker, and goes on unless it had just begun.
            for kills_left in range(6, 0, -1):
                victim = "worker" if kills_left == 1 else rng.choice(["driver", "all"])
                present = n_files(store)
                reach = 2 * (len(contents) - present) / (kills_left + 1)
                moment = present + rng.integers(0, max(1, reach))
                process = start(music, phase, store)
                orphans = kill(process, store, victim, moment, rng.uniform(0, 0.02))
                n_kills += orphans is not None
                left_over += orphans or []
                said = finish(process)
                assert is_sound(store)
                if said and process.returncode != -signal.SIGKILL:
                    assert said.startswith("Error: a Dask worker died while it was started")
                    assert process.returncode == 1
            if process.returncode:
                assert finish(start(music, phase, store)) == ""
            assert contents_of(store) == contents
            assert FeatureStore.open(store).verify().unfinished == ()
        assert set(FeatureStore.open(store).clips["status"]) == {"ready"}
    _, alive = psutil.wait_procs(left_over, timeout=60)
    assert alive == []


def test_a_task_that_outlives_its_run_writes_nothing(music, tmp_path):
    catalog = open_catalog(str(audio(music, PHASES[0])))
    settings = RunSettings(window=ClipWindow(duration=1.5))
    specs = [FeatureSpec.parse(name) for name in PHASES[0].specs]
    table = clip_table(catalog, None)
    with StoreWriter(tmp_path / "store.zarr", settings.window) as writer:
        store = writer.prepare(table, layouts(len(table), specs, settings))
        [job] = jobs_of(store, writer.run, specs, settings)
        tasks = [task(store, job, shard, audio_of(store, catalog, table)) for shard in (0, 1)]
        compute_shard(job, tasks[0])
    before = contents_of(tmp_path / "store.zarr")
    with pytest.raises(FileNotFoundError):
        compute_shard(job, tasks[1])
    with StoreWriter(tmp_path / "store.zarr", settings.window), pytest.raises(FileNotFoundError):
        compute_shard(job, tasks[1])
    assert contents_of(tmp_path / "store.zarr") == before
