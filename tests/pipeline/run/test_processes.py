import functools
import itertools
import os
import signal
import threading

import psutil
import pytest

from featurestore.errors import AudioError, RunError
from pipeline.run.processes import ProcessDiedError, in_order


def make_squarer(folder=None):
    return functools.partial(square, folder)


def square(folder, task):
    """Squares; some tasks go wrong in the ways there are."""
    if task == "refused":
        raise AudioError("EmptyFile", "no such square")
    if task == "bug":
        raise ZeroDivisionError("a bug")
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "killed once" and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "waits":
        (folder / "waits").touch()
        threading.Event().wait(600)
    return 1 if isinstance(task, str) else task**2


def make_nothing():
    os._exit(3)


def test_results_come_in_the_order_of_the_arguments():
    outcomes = list(in_order(make_squarer, range(40), n_processes=3))
    assert outcomes == [(task, task**2) for task in range(40)]


def test_a_process_that_dies_is_its_arguments_outcome_and_the_others_are_done():
    tasks = [1, "killed", 2, "refused", "killed", *range(3, 9)]
    outcomes = list(in_order(make_squarer, tasks, n_processes=2))
    assert [task for task, _ in outcomes] == tasks
    kinds = {1: ProcessDiedError, 3: AudioError, 4: ProcessDiedError}
    for place, (task, outcome) in enumerate(outcomes):
        if place in kinds:
            assert type(outcome) is kinds[place]
        else:
            assert outcome == task**2


def test_what_died_of_something_else_is_tried_again(tmp_path):
    make = functools.partial(make_squarer, tmp_path)
    assert list(in_order(make, ["killed once", 3], n_processes=1)) == [("killed once", 1), (3, 9)]


def test_no_more_arguments_are_taken_than_keep_the_processes_busy():
    taken = itertools.count()
    arguments = (next(taken) for _ in range(1000))
    outcomes = in_order(make_squarer, arguments, n_processes=2)
    assert [next(outcomes) for _ in range(3)] == [(0, 0), (1, 1), (2, 4)]
    assert next(taken) < 30
    outcomes.close()


def test_an_error_that_only_we_can_cause_is_raised_with_its_traceback():
    with pytest.raises(RuntimeError, match=r"in square\n[^$]*ZeroDivisionError: a bug"):
        list(in_order(make_squarer, [1, "bug", 2], n_processes=2))


def test_processes_that_cannot_start_are_an_error_with_a_remedy():
    with pytest.raises(RunError, match=r"worker processes end as they start.*workers=0"):
        list(in_order(make_nothing, [1], n_processes=2))


def test_all_processes_end_with_the_iterator_also_those_at_work(tmp_path):
    make = functools.partial(make_squarer, tmp_path)
    outcomes = in_order(make, [1, *["waits"] * 5], n_processes=2)
    assert next(outcomes) == (1, 1)
    while not (tmp_path / "waits").exists():
        pass
    # Those of the fork server, which stays.
    ours = [p for p in psutil.Process().children(recursive=True) if p.ppid() != os.getpid()]
    assert ours
    outcomes.close()
    assert psutil.wait_procs(ours, timeout=60)[1] == []
