"""Stores and audio on S3: against moto's server, on this machine."""

import contextlib
import dataclasses
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import fsspec
import numpy as np
import pytest
import s3fs
import soundfile
from click.testing import CliRunner
from distributed import LocalCluster
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

import featurestore.storage.lock
from cli import melgrid
from featurestore import FeatureStore
from featurestore.errors import (
    CorruptDataError,
    SettingsError,
    StorageError,
    StoreLockedError,
)
from featurestore.export import export
from featurestore.export.selection import Selection
from featurestore.integrity.verify import verify
from featurestore.specs.encoding import Codec
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import grid
from featurestore.storage.files import RUN_FOLDER
from featurestore.storage.lock import RunLease
from featurestore.storage.remote import RemoteFiles
from featurestore.writer import StoreWriter
from pipeline.audio.decode import read_track
from pipeline.audio.file import Signature, signature_of
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SR = 8000
SPECS = grid(sr=[SR], n_mels=[16, 8], hop=[1, 2], log=["db"])
SECRET = "a-secret-key"
FEATURIZE = Path(sys.executable).with_name("featurize")
OPTIONS = ("--sr", "8000", "--mels", "16,8", "--hop", "x1,x2", "--duration", "1", "--quiet")

DENIED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not exist
 in our records.</Message><AWSAccessKeyId>wrong</AWSAccessKeyId></Error>"""


@dataclasses.dataclass
class Endpoint:
    """An S3 endpoint that keeps what it was asked, and calls back before each request to write."""

    url: str = ""
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    before_write: Callable[[], None] = lambda: None
    injury: Callable[[str, str], str] = lambda method, path: ""

    def __post_init__(self) -> None:
        self._s3 = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if "Credential=wrong/" in environ.get("HTTP_AUTHORIZATION", ""):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"" if method == "HEAD" else DENIED]
        self.requests.append((method, path))
        if method in ("PUT", "POST", "DELETE"):
            self.before_write()
        injury = self.injury(method, path)
        if not injury:
            return self._s3(environ, start_response)
        return self._injured(injury, environ, start_response)

    def _injured(self, injury, environ, start_response):
        """An answer as networks and busy servers give it."""
        if injury in ("500 Internal Server Error", "503 Slow Down"):
            # What was sent is read, or the connection could not be used again.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(injury, [("Content-Length", "0")])
            return [b""]
        if injury == "lost request":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return [b""]
        said = []
        body = b"".join(self._s3(environ, lambda *head: said.append(head)))
        if injury == "lost answer":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return [b""]
        start_response(*said[0])
        if injury == "half a body":
            environ["werkzeug.socket"].settimeout(5)
            return _cut(body, environ["werkzeug.socket"])
        place = len(body) // 2
        return [body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :] if body else b""]

    def asked(self, method: str, part: str) -> int:
        """How many requests there were of a kind, for paths with `part` in them."""
        return sum(m == method and part in path for m, path in self.requests)


def _cut(body, connection):
    yield body[: len(body) // 2]
    connection.shutdown(socket.SHUT_RDWR)


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as S3 does

    def log(self, *message):
        pass


@pytest.fixture(scope="module")
def s3() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    server = make_server("127.0.0.1", 0, endpoint, threaded=True, request_handler=Quiet)
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
            environment.delenv(name)
        for name, value in (
            ("AWS_ENDPOINT_URL", endpoint.url),
            ("AWS_ACCESS_KEY_ID", "tester"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", os.devnull),
            ("AWS_SHARED_CREDENTIALS_FILE", os.devnull),
        ):
            environment.setenv(name, value)
        yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(s3) -> str:
    """URL of a new bucket."""
    s3.before_write = lambda: None
    s3.injury = lambda method, path: ""
    s3.requests.clear()
    name = f"b{uuid.uuid4().hex}"
    disk().mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="module")
def scheduler(s3):
    """As conftest's, of workers that were started with this module's environment."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """A folder of 20 short WAV files with a table of them; not to be written to."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    lines = ["path,clip_id,split,even"]
    for number in range(20):
        samples = rng.uniform(-0.5, 0.5, SR + 100 * number)
        soundfile.write(folder / f"{number:02}.wav", samples, SR)
        split = ("train", "validation", "test")[number % 3]
        lines.append(f"{number:02}.wav,{number:02},{split},{number // 3 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def disk() -> fsspec.AbstractFileSystem:
    return fsspec.filesystem("s3", use_listings_cache=False)


def upload(music: Path, bucket: str) -> str:
    """Put the music into the bucket; URL of its table."""
    for path in music.iterdir():
        disk().pipe_file(f"{bucket}/music/{path.name}", path.read_bytes())
    return f"{bucket}/music/labels.csv"


def contents(store: str | Path) -> dict[str, bytes]:
    """All files of a store by key."""
    if "://" not in str(store):
        root = Path(store)
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    root = store.removeprefix("s3://")
    return {
        path.removeprefix(f"{root}/"): data for path, data in disk().cat(disk().find(root)).items()
    }


def values(store: str | Path) -> dict[str, bytes]:
    """Those that hold values."""
    return {key: data for key, data in contents(store).items() if "/values/c/" in key}


@pytest.fixture
def featurize(scheduler):
    def featurize(audio, store, specs=SPECS):
        settings = RunSettings(window=Excerpt(duration=1.0), scheduler=scheduler)
        return run(open_catalog(str(audio)), str(store), specs, settings)

    return featurize


@pytest.fixture(scope="module")
def done(s3, scheduler, music) -> str:
    """A bucket with the music and a finished store, ``store.zarr``; not to be written to."""
    name = f"b{uuid.uuid4().hex}"
    disk().mkdir(name)
    settings = RunSettings(window=Excerpt(duration=1.0), scheduler=scheduler)
    table = upload(music, f"s3://{name}")
    run(open_catalog(table), f"s3://{name}/store.zarr", SPECS, settings)
    return f"s3://{name}"


@pytest.mark.slow
def test_audio_and_store_are_each_local_or_remote_and_the_values_the_same(
    bucket, music, featurize, tmp_path, done
):
    local = featurize(music / "labels.csv", tmp_path / "a.zarr").store
    from_s3 = featurize(f"{done}/music/labels.csv", tmp_path / "b.zarr")
    to_s3 = featurize(music / "labels.csv", f"{bucket}/c.zarr")
    assert from_s3.n_ready == to_s3.n_ready == 20
    expected = values(local.path)
    assert len(expected) == 4 * 3
    for path in (tmp_path / "b.zarr", f"{bucket}/c.zarr", f"{done}/store.zarr"):
        assert values(path) == expected
    # All other files are the same too, but for the records, which say when audio was changed.
    others = set(contents(local.path))
    assert set(contents(f"{bucket}/c.zarr")) == others
    assert contents(f"{bucket}/c.zarr") == contents(local.path)


@pytest.mark.slow
def test_a_store_is_read_as_it_was_written(done, music, featurize, tmp_path):
    local = featurize(music / "labels.csv", tmp_path / "a.zarr").store
    store = FeatureStore.open(f"{done}/store.zarr")
    columns = ["clip_id", "path", "split", "status", "start", "n_valid", "digest", "even"]
    assert store.clips[columns].equals(local.clips[columns])
    rows = [7, 0, 19, 7, 8]
    for spec in SPECS:
        expected = local[spec].read(rows, start=[1, 2, 3, 4, 5], length=9)
        np.testing.assert_array_equal(store[spec].read(rows, [1, 2, 3, 4, 5], 9), expected)
        np.testing.assert_array_equal(store[spec][3], local[spec][3])
        assert store[spec].nbytes_stored == local[spec].nbytes_stored


@pytest.mark.slow
def test_zarr_reads_it(done):
    import zarr

    store = FeatureStore.open(f"{done}/store.zarr")
    url = f"{done}/store.zarr/{SPECS[0].name}/values"
    array = zarr.open_array(url, mode="r", storage_options={"use_listings_cache": False})
    np.testing.assert_array_equal(array[5], store[SPECS[0]][5])


@pytest.mark.slow
def test_running_again_does_only_what_is_missing(bucket, music, featurize, s3):
    table, store = upload(music, bucket), f"{bucket}/store.zarr"
    featurize(table, store, SPECS[:1])
    before = contents(store)
    s3.requests.clear()
    assert featurize(table, store, SPECS[:1]).n_computed == 0
    assert contents(store) == before
    assert s3.asked("GET", ".wav") == 0
    assert featurize(table, store).n_computed == 20  # further specs
    kept = FeatureStore.open(store)[SPECS[0]].read(range(20))

    (same, other) = (music / "03.wav").read_bytes(), (music / "04.wav").read_bytes()
    disk().pipe_file(f"{bucket}/music/03.wav", same)
    disk().pipe_file(f"{bucket}/music/05.wav", other)
    disk().pipe_file(f"{bucket}/music/20.wav", other)
    rows = disk().cat_file(table).decode() + "\n20.wav,20,train,0"
    disk().pipe_file(table, rows.encode())
    summary = featurize(table, store)
    assert (summary.n_clips, summary.n_ready, summary.n_computed) == (21, 21, 2)
    read = summary.store[SPECS[0]].read(range(21))
    np.testing.assert_array_equal(read[5], kept[4])
    np.testing.assert_array_equal(read[20], kept[4])
    kept[5] = kept[4]
    np.testing.assert_array_equal(read[:20], kept)


@pytest.mark.slow
def test_bad_audio_becomes_a_row_with_a_reason(bucket, music, featurize):
    table = upload(music, bucket)
    disk().pipe_file(f"{bucket}/music/03.wav", b"")
    disk().pipe_file(f"{bucket}/music/04.wav", b"no audio")
    disk().rm_file(f"{bucket}/music/05.wav")
    summary = featurize(table, f"{bucket}/store.zarr", SPECS[:1])
    reasons = {failure.clip_id: failure.reason for failure in summary.failures}
    assert reasons == {"03": "EmptyFile", "04": "DecodeError", "05": "Unreadable"}
    assert summary.n_ready == 17
    upload(music, bucket)
    assert featurize(table, f"{bucket}/store.zarr", SPECS[:1]).n_computed == 3


@pytest.mark.slow
def test_the_command_line_takes_urls(bucket, music, s3):
    table, store = upload(music, bucket), f"{bucket}/store.zarr"
    done = subprocess.run(
        [FEATURIZE, table, "-o", store, *OPTIONS, "--workers", "1"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for command in (["ls"], ["info"], ["failures"]):
        result = CliRunner().invoke(melgrid, [*command, store], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert "20 x 16 x 32" in CliRunner().invoke(melgrid, ["ls", store]).output
    assert all(SECRET.encode() not in data for data in contents(store).values())


TRAIN = """
import sys
import numpy as np
from featurestore import FeatureStore
from models.data import ClipDataset, training_data
from torch.utils.data import DataLoader

if __name__ == "__main__":
    store = FeatureStore.open(sys.argv[1])
    data = training_data(store, store.specs[0])
    expected = store[store.specs[0]].read(data.train._rows)  # before the fork
    loader = DataLoader(
        data.train,
        batch_size=3,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=sys.argv[2],
    )
    for _ in range(2):
        read = np.concatenate([values.numpy() for values, *_ in loader])
        np.testing.assert_array_equal(read, expected)
    print(len(read))
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loader_processes_read_it_after_their_parent_has(done, context, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    result = subprocess.run(
        [sys.executable, script, f"{done}/store.zarr", context],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (result.stdout, result.returncode) == ("7\n", 0), result.stderr


def test_a_window_of_a_waveform_is_one_request_for_its_chunks(bucket, wave_store, s3):
    filesystem, path = fsspec.core.url_to_fs(bucket)
    filesystem.put(wave_store.path, f"{path}/waves.zarr", recursive=True)
    array, local = FeatureStore.open(f"{bucket}/waves.zarr")["sr44100-wave"], wave_store.specs[0]
    array.read([0], length=1)
    s3.requests.clear()
    values = array.read([2, 3], start=[8000, 16000], length=400)
    assert s3.asked("GET", "/values/c/0/0/0") == 1
    np.testing.assert_array_equal(values, wave_store[local].read([2, 3], [8000, 16000], 400))


@pytest.mark.slow
def test_neighbouring_clips_come_in_one_request(done, s3):
    array = FeatureStore.open(f"{done}/store.zarr")[SPECS[0]]
    array.read([0])
    s3.requests.clear()
    array.read(range(8))  # the first shard
    assert s3.asked("GET", "/values/c/0/0/0") == 1
    array.read(range(20))
    s3.requests.clear()
    array.read([19, 1, 9])
    assert s3.asked("GET", "/values/") == 3  # the indices are known


@pytest.mark.slow
def test_damage_is_found(bucket, music, featurize):
    store = featurize(music / "labels.csv", f"{bucket}/store.zarr", SPECS[:1]).store
    key = store.layouts[SPECS[0]].shard_key(1)
    good = store.files.read(key)
    array = store[SPECS[0]]
    np.testing.assert_array_equal(array[0], array.read([0, 9])[0])
    store.files.write(key, good[:5] + bytes([good[5] ^ 1]) + good[6:])
    with pytest.raises(CorruptDataError, match="clip 0: the checksum does not match"):
        array.read([0, 8])
    store.files.write(key, good[:10])
    with pytest.raises(CorruptDataError, match="too few for a shard"):
        array.read([8])
    store.files.remove(key)
    with pytest.raises(CorruptDataError, match="missing from"):
        array.read([8])
    assert np.isfinite(array[0]).all()


@pytest.mark.slow
def test_bytes_that_are_damaged_on_their_way_are_fetched_again(done, s3):
    array = FeatureStore.open(f"{done}/store.zarr")[SPECS[0]]
    expected = array.read([0, 9, 17])
    for part in ("/values/c/1", "/store.zarr/"):
        broken = {part}

        def injury(method, path, part=part, broken=broken):
            if method == "GET" and part in path and broken:
                broken.clear()
                return "a flipped bit"
            return ""

        s3.injury = injury
        try:
            again = FeatureStore.open(f"{done}/store.zarr")[SPECS[0]].read([0, 9, 17])
        finally:
            s3.injury = lambda method, path: ""
        assert not broken
        np.testing.assert_array_equal(again, expected)


INJURIES = (
    "500 Internal Server Error", "503 Slow Down", "lost request", "lost answer", "half a body",
    "a flipped bit",
)  # fmt: skip


@pytest.mark.slow
def test_through_a_network_that_injures_each_tenth_answer_all_is_the_same(
    bucket, done, music, featurize, s3, tmp_path
):
    table = upload(music, bucket)
    expected = values(f"{done}/store.zarr")
    chance, injured = random.Random(0), []

    def injury(method, path):
        if chance.random() < 0.9:
            return ""
        injured.append(chance.choice(INJURIES))
        # What is sent is told damaged by its own checksum, which moto does not look at.
        return injured[-1] if method == "GET" or injured[-1] != "a flipped bit" else ""

    s3.injury = injury
    try:
        summary = featurize(table, f"{bucket}/store.zarr")
        assert summary.failures == ()
        store = FeatureStore.open(f"{bucket}/store.zarr")
        everything = [store[spec].read(range(20)) for spec in store.specs]
        report = verify(store.files, store.metadata)
        assert report.is_healthy, report.lines()
        export(Selection.of(store), str(tmp_path / "all.h5"), "hdf5", quiet=True)
    finally:
        s3.injury = lambda method, path: ""
    assert set(INJURIES) <= set(injured)
    assert values(f"{bucket}/store.zarr") == expected
    sound = FeatureStore.open(f"{done}/store.zarr")
    for spec, read in zip(store.specs, everything, strict=True):
        np.testing.assert_array_equal(read, sound[spec].read(range(20)))


@pytest.mark.slow
def test_a_track_that_always_arrives_damaged_fails_with_its_reason_and_the_run_goes_on(
    bucket, music, featurize, s3
):
    table = upload(music, bucket)
    s3.injury = lambda method, path: (
        "a flipped bit" if method == "GET" and path.endswith("/07.wav") else ""
    )
    try:
        summary = featurize(table, f"{bucket}/store.zarr")
    finally:
        s3.injury = lambda method, path: ""
    assert [(f.clip_id, f.reason, f.detail) for f in summary.failures] == [
        ("07", "Unreadable", "it arrives damaged each time")
    ]


def test_a_shard_that_was_replaced_is_read_anew(bucket, make_store, tmp_path):
    """Also where its chunks are as long as the old one's, so that no checksum tells."""
    full = make_store(codec=Codec(name="none"), failed=(), pending=())
    some = make_store("some.zarr", codec=Codec(name="none"), failed=(), pending=(1,))
    for key, data in contents(some.path).items():
        disk().pipe_file(f"{bucket}/store.zarr/{key}", data)
    array = FeatureStore.open(f"{bucket}/store.zarr")[full.specs[0]]
    expected = full[full.specs[0]].read([2, 9])
    np.testing.assert_array_equal(array.read([2, 9]), expected)
    for key, data in contents(full.path).items():
        disk().pipe_file(f"{bucket}/store.zarr/{key}", data)
    np.testing.assert_array_equal(array.read([2, 9]), expected)


@pytest.fixture
def window():
    return Excerpt(duration=1.0)


def test_a_second_run_is_refused_and_a_lock_leaves_nothing_behind(bucket, window):
    files = RemoteFiles(f"{bucket}/store.zarr")
    with StoreWriter(files.root, window) as first:
        assert first.abandoned_by is None
        message = rf"another run is writing to {files.root} \(process {os.getpid()} on \S+, seen"
        with pytest.raises(StoreLockedError, match=message), StoreWriter(files.root, window):
            pass
        first.files.write("a", b"still there")
    assert files.names(RUN_FOLDER) == []
    with StoreWriter(files.root, window) as again:
        assert again.abandoned_by is None


HOLD = """
import sys
from featurestore.storage.remote import RemoteFiles
from featurestore.storage.lock import RunLease
RunLease(RemoteFiles(sys.argv[1])).__enter__()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_taken_over_at_once(bucket):
    files = RemoteFiles(f"{bucket}/store.zarr")
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLD, files.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holding:
        assert holding.stdout.readline() == b"held\n"
        with pytest.raises(StoreLockedError, match=f"process {holding.pid}"), RunLease(files):
            pass
        holding.kill()
    with RunLease(files) as lock:
        assert lock.abandoned_by.startswith(f"process {holding.pid} on ")
    assert files.names(RUN_FOLDER) == []


def test_a_run_not_seen_for_long_is_overtaken_and_writes_no_more(bucket, monkeypatch):
    files = RemoteFiles(f"{bucket}/store.zarr")
    with RunLease(files) as hung:
        workers = RemoteFiles(files.root, hung.run_id)
        workers.write("a", b"1")
        monkeypatch.setattr(featurestore.storage.lock, "LEASE", -1.0)
        with RunLease(files) as taker:
            assert taker.abandoned_by == f"process {os.getpid()} on {os.uname().nodename}"
            with pytest.raises(StoreLockedError, match=r"another run has taken .* over"):
                workers.write("a", b"2")
            RemoteFiles(files.root, taker.run_id).write("a", b"3")
            hung.__exit__(None, None, None)
            RemoteFiles(files.root, taker.run_id).write("a", b"4")
            monkeypatch.undo()
            with pytest.raises(StoreLockedError, match="another run is writing"), RunLease(files):
                pass
    assert files.read("a") == b"4"
    assert files.names(RUN_FOLDER) == []


def test_a_run_is_seen_as_long_as_it_lasts(bucket, monkeypatch, s3):
    monkeypatch.setattr(featurestore.storage.lock, "RENEWAL", 0.01)
    renewed = threading.Event()

    def seen():
        if s3.asked("PUT", "/.run/lock/1") > 3:
            renewed.set()

    s3.before_write = seen
    files = RemoteFiles(f"{bucket}/store.zarr")
    with RunLease(files):
        assert renewed.wait(30)
    assert files.names(RUN_FOLDER) == []


def test_of_runs_that_begin_together_one_gets_the_lock(bucket):
    files = RemoteFiles(f"{bucket}/store.zarr")
    inside, refused = [], []
    together = threading.Barrier(4)
    all_tried = threading.Barrier(4)

    def begin():
        together.wait()
        with contextlib.ExitStack() as stack:
            try:
                inside.append(stack.enter_context(RunLease(files)))
            except StoreLockedError:
                refused.append(1)
            all_tried.wait()

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 3)
    assert files.names(RUN_FOLDER) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "first", "last"),  # of 82 requests; values and commit records are 53 to 67
    [(0, 1, 52), (1, 53, 67), (2, 53, 67), (3, 53, 67), (4, 68, 79)],
)
def test_a_killed_driver_leaves_what_the_next_run_completes(
    bucket, music, scheduler, featurize, done, s3, seed, first, last
):
    """The driver dies as the endpoint gets its n-th request to write; its workers live on."""
    store = f"{bucket}/store.zarr"
    moment = int(np.random.default_rng(seed).integers(first, last + 1))
    driver = subprocess.Popen(
        [FEATURIZE, f"{done}/music/labels.csv", "-o", store, *OPTIONS, "--scheduler", scheduler],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    writes = iter(range(1, 10**6))

    def kill():
        if next(writes) == moment:
            driver.send_signal(signal.SIGKILL)
            driver.wait()

    s3.before_write = kill
    with driver:
        output = driver.stdout.read()
    s3.before_write = lambda: None
    assert (driver.returncode, output) == (-signal.SIGKILL, b"")
    summary = featurize(f"{done}/music/labels.csv", store)
    assert summary.n_ready == 20
    assert contents(store) == contents(f"{done}/store.zarr")


@pytest.fixture
def afresh(monkeypatch):
    """Connections are made anew, from what the environment says now."""

    def forget() -> None:
        for known in list(s3fs.S3FileSystem._cache.values()):
            if known._s3 is not None:
                s3fs.S3FileSystem.close_session(known.loop, known._s3)
        s3fs.S3FileSystem.clear_instance_cache()

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget()
    yield monkeypatch
    forget()


def invoke(*arguments: str):
    result = CliRunner().invoke(melgrid, arguments, catch_exceptions=False)
    lines = result.output.strip().splitlines()
    assert len(lines) == 1, result.output
    assert SECRET not in lines[0]
    return result.exit_code, lines[0]


def test_what_is_not_there_is_said_in_a_line(s3, bucket, music):
    assert invoke("ls", f"{bucket}/store.zarr") == (
        1, f"Error: {bucket}/store.zarr does not exist; featurize makes one",
    )  # fmt: skip
    code, line = invoke("ls", "s3://no-such-bucket/store.zarr")
    assert (code, "s3://no-such-bucket/store.zarr does not exist" in line) == (1, True)
    code, line = invoke("featurize", f"{bucket}/nothing.csv", "-o", f"{bucket}/store.zarr")
    assert (code, f"{bucket}/nothing.csv does not exist" in line) == (2, True)
    table = str(music / "labels.csv")
    code, line = invoke("featurize", table, "-o", "s3://no-such-bucket/store.zarr")
    assert code == 1
    assert "s3://no-such-bucket/store.zarr cannot be written to" in line
    assert "make the bucket first" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "AWS_ACCESS_KEY_ID",
            "wrong",
            "The AWS Access Key Id you provided does not exist|Forbidden",
        ),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "Could not connect"),
        ("AWS_ENDPOINT_URL", f"http://me:{SECRET}@127.0.0.1:9", "credentials encoded in URL"),
        ("AWS_ENDPOINT_URL", "nonsense", "Invalid endpoint"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # s3fs's session
def test_wrong_credentials_and_endpoints_are_said_in_a_line(
    s3, done, music, afresh, name, value, reason
):
    afresh.setenv(name, value)
    for command in (
        ("ls", f"{done}/store.zarr"),
        ("featurize", f"{done}/music/labels.csv", "-o", f"{done}/other.zarr"),
        ("featurize", str(music / "labels.csv"), "-o", f"{done}/other.zarr"),
    ):
        code, line = invoke(*command)
        assert code == 1
        assert re.search(reason, line), line
        assert "look at the address, the credentials and the endpoint" in line


def test_a_url_with_a_password_is_refused_and_not_repeated(tmp_path):
    for url in (f"sftp://me:{SECRET}@host/store", f"https://host/store?sig={SECRET}"):
        with pytest.raises(SettingsError, match="password or a query") as caught:
            RemoteFiles(url)
        assert SECRET not in str(caught.value)
        with pytest.raises(SettingsError, match="password or a query"):
            open_catalog(url)


def test_a_library_that_is_not_installed_is_named_with_the_remedy(monkeypatch):
    def refuse(url, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", refuse)
    with pytest.raises(
        SettingsError, match=r"Install s3fs to access S3; pip install 'melgrid\[s3\]'"
    ):
        FeatureStore.open("s3://bucket/store.zarr")


def test_a_protocol_that_is_not_known_is_said():
    with pytest.raises(SettingsError, match="Protocol not known: nonsense"):
        FeatureStore.open("nonsense://bucket/store.zarr")


@pytest.mark.slow
def test_audio_that_cannot_be_reached_is_not_the_audios_fault(done, afresh):
    url = f"{done}/music/00.wav"
    assert signature_of(url).size == 2 * SR + 44
    assert signature_of(f"{done}/music/nothing.wav") == Signature()
    afresh.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="Could not connect"):
        signature_of(url)
    with pytest.raises(StorageError, match="Could not connect"):
        read_track(url, Excerpt())
