"""Files that end or stop the process that decodes them, by a real death in a real run.

Real files that do so are bugs of libsndfile, soon fixed; so the decoder is replaced, in all
processes of a run, by one that looks at the file's name: by a module that Python imports at its
start. Melgrid itself knows nothing of it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore import FeatureSpec, FeatureStore
from models.training.checkpoint import Checkpoint, new_network, save_checkpoint
from models.training.settings import TrainSettings
from pipeline.run.tracks import time_limit

FEATURIZE = Path(sys.executable).with_name("featurize")
MELGRID = FEATURIZE.with_name("melgrid")

SITECUSTOMIZE = """
import ctypes, os, signal, soundfile

DEATHS = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "hang": ctypes.CDLL(None).pause,
    "hang-with-gil": ctypes.PyDLL(None).pause,
}

class SoundFile(soundfile.SoundFile):
    def __init__(self, file, *arguments, **options):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
        DEATHS.get(name.removesuffix(".wav"), lambda: None)()
        super().__init__(file, *arguments, **options)

soundfile.SoundFile = SoundFile
"""


@pytest.fixture
def poisoned(tmp_path):
    """Run a program on a folder of 20 clips and others by name; gives its JSON and stderr."""
    folder = tmp_path / "music"
    folder.mkdir()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    rng = np.random.default_rng(0)

    def poisoned(*command, names):
        for name in (*(f"{number:02}" for number in range(20)), *names):
            if not (folder / f"{name}.wav").exists():
                soundfile.write(folder / f"{name}.wav", rng.uniform(-0.5, 0.5, 8000), 8000)
        command = [*command, folder, "--workers", "2", "--max-failures", "100%", "--json"]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    return poisoned


@pytest.fixture
def featurize(poisoned, tmp_path):
    """Featurize a folder of 20 clips and others by name; gives summary and stderr."""

    def featurize(*names, options=()):
        return poisoned(
            FEATURIZE, "-o", tmp_path / "store.zarr", "--sr", "8000", "--mels", "16",
            "--duration", "1", *options, names=names,
        )  # fmt: skip

    return featurize


def reasons(summary):
    failures = summary["failures"]
    return {failure["clip_id"]: (failure["reason"], failure["detail"]) for failure in failures}


@pytest.mark.slow
def test_files_that_crash_their_process_are_marked_and_their_neighbours_are_done(
    featurize, tmp_path
):
    summary, said = featurize("segfault", "abort", "exit")
    assert reasons(summary) == dict.fromkeys(
        ["segfault.wav", "abort.wav", "exit.wav"], ("Unreadable", "it crashed its process")
    )
    assert (summary["ready"], summary["computed"]) == (20, 23)
    assert said == ""
    [spec] = (store := FeatureStore.open(tmp_path / "store.zarr")).specs
    assert list(np.flatnonzero(~store[spec].ready)) == [20, 21, 22]
    assert np.isfinite(store[spec].read(range(20))).all()

    again, _ = featurize()
    assert again["computed"] == 0
    assert again["failures"] == summary["failures"]


@pytest.mark.slow
def test_files_that_hang_are_marked_once_their_time_is_up_and_their_neighbours_are_done(featurize):
    summary, said = featurize("hang", "hang-with-gil", options=("--timeout", "3"))
    assert reasons(summary) == dict.fromkeys(
        ["hang.wav", "hang-with-gil.wav"], ("Unreadable", "not done after 3 s")
    )
    assert summary["ready"] == 20
    assert said == ""


def test_a_clip_may_take_as_long_as_it_is_given():
    with time_limit(60):
        seconds, again = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < seconds <= 60
        assert again == 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_clips_in_threads_of_one_process_have_their_time_one_after_the_other():
    begun = threading.Event()

    def wait_for_it():
        with time_limit(60):
            begun.set()

    other = threading.Thread(target=wait_for_it)
    with time_limit(60):
        other.start()
        assert not begun.is_set()
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    other.join()
    assert begun.is_set()


@pytest.mark.slow
def test_files_that_crash_or_hang_while_their_tiles_are_counted_are_one_marked_clip(featurize):
    summary, said = featurize("segfault", "hang", options=("--take", "all", "--timeout", "3"))
    assert reasons(summary) == {
        "segfault.wav#000": ("Unreadable", "it crashed its process"),
        "hang.wav#000": ("Unreadable", "not done after 3 s"),
    }
    assert said == ""
    # 0.992 s is the whole number of hops below a second: two tiles a clip of a second
    assert summary["ready"] == summary["clips"] - 2 == 40


@pytest.mark.slow
def test_files_that_crash_or_hang_while_they_are_tagged_are_named_and_the_others_tagged(
    poisoned, tmp_path
):
    spec = FeatureSpec(sr=8000, n_mels=16)
    settings = TrainSettings(width=0.03)
    checkpoint = Checkpoint(
        network=new_network(settings, spec, n_frames=32, n_outputs=2),
        spec=spec,
        n_frames=32,
        tags=("a", "b"),
        settings=settings,
        training=None,
    )
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    told, said = poisoned(
        MELGRID, "tag", "--timeout", "3", tmp_path / "model.pt",
        names=["segfault", "abort", "hang", "hang-with-gil"],
    )  # fmt: skip
    failed = {Path(f["path"]).stem: f["detail"] for f in told["files"] if "reason" in f}
    assert failed == {
        "segfault": "it crashed its process",
        "abort": "it crashed its process",
        "hang": "not done after 3 s",
        "hang-with-gil": "not done after 3 s",
    }
    tagged = [f for f in told["files"] if "probabilities" in f]
    assert [Path(f["path"]).stem for f in tagged] == [f"{number:02}" for number in range(20)]
    assert said == ""
