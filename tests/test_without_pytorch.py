"""What featurizes, lists, checks and exports needs no PyTorch, and imports what it uses alone."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

RECORD = """
import atexit, os, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())

def record():
    found = [m for m in HEAVY if m in sys.modules]
    with open(os.path.join(os.environ["LOADED"], str(os.getpid())), "w") as file:
        file.write(" ".join(found))

HEAVY = ("librosa", "matplotlib", "scipy.signal", "IPython", "h5py", "pandas", "distributed",
         "av", "numba")
atexit.register(record)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with some music, and a start-up file of Python's that takes PyTorch away."""
    place = tmp_path_factory.mktemp("lean")
    (place / "start").mkdir()
    (place / "start" / "sitecustomize.py").write_text(RECORD)
    assert run(place, "demo", "music", "--clips", "12").returncode == 0
    return place


def run(place, *arguments):
    """The command's outcome; what its processes had imported lies in ``loaded``."""
    loaded = place / "loaded"
    loaded.mkdir(exist_ok=True)
    for file in loaded.iterdir():
        file.unlink()
    paths = [str(place / "start"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "LOADED": str(loaded)}
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def loaded(place):
    """Heavy modules that any process of the last command had imported."""
    files = [*(place / "loaded").iterdir()]
    assert files
    return {name for file in files for name in file.read_text().split()}


def test_every_kind_is_featurized_checked_and_read_without_pytorch(place):
    for options in (
        ["--mels", "16,8", "--hop", "x4,x8", "--perturb", "smc2020"],
        ["--mels", "16", "--hop", "x4", "--n-fft", "400"],  # no power of two
        ["--feature", "fbank", "--draws", "1", "--perturb", "gauss0.005"],
        ["--feature", "waveform"],
        ["--feature", "stft"],
    ):
        found = run(place, "featurize", "music", "-o", "a.zarr", "--sr", "16000", *options)
        assert found.returncode == 0, found.stderr
        assert not loaded(place) & {"librosa", "matplotlib", "IPython"}
    for command in (
        ["ls", "a.zarr"],
        ["info", "a.zarr"],
        ["info", "a.zarr", "sr16000-mel16-x4-db"],
        ["verify", "a.zarr"],
        ["failures", "a.zarr"],
        ["gc", "a.zarr"],
        ["diff", "a.zarr", "a.zarr"],
        ["export", "a.zarr", "a.h5", "--specs", "sr16000-mel16-x4-db"],
        ["export", "a.zarr", "npz", "--format", "npz", "--specs", "sr16000-mel16-x4-db"],
    ):
        found = run(place, *command)
        assert found.returncode == 0, found.stderr
        assert not loaded(place) & {"librosa", "matplotlib", "scipy.signal", "distributed"}
    for command in (
        ["show", "a.zarr", "0", "--specs", "sr16000-mel16-x4-db"],
        ["sonify", "a.zarr", "0", "--specs", "sr16000-mel16-x4-db"],
        ["listen", "a.zarr", "--clips", "1", "--specs", "sr16000-mel16-x4-db"],
    ):
        found = run(place, *command)
        assert found.returncode == 0, found.stderr


def test_a_run_with_nothing_to_do_starts_no_cluster(place):
    command = ["featurize", "music", "-o", "b.zarr", "--mels", "16", "--hop", "x8"]
    first = run(place, *command)
    assert first.returncode == 0, first.stderr
    assert "distributed" in loaded(place)
    again = run(place, *command, "--json")
    assert json.loads(again.stdout)["computed"] == 0
    unused = {"librosa", "matplotlib", "scipy.signal", "distributed", "av", "numba"}
    assert not loaded(place) & unused


@pytest.mark.parametrize(
    "command",
    [
        ["train", "a.zarr"],
        ["study", "a.zarr"],
        ["tag", "model.safetensors", "music"],
        ["macs", "--mels", "16"],
        ["evaluate", "model.safetensors", "a.zarr"],
        ["export-model", "model.safetensors"],
    ],
    ids=lambda command: command[0],
)
def test_what_needs_pytorch_says_so_in_a_line(command, place):
    if not (place / "a.zarr").exists():
        made = run(place, "featurize", "music", "-o", "a.zarr", "--mels", "16", "--hop", "x8")
        assert made.returncode == 0, made.stderr
    found = run(place, *command)
    assert found.returncode == 1
    assert found.stderr.splitlines() == [
        f"Error: {found.stderr.split('Error: ')[1].split(' needs')[0]} needs PyTorch, which is "
        "not installed: pip install 'melgrid[train]'"
    ]
    assert command[0] in found.stderr
