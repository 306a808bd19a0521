import threading
import time
import types

import numpy as np
import pytest

from featurestore.process.stages import (
    OTHER,
    Clock,
    Memory,
    Profiler,
    instrumented,
    patched,
    process_memory,
    trim_at_once,
)

MB = 2**20


def count_to(n):
    yield from range(1, n + 1)


class Log(Profiler):
    """Which stage each moment was for, in order."""

    def __init__(self, stages):
        super().__init__(stages)
        self.restart()

    def restart(self):
        self.moments = []

    def count(self):
        self.moments.append(self._running[-1])


@pytest.fixture
def work():
    """A module of functions that call each other, as the real ones do."""
    module = types.SimpleNamespace()
    module.inner = lambda n: n + 1
    module.outer = lambda n: module.inner(n) * 10
    module.count_to = count_to
    module.fails = lambda: module.inner(1) / 0
    return module


def test_each_moment_is_for_the_innermost_stage(work):
    log = Log(["outer", "inner"])
    with instrumented({"outer": [(work, "outer")], "inner": [(work, "inner")]}, log):
        assert work.outer(1) == 20
    assert log.moments == [OTHER, "outer", "inner", "outer", OTHER]


def test_a_stage_within_itself_is_that_stage_still(work):
    log = Log(["both"])
    with instrumented({"both": [(work, "outer"), (work, "inner")]}, log):
        work.outer(1)
    assert log.moments == [OTHER, "both", OTHER]


def test_of_a_generator_each_step_is_counted_and_what_is_done_between_is_not(work):
    log = Log(["steps"])
    with instrumented({"steps": [(work, "count_to")]}, log):
        assert list(work.count_to(2)) == [1, 2]
    one = [OTHER, "steps"]
    assert log.moments == [*one, *one, *one, OTHER]  # two steps, the end


def test_a_stage_ends_when_its_function_raises(work):
    log = Log(["fails"])
    with instrumented({"fails": [(work, "fails")]}, log), pytest.raises(ZeroDivisionError):
        work.fails()
    assert log.moments == [OTHER, "fails", OTHER]


def test_other_threads_are_not_counted(work):
    log = Log(["outer"])
    with instrumented({"outer": [(work, "outer")]}, log):
        thread = threading.Thread(target=work.outer, args=(1,))
        thread.start()
        thread.join()
    assert log.moments == [OTHER]


def test_functions_are_put_back_even_after_an_error(work):
    before = dict(vars(work))
    table = {"of a dict": work.inner}
    with (
        pytest.raises(ZeroDivisionError),
        instrumented({"a": [(work, "fails")], "b": [(table, "of a dict")]}, Log("ab")),
    ):
        work.fails()
    assert vars(work) == before
    assert table == {"of a dict": work.inner}


def test_what_was_inherited_is_inherited_again():
    class Parent:
        def speak(self):
            return "parent"

    class Child(Parent):
        pass

    with patched(Child, "speak", lambda self: "child"):
        assert (Child().speak(), Parent().speak()) == ("child", "parent")
    assert "speak" not in vars(Child)
    assert Child().speak() == "parent"


def test_a_clocks_stages_add_up_to_the_time_that_passed(work):
    began = time.perf_counter()
    clock = Clock(["outer", "inner"])
    with instrumented({"outer": [(work, "outer")], "inner": [(work, "inner")]}, clock):
        for n in range(100):
            work.outer(n)
    passed = time.perf_counter() - began
    assert 0 < sum(clock.wall.values()) <= passed
    assert set(clock.wall) == set(clock.cpu) == {"outer", "inner", OTHER}
    assert all(seconds > 0 for seconds in clock.wall.values())


def test_a_clock_forgets_its_warm_up():
    clock = Clock(["stage"])
    with clock.running("stage"):
        pass
    clock.restart()
    assert set(clock.wall.values()) == {0}


def test_a_clock_waits_for_what_was_begun_elsewhere_before_it_is_read():
    waits = []
    clock = Clock(["stage"], synchronize=lambda: waits.append(dict(clock.wall) if waits else None))
    with clock.running("stage"):
        pass
    assert len(waits) == 3  # at its start, where the stage begins, where it ends
    assert waits[2]["stage"] == 0  # and not after


needs_linux = pytest.mark.skipif(process_memory() is None, reason="the system keeps no such peak")


@needs_linux
def test_a_stages_memory_is_the_most_it_held_above_what_there_was():
    with trim_at_once():
        memory = Memory(["large", "small", "none"], process_memory())
        kept = np.ones(16 * MB, np.uint8)
        with memory.running("large"):
            np.ones(64 * MB, np.uint8)  # and freed
        with memory.running("small"):
            kept = kept + 1
        with memory.running("none"):
            pass
    # Linux counts pages in lumps of some tens.
    assert 63 * MB <= memory.most["large"] < 68 * MB
    assert 15 * MB <= memory.most["small"] < 20 * MB
    assert memory.most["none"] < MB
    assert memory.peak > 80 * MB


@needs_linux
def test_a_stages_memory_is_not_that_of_a_stage_within():
    with trim_at_once():
        memory = Memory(["outer", "inner"], process_memory())
        with memory.running("outer"), memory.running("inner"):
            np.ones(64 * MB, np.uint8)
    assert memory.most["inner"] >= 63 * MB
    assert memory.most["outer"] < 4 * MB


@needs_linux
def test_memory_held_before_a_restart_is_no_stages():
    with trim_at_once():
        memory = Memory(["stage"], process_memory())
        kept = np.ones(64 * MB, np.uint8)
        memory.restart()
        memory.count()
    assert memory.most[OTHER] < 4 * MB
    assert memory.peak >= len(kept)
