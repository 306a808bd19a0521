"""What is compiled is kept where it can be, and works where it cannot."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.kernels import compiler

LOOP = """
from compiler_of_a_test import compiled

@compiled("int64(int64)")
def double(x):
    return 2 * x
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a loop and the project's compiler; no other place to keep anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    shutil.copy(compiler.__file__, tmp_path / "compiler.py")
    (tmp_path / "loop.py").write_text(LOOP)
    return tmp_path


def load(folder, monkeypatch):
    """The loop, as a process that has just started has it."""
    modules = []
    for name, file in (("compiler_of_a_test", "compiler.py"), ("loop_of_a_test", "loop.py")):
        spec = importlib.util.spec_from_file_location(name, folder / file)
        modules.append(importlib.util.module_from_spec(spec))
        monkeypatch.setitem(sys.modules, name, modules[-1])
        spec.loader.exec_module(modules[-1])
    double = modules[-1].double
    assert double(21) == 42
    return double.stats


def test_what_was_compiled_is_loaded_the_next_time(folder, monkeypatch):
    first, second = load(folder, monkeypatch), load(folder, monkeypatch)
    assert (sum(first.cache_hits.values()), sum(first.cache_misses.values())) == (0, 1)
    assert (sum(second.cache_hits.values()), sum(second.cache_misses.values())) == (1, 0)
    assert Path(first.cache_path) == folder / "__pycache__"


def test_another_file_of_the_folder_has_all_of_it_compiled_anew(folder, monkeypatch):
    load(folder, monkeypatch)
    (folder / "lanes.py").write_text("WIDTH = 8\n")
    assert not load(folder, monkeypatch).cache_hits
    assert load(folder, monkeypatch).cache_hits


def test_without_a_place_to_keep_it_each_process_compiles(folder, monkeypatch):
    (folder / "__pycache__").write_text("no folder, as on a disk that cannot be written to")
    for _ in range(2):
        assert load(folder, monkeypatch).cache_path is None


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [b"", b"no pickle"])
def test_what_is_kept_and_damaged_is_compiled_anew(folder, monkeypatch, ending, damage):
    load(folder, monkeypatch)
    (kept,) = (folder / "__pycache__").glob(f"loop.double-*{ending}")
    kept.write_bytes(damage)
    assert not load(folder, monkeypatch).cache_hits


def test_a_full_disk_is_no_reason_not_to_compute(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert not load(folder, monkeypatch).cache_hits


def test_what_cannot_be_compiled_says_so(folder, monkeypatch):
    (folder / "loop.py").write_text(LOOP.replace("2 * x", "x.no_such_thing"))
    with pytest.raises(Exception, match="no_such_thing"):
        load(folder, monkeypatch)
