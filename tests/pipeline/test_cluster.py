"""Clusters of this machine and of others, and what becomes of a run when they fail."""

import contextlib
import functools
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from featurestore.errors import RunError
from featurestore.grid import grid
from featurestore.window import ClipWindow
from pipeline.catalogs import open_catalog
from pipeline.cluster import WorkerDiedError, connect, each
from pipeline.run import run
from pipeline.settings import RunSettings

DASK = Path(sys.executable).with_name("dask")
SPECS = grid(sr=[8000], n_mels=[16, 8], hop=[1], log=["db"])


@contextlib.contextmanager
def dask_process(*command):
    """``dask scheduler`` or ``dask worker`` as a process of its own."""
    with subprocess.Popen(
        [DASK, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            process.stderr.close()


@contextlib.contextmanager
def scheduler_process():
    """A scheduler, and its address."""
    with dask_process(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
    ) as process:
        for line in process.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
                break
        yield process, found[1]


def worker_process(address, *options):
    return dask_process("worker", address, "--no-dashboard", "--nthreads", "1", *options)


@pytest.fixture
def music(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        samples = rng.uniform(-0.5, 0.5, 8000).astype(np.float32)
        soundfile.write(folder / f"{number:02}.wav", samples, 8000)
    return folder


def featurize(music, store, **settings):
    return run(
        open_catalog(str(music)),
        str(store),
        SPECS,
        RunSettings(window=ClipWindow(duration=1.0), **settings),
    )


def contents(store):
    files = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def test_separate_schedulers_and_workers_give_the_same_store_as_this_machine(music, tmp_path):
    with (
        scheduler_process() as (_, address),
        worker_process(address),
        worker_process(address, "--no-nanny"),
    ):
        there = featurize(music, tmp_path / "there.zarr", scheduler=address)
    here = featurize(music, tmp_path / "here.zarr", workers=1)
    assert there.n_ready == here.n_ready == 40
    assert contents(tmp_path / "there.zarr") == contents(tmp_path / "here.zarr")


def test_workers_with_several_threads_give_the_same_store(music, tmp_path):
    with scheduler_process() as (_, address), worker_process(address, "--nthreads", "4"):
        featurize(music, tmp_path / "there.zarr", scheduler=address)
    featurize(music, tmp_path / "here.zarr", workers=1)
    assert contents(tmp_path / "there.zarr") == contents(tmp_path / "here.zarr")


def test_a_run_waits_for_workers_and_says_so(monkeypatch):
    monkeypatch.setattr("pipeline.cluster._PATIENCE", 0.2)
    said = []
    with (
        scheduler_process() as (_, address),
        connect(None, address) as client,
        contextlib.ExitStack() as stack,
    ):

        def say(line):
            said.append(line)
            stack.enter_context(worker_process(address))

        assert sorted(each(client, abs, [-1, -2, -3], say)) == [(-3, 3), (-2, 2), (-1, 1)]
    assert said == ["no Dask worker is there: waiting for one (Ctrl-C to stop)"]


def test_a_scheduler_that_goes_away_ends_the_run_with_one_line():
    with (
        scheduler_process() as (process, address),
        worker_process(address),
        connect(None, address) as client,
    ):
        client.wait_for_workers(1)
        results = each(client, time.sleep, [600.0] * 3, print)
        client.loop.call_later(0.5, process.kill)
        with pytest.raises(RunError, match="the connection to the Dask scheduler is lost"):
            next(results)


def import_what_is_not_there(_):
    raise ModuleNotFoundError("No module named 'pipeline'")


def test_workers_without_melgrid_are_said_so(scheduler):
    with (
        connect(None, scheduler) as client,
        pytest.raises(
            RunError, match="the Dask workers cannot run tasks: No module named 'pipeline'"
        ),
    ):
        list(each(client, import_what_is_not_there, [0], print))


def test_a_scheduler_without_melgrid_is_said_so():
    with (
        scheduler_process() as (_, address),
        worker_process(address),
        connect(None, address) as client,
    ):
        client.wait_for_workers(1)
        # That process cannot import this module, as it could not import melgrid.
        with pytest.raises(RunError, match="the Dask scheduler cannot read tasks; install"):
            list(each(client, import_what_is_not_there, [0], print))


def die_at(number, argument):
    if argument == number:
        os._exit(1)
    return argument


def test_a_worker_that_dies_is_an_answer_and_another_takes_its_place(caplog):
    with caplog.at_level(logging.CRITICAL, "distributed"), connect(1, None) as client:
        [answer] = [
            result
            for argument, result in each(client, functools.partial(die_at, 7), range(20), print)
            if argument == 7
        ]
        assert isinstance(answer, WorkerDiedError)
        assert list(each(client, abs, [-1], print)) == [(-1, 1)]


def test_no_more_tasks_are_taken_than_keep_the_workers_busy(scheduler):
    taken = []

    def arguments():
        for number in range(200):
            taken.append(number)
            yield number

    with connect(None, scheduler) as client:
        for done, (_, result) in enumerate(each(client, abs, arguments(), print)):
            assert result >= 0
            assert len(taken) <= done + 1 + 2 * 2 + 2  # two workers
    assert len(taken) == 200


def test_the_performance_report_is_written(music, tmp_path):
    report = tmp_path / "report.html"
    run(
        open_catalog(str(music)),
        str(tmp_path / "store.zarr"),
        SPECS,
        RunSettings(window=ClipWindow(duration=1.0), workers=1),
        report=str(report),
    )
    assert "compute_shard" in report.read_text()


def test_a_report_that_cannot_be_written_is_refused_before_the_work(music, tmp_path):
    with pytest.raises(RunError, match=r"the report cannot be written: .*No such file"):
        run(
            open_catalog(str(music)),
            str(tmp_path / "store.zarr"),
            SPECS,
            RunSettings(window=ClipWindow(duration=1.0), workers=1),
            report=str(tmp_path / "nowhere" / "report.html"),
        )


def listening():
    """Addresses at which this process and its descendants listen."""
    return {
        connection.laddr
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def test_a_local_cluster_listens_on_this_machine_only():
    before = listening()
    with connect(1, None, dashboard=True) as client:
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        opened = listening() - before
    assert {address.ip for address in opened} == {"127.0.0.1"}
