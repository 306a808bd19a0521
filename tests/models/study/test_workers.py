import multiprocessing
import os
import signal
import threading

import psutil
import pytest

from featurestore.errors import RunError, TrainingError
from models.study import workers


class Squarer:
    """Squares; some tasks go wrong in the ways there are."""

    def __init__(self, number):
        self.number = number

    def __call__(self, task):
        if task == "refused":
            raise TrainingError("no such square")
        if task == "bug":
            raise ZeroDivisionError("a bug")
        if task == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return task**2


def square(task):
    return Squarer(0)(task)


def by_task(outcomes):
    outcomes = list(outcomes)
    assert len({task for task, _ in outcomes}) == len(outcomes)
    return dict(outcomes)


def test_here_tasks_are_done_in_their_order_and_a_failure_is_an_outcome():
    outcomes = list(workers.here(square, [3, "refused", 2]))
    assert [task for task, _ in outcomes] == [3, "refused", 2]
    assert (outcomes[0][1], outcomes[2][1]) == (9, 4)
    assert isinstance(outcomes[1][1], TrainingError)


def test_in_processes_each_task_is_done_once_and_a_dead_process_is_its_tasks_outcome():
    tasks = [*range(8), "refused", "killed", *range(8, 12)]
    outcomes = by_task(workers.in_processes(Squarer, tasks, jobs=2))
    assert {task: outcomes[task] for task in range(12)} == {task: task**2 for task in range(12)}
    assert str(outcomes["refused"]) == "no such square"
    assert isinstance(outcomes["killed"], RunError)
    assert str(outcomes["killed"]).startswith("its process died (signal 9): is memory short?")


def test_an_error_that_only_we_can_cause_is_raised_with_its_traceback():
    with pytest.raises(RuntimeError, match=r"in __call__\n[^$]*ZeroDivisionError: a bug"):
        list(workers.in_processes(Squarer, ["bug"], jobs=2))


def test_processes_end_with_the_iterator():
    before = set(psutil.Process().children())
    outcomes = workers.in_processes(Squarer, range(5), jobs=2)
    next(outcomes)
    # The tracker of shared resources stays: one for all.
    ours = set(psutil.Process().children()) - before
    ours = [process for process in ours if "resource_tracker" not in str(process.cmdline())]
    assert ours
    outcomes.close()
    assert [process for process in ours if process.is_running()] == []


class Waiter:
    """Says that it is at work, by a file, and is at it for long."""

    def __init__(self, number):
        self.number = number

    def __call__(self, folder):
        (folder / str(self.number)).touch()
        threading.Event().wait(600)


def wait_in_processes(folder):
    list(workers.in_processes(Waiter, [folder] * 3, jobs=2))


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    parent = multiprocessing.get_context("spawn").Process(
        target=wait_in_processes, args=(tmp_path,)
    )
    parent.start()
    while len(list(tmp_path.iterdir())) < 2:
        parent.join(0.01)
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.join()
    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_on_dask_tasks_are_done_and_a_failure_is_an_outcome(scheduler):
    said = []
    outcomes = by_task(
        workers.on_dask(square, [1, 2, "refused", 3], scheduler=scheduler, notify=said.append)
    )
    assert {task: outcomes[task] for task in (1, 2, 3)} == {1: 1, 2: 4, 3: 9}
    assert str(outcomes["refused"]) == "no such square"
    assert said == []


def test_on_dask_a_dead_worker_is_its_tasks_outcome(scheduler):
    outcomes = by_task(workers.on_dask(square, ["killed", 5], scheduler=scheduler, notify=print))
    assert str(outcomes["killed"]).startswith("its Dask workers died")
    assert outcomes[5] == 25


def test_a_bug_on_dask_is_raised(scheduler):
    with pytest.raises(ZeroDivisionError):
        list(workers.on_dask(square, ["bug"], scheduler=scheduler, notify=print))


def test_a_scheduler_that_does_not_answer_is_an_error():
    for address in ("nowhere://1", "tcp://127.0.0.1:1", "tls://127.0.0.1:1"):
        with pytest.raises(RunError, match=f"no Dask scheduler answers at {address}: "):
            list(workers.on_dask(square, [1], scheduler=address, notify=print, timeout=0.1))
