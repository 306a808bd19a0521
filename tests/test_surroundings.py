"""The program where a locale is not UTF-8, or its standard files are closed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore import FeatureStore

FEATURIZE = Path(sys.executable).with_name("featurize")
MELGRID = Path(sys.executable).with_name("melgrid")
NAMES = ("caf\u00e9.wav", "na\u00efve \u00d7.wav", "\u65e5\u672c \U0001f3b5.wav")

NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""An ASCII locale in which Python is forbidden what it does for one by itself."""


@pytest.fixture
def music(tmp_path):
    """Files with names of several alphabets, and an empty one."""
    folder = tmp_path / "m\u00fcsic"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        soundfile.write(folder / name, rng.uniform(-0.5, 0.5, 8000), 8000)
    (folder / "\u00e9mpty.wav").touch()
    return folder


def featurize(music, store, *options, **given):
    command = [
        FEATURIZE, music, "-o", store, "--sr", "8000", "--mels", "16", "--duration", "1",
        "--workers", "1", "--max-failures", "100%", *options,
    ]  # fmt: skip
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=240, **given)


@pytest.mark.slow
def test_a_locale_that_is_not_utf8_changes_no_name_and_no_character(music, tmp_path):
    given = {"env": {**os.environ, **NO_UTF8}, "stderr": subprocess.PIPE}
    store = tmp_path / "st\u00f6re.zarr"
    done = featurize(music, store, **given)
    assert done.returncode == 0, done.stderr
    assert f"in {store}" in done.stdout.decode()
    assert "failed: \u00e9mpty.wav: EmptyFile" in done.stderr.decode()
    clips = FeatureStore.open(store).clips
    assert set(clips["clip_id"][clips["status"] == "ready"]) == set(NAMES)

    def melgrid(*command):
        done = subprocess.run([MELGRID, *command], stdout=subprocess.PIPE, check=True, **given)
        return done.stdout

    assert "Use a running Dask scheduler: tcp://\u2026" in melgrid("featurize", "--help").decode()
    [failure] = json.loads(melgrid("failures", store, "--json"))
    assert failure["clip_id"] == "\u00e9mpty.wav"
    given["env"]["PYTHONIOENCODING"] = "latin-1"  # what it has no sign for is escaped
    assert b"tcp://\\u2026" in melgrid("featurize", "--help")
    assert json.loads(melgrid("failures", store, "--json")) == [failure]


CLOSED = """
import os
import shutil
import click
from cli import Program

@click.command(cls=Program)
def show():
    click.echo("said", err=True)
    with open(os.devnull) as file:
        print(file.fileno(), *(os.readlink(f"/proc/self/fd/{n}") for n in (0, 2)), flush=True)

show()
"""


def close_two():
    os.close(0)
    os.close(2)


@pytest.mark.slow
def test_standard_files_that_are_closed_are_open_on_nothing(music, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, preexec_fn=close_two, text=True
    )
    assert done.stdout == "3 /dev/null /dev/null\n"
    done = featurize(music, tmp_path / "store.zarr", preexec_fn=close_two)
    assert done.returncode == 0
    assert "3 of 4 clips ready; computed 4" in done.stdout.decode()
    assert FeatureStore.open(tmp_path / "store.zarr").verify().is_healthy


@pytest.mark.slow
def test_where_nothing_compiled_can_be_kept_the_store_is_the_same(music, tmp_path):
    """An install that is read-only, and no home: numba finds no place for its cache."""
    house, install = Path(__file__).parents[1], tmp_path / "install"
    for package in ("featurestore", "pipeline"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(house / package, install / package, ignore=ignored)
    shutil.copy(house / "cli.py", install)
    (install / "pipeline" / "kernels" / "__pycache__").touch()  # no folder, and none can be made
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "PYTHONPATH": str(install)}
    stores = []
    for name, env in (("kept.zarr", {}), ("not.zarr", {**nowhere, "PYTHONDONTWRITEBYTECODE": "1"})):
        done = featurize(
            music, tmp_path / name, "--perturb", "stretch0.9",
            env={**os.environ, **env}, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        stores.append(FeatureStore.open(tmp_path / name))
    kept, other = stores
    assert len(kept.specs) == 2
    ready = kept[kept.specs[0]].ready
    assert ready.sum() == len(NAMES)
    for spec in kept.specs:
        rows = np.flatnonzero(ready)
        np.testing.assert_array_equal(kept[spec].read(rows), other[spec].read(rows))
