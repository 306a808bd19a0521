"""Clusters of this machine and of others, and what becomes of a run when they fail."""

import contextlib
import functools
import json
import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
import soundfile
from distributed import LocalCluster, Security

from featurestore.errors import OutputError, RunError
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import grid
from pipeline.catalogs import open_catalog
from pipeline.run.cluster import connect
from pipeline.run.compute import WorkerDiedError, each
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

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
        yield process, address_of(process)


def address_of(process):
    for line in process.stderr:
        if found := re.search(r"Scheduler at:\s+(\S+)", line):
            return found[1]
    raise AssertionError("the scheduler has ended")


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
        RunSettings(window=Excerpt(duration=1.0), **settings),
    )


def contents(store):
    files = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


@pytest.mark.slow
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


@pytest.mark.slow
def test_workers_with_several_threads_give_the_same_store(music, tmp_path):
    with scheduler_process() as (_, address), worker_process(address, "--nthreads", "4"):
        featurize(music, tmp_path / "there.zarr", scheduler=address)
    featurize(music, tmp_path / "here.zarr", workers=1)
    assert contents(tmp_path / "there.zarr") == contents(tmp_path / "here.zarr")


@pytest.mark.slow
def test_a_run_waits_for_workers_and_says_so(monkeypatch):
    monkeypatch.setattr("pipeline.run.compute._PATIENCE", 0.2)
    said = []
    with (
        scheduler_process() as (_, address),
        connect(None, address) as client,
        contextlib.ExitStack() as stack,
    ):

        def notify(line):
            said.append(line)
            stack.enter_context(worker_process(address))

        assert sorted(each(client, abs, [-1, -2, -3], notify)) == [(-3, 3), (-2, 2), (-1, 1)]
    assert said == ["no Dask worker is there: waiting for one (Ctrl-C to stop)"]


@pytest.mark.slow
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


@pytest.mark.slow
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
    report = tmp_path / "re::port.html"
    run(
        open_catalog(str(music)),
        str(tmp_path / "store.zarr"),
        SPECS,
        RunSettings(window=Excerpt(duration=1.0), workers=1),
        report=str(report),
    )
    assert "compute_shard" in report.read_text()
    assert not (tmp_path / "re").exists()


def test_a_report_that_cannot_be_written_is_refused_before_the_work(music, tmp_path):
    with pytest.raises(OutputError, match=r"the report .* cannot be written: No such file"):
        run(
            open_catalog(str(music)),
            str(tmp_path / "store.zarr"),
            SPECS,
            RunSettings(window=Excerpt(duration=1.0), workers=1),
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


@pytest.mark.parametrize("dashboard", [False, True])
def test_a_local_cluster_listens_on_this_machine_only(dashboard):
    before = listening()
    with connect(1, None, dashboard=dashboard) as client:
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        opened = listening() - before
    assert {address.ip for address in opened} == {"127.0.0.1"}


INTRUDER = """
import asyncio, itertools, json, os, sys, urllib.error, urllib.request
from distributed import Security
from distributed.comm import connect
from distributed.core import send_recv
from distributed.protocol.pickle import dumps

OWN = Security.temporary().get_connection_args("client") | {"require_encryption": False}

async def run_there(address, op, seconds):
    # What it gets to run there gives the number of the process that ran it.
    try:
        async with asyncio.timeout(seconds):
            comm = await connect(address, timeout=seconds, **OWN)
            return (await send_recv(comm, op=op, function=dumps(os.getpid)))["result"]
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def page(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except Exception as error:
        return type(error).__name__

async def attack(ports, seconds):
    ways = list(itertools.product(ports, ("tcp", "tls"), ("run", "run_function")))
    return await asyncio.gather(
        *(run_there(f"{scheme}://127.0.0.1:{port}", op, seconds) for port, scheme, op in ways),
    )

async def main(ports):
    await attack([1], 0.1)  # so that all is imported, which the other user may not read
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    answers = await attack(ports, 2)
    print(json.dumps([[page(port) for port in ports], answers]))

asyncio.run(main(sys.argv[1:]))
"""


def intrude(addresses):
    """What another user gets: a web page from each port, and answers to tries to run code."""
    ports = [str(address.port) for address in addresses]
    done = subprocess.run(
        [sys.executable, "-c", INTRUDER, *ports], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    pages, answers = json.loads(done.stdout)
    assert (len(pages), len(answers)) == (len(ports), 4 * len(ports))
    return pages, answers


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.mark.slow
@as_root
def test_another_user_of_this_machine_cannot_use_a_local_cluster():
    before = listening()
    with connect(1, None) as client:
        pages, answers = intrude(opened := listening() - before)
        assert client.submit(abs, -1).result() == 1  # it is in order
    assert len(opened) == 5  # scheduler, nanny, worker; the web servers of scheduler and worker
    assert all("Error: " in str(answer) for answer in answers)
    assert sum("TLS certificate does not match" in answer for answer in answers) == 2 * 3
    assert 200 not in pages


@pytest.mark.slow
@as_root
def test_another_user_can_run_code_in_a_cluster_that_is_not_protected():
    """Shows that the test above would see it."""
    before = listening()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        pages, answers = intrude(listening() - before)
        processes = {os.getpid(), *(worker.pid for worker in cluster.workers.values())}
    ran = [answer for answer in answers if type(answer) is int]
    assert len(ran) == 3  # by scheduler and nanny, which are this process, and by the worker
    assert set(ran) == processes
    assert pages.count(200) == 2


@pytest.mark.parametrize("before", [None, "of others", "a link"])
def test_a_local_cluster_keeps_its_key_and_its_files_from_other_users(
    monkeypatch, tmp_path, before
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"melgrid-{os.getuid()}"
    if before == "of others":
        usual.mkdir()
        usual.chmod(0o777)
    elif before == "a link":
        (tmp_path / "elsewhere").mkdir()
        usual.symlink_to(tmp_path / "elsewhere")
    path = sys.path.copy()
    with connect(1, None) as client:
        assert client.submit(abs, -1).result() == 1
        [folder] = [usual] if before is None else set(tmp_path.glob("melgrid-*")) - {usual}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.rglob("worker-*"))
        assert not list((tmp_path / "elsewhere").glob("*"))
        assert not list(usual.iterdir()) or folder == usual
        held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            for name in ("cmdline", "environ"):
                held += Path(f"/proc/{process.pid}/{name}").read_bytes()
        assert b"PRIVATE KEY" not in held
        assert b"CERTIFICATE" not in held
    assert folder.exists() == (folder == usual)
    assert not list(folder.rglob("worker-*"))
    assert sys.path == path


def certificate(folder):
    """Dask's configuration for a new certificate in `folder`, which serves all sides."""
    folder.mkdir()
    made = Security.temporary()
    (folder / "ca.pem").write_text(made.tls_ca_file)
    (folder / "key.pem").write_text(made.tls_client_key)
    return {
        "distributed.comm.tls.ca-file": str(folder / "ca.pem"),
        "distributed.comm.tls.client.cert": str(folder / "ca.pem"),
        "distributed.comm.tls.client.key": str(folder / "key.pem"),
    }


@pytest.mark.slow
def test_a_scheduler_with_certificates_takes_those_who_have_one(tmp_path):
    ours, others = certificate(tmp_path / "ours"), certificate(tmp_path / "others")
    ca, cert, key = ours.values()
    tls = ("--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key)
    with (
        dask_process(
            "scheduler", "--host", "tls://127.0.0.1", "--port", "0", "--no-dashboard", *tls
        ) as process,
    ):
        address = address_of(process)
        assert address.startswith("tls://")
        with (
            worker_process(address, *tls),
            dask.config.set(ours),
            connect(None, address) as client,
        ):
            assert list(each(client, abs, [-1], print)) == [(-1, 1)]
        for configuration, refusal in (
            (others, "TLS certificate does not match"),
            ({}, "TLS expects a `ssl_context`"),
            ({**ours, "distributed.comm.tls.client.key": "nowhere"}, "No such file"),
        ):
            with (
                dask.config.set(configuration),
                pytest.raises(RunError, match=rf"{refusal}.*; look at .*distributed\.comm\.tls"),
                connect(None, address),
            ):
                pass


def test_an_address_where_no_scheduler_is_is_said_so():
    with (
        pytest.raises(RunError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1: "),
        connect(None, "tcp://127.0.0.1:1", timeout=0.1),
    ):
        pass


START = """
from pipeline.run.cluster import connect

if __name__ == "__main__":
    with connect(1, None) as client:
        print(client.submit(abs, -1).result())
"""


def start(script, tmp_path, *wrapper, **environment):
    """A local cluster in a process of its own."""
    (tmp_path / "start.py").write_text(script)
    house = str(Path(__file__).parents[3])
    return subprocess.run(
        [*wrapper, sys.executable, tmp_path / "start.py"],
        env={**os.environ, "PYTHONPATH": house, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_a_long_path_for_temporary_files_will_do(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    done = start(START, tmp_path, TMPDIR=str(folder))
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.slow
def test_no_room_for_what_processes_share_is_said_so(tmp_path):
    full = "mount -t tmpfs -o size=4k tmpfs /dev/shm && echo > /dev/shm/full && exec "
    wrapper = ("unshare", "--mount", "sh", "-c", full + '"$@"', "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    done = start(START, tmp_path, *wrapper)
    assert done.stderr.splitlines()[-1] == (
        "featurestore.errors.RunError: Dask's workers cannot be started: [Errno 28] No space left "
        "on device; look at /dev/shm, where processes need some room (docker run --shm-size 64m)"
    )


@pytest.mark.slow
def test_a_worker_that_dies_at_its_start_is_said_so(tmp_path):
    done = start(START, tmp_path, DASK_DISTRIBUTED__WORKER__PRELOAD="import os; os._exit(1)")
    assert "a Dask worker died while it was started: is memory short?" in done.stderr
