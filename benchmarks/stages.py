"""Where the time goes: the stages of one task, timed on the real code in one process."""

import contextlib
import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import click
import soundfile
import soxr
import torch

import pipeline.shard
from benchmarks.corpus import Corpus, open_corpus
from benchmarks.crew import scratch
from benchmarks.featurize import SPEC
from benchmarks.page import publish, table
from featurestore.encoding import Codec, Encoding
from featurestore.files import Files
from featurestore.grid import ferraro2020
from featurestore.spec import FeatureSpec
from featurestore.writer import StoreWriter
from pipeline import decode, plan
from pipeline.backends import BACKENDS, native
from pipeline.clip import Clip
from pipeline.missing import incomplete, task
from pipeline.rows import audio_of, clip_table
from pipeline.run import _jobs, layouts
from pipeline.settings import RunSettings
from pipeline.shard import Job, ShardTask

STAGES: dict[str, tuple[tuple[Any, str], ...]] = {
    "decode: libsndfile": ((soundfile.SoundFile, "__init__"), (soundfile.SoundFile, "read")),
    "decode: open, capture complaints, look for NaN": ((decode, "_decode"),),
    "read the file": ((pipeline.shard, "read_track"),),
    "digest of the file": ((hashlib, "blake2b"),),
    "crop, pad": ((Clip, "framed"),),
    "resample": ((soxr, "resample"),),
    "STFT and power": ((native, "_power"),),
    "mel product": ((BACKENDS, "native"),),
    "amplitude law": ((plan, "amplitude"),),
    "encode": ((Encoding, "encode"),),
    "cut bands and hops": ((plan.Plan, "compute"),),
    "compress": ((Codec, "compress"),),
    "checksum": ((pipeline.shard, "seal"),),
    "put shards together": ((pipeline.shard, "pack"),),
    "write shards, fsync": ((Files, "write"),),
    "commit record": ((pipeline.shard, "write_commit"),),
    "the rest of the task": ((pipeline.shard, "compute_shard"),),
}
"""Functions of the real path. A stage's time is that of its functions less that of other stages
called by them."""


_COLLECTION = 8192
"""Clips of the collection whose first tasks are done: enough for shards of full length."""


class Stopwatch:
    """CPU and wall time by stage, each moment counted for the innermost stage alone."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.wall: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._running: list[str] = []
        self._since = 0.0, 0.0

    def _count(self) -> None:
        now = time.thread_time(), time.perf_counter()
        if self._running:
            self.cpu[self._running[-1]] += now[0] - self._since[0]
            self.wall[self._running[-1]] += now[1] - self._since[1]
        self._since = now

    @contextlib.contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Count what is done here for `stage`."""
        self._count()
        self._running.append(stage)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed; of a generator, each step."""

        @functools.wraps(call)
        def timed(*args: Any, **settings: Any) -> Any:
            with self.running(stage):
                result = call(*args, **settings)
            return self._steps(stage, result) if isinstance(result, Iterator) else result

        return timed

    def _steps(self, stage: str, steps: Iterator[Any]) -> Iterator[Any]:
        nothing = object()
        while True:
            with self.running(stage):
                step = next(steps, nothing)
            if step is nothing:
                return
            yield step


@contextlib.contextmanager
def observed() -> Iterator[Stopwatch]:
    """Time the stages of whatever runs in this context."""
    watch = Stopwatch()
    with contextlib.ExitStack() as stack:
        for stage, functions in STAGES.items():
            for owner, name in functions:
                if isinstance(owner, dict):
                    timed = watch.timed(stage, owner[name])
                    stack.enter_context(mock.patch.dict(owner, {name: timed}))
                else:
                    timed = watch.timed(stage, getattr(owner, name))
                    stack.enter_context(mock.patch.object(owner, name, timed))
        yield watch


@contextlib.contextmanager
def tasks_of(
    corpus: Corpus, specs: Sequence[FeatureSpec], n_clips: int
) -> Iterator[tuple[Job, Iterator[ShardTask]]]:
    """The tasks of a run into a new store, as the driver makes them, to be done here."""
    settings, catalog = RunSettings(), corpus.catalog(n_clips)
    with scratch("stages.zarr") as path, StoreWriter(str(path), settings.window) as writer:
        table = clip_table(catalog)
        store = writer.prepare(table, layouts(n_clips, specs, settings))
        rows = audio_of(store, catalog, table)
        [job] = _jobs(store, writer.run, specs, settings)
        yield job, (task(store, job, shard, rows) for shard, _ in incomplete(store, job, rows))


def measure(corpus: Corpus, specs: Sequence[FeatureSpec], n_clips: int) -> Stopwatch:
    """Do the first tasks of a large collection's run, a short one unmeasured before."""
    with tasks_of(corpus, specs, 16) as (job, tasks):
        pipeline.shard.compute_shard(job, next(tasks))
    done = 0
    with tasks_of(corpus, specs, _COLLECTION) as (job, tasks), observed() as watch:
        while done < n_clips:
            one = next(tasks)
            pipeline.shard.compute_shard(job, one)
            done += len(one.paths)
    for times in (watch.cpu, watch.wall):
        for stage in times:
            times[stage] *= 1e3 / done
    return watch


@click.command(help=__doc__)
@click.option("--audio", help="A folder or CSV of audio; by default the demo corpus.")
@click.option("--clips", default=512, show_default=True, help="Clips of one spec, at least.")
@click.option("--save", is_flag=True, help="Put the table in RESULTS.md.")
def main(audio: str | None, clips: int, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    corpus, watches = open_corpus(audio), {}

    def work() -> None:  # in a thread, as in a worker: there Blosc uses one thread
        watches["one spec"] = measure(corpus, [SPEC], clips)
        watches["88 specs"] = measure(corpus, ferraro2020(), clips // 4)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    rows = []
    for stage in STAGES:
        row = [stage]
        for watch in watches.values():
            cpu = watch.cpu[stage]
            row += [
                f"{cpu:.2f}",
                f"{cpu / sum(watch.cpu.values()):.1%}",
                f"{watch.wall[stage]:.2f}",
            ]
        rows.append(row)
    totals = ["all"]
    for watch in watches.values():
        totals += [f"{sum(watch.cpu.values()):.2f}", "", f"{sum(watch.wall.values()):.2f}"]
    header = ["ms a clip"]
    for name in watches:
        header += [f"{name}: CPU", "share", "clock"]
    remark = (
        f"{corpus.name}; {SPEC.name} and ferraro2020, float16. The first tasks of a "
        f"collection of {_COLLECTION} clips, with shards of full length, done one after the other "
        "in one process; the functions of the real path are timed where they are, each stage "
        "without the stages within it."
    )
    publish("stages", [table(header, [*rows, totals]), remark], save)


if __name__ == "__main__":
    main()
