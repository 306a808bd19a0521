"""Reading batches of random clips and segments: against Zarr, HDF5, lhotse, and two limits."""

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import numpy.typing as npt
import zarr
from lhotse import LilcomChunkyWriter
from lhotse.features.io import LilcomChunkyReader

from benchmarks.choices import FULL
from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import crew, scratch
from benchmarks.encodings import CODECS
from benchmarks.featurize import SPEC
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Rounds, Work, interleaved
from featurestore.array import FeatureArray
from featurestore.format.shard import Clip, unpack
from featurestore.specs.encoding import Encoding, EncodingName
from featurestore.store import FeatureStore
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

ENCODINGS: tuple[EncodingName, ...] = ("float16", "uint8")

BATCH = 32

_SECONDS = 3
"""Length of a segment [s]."""

Array = npt.NDArray[Any]
Read = Callable[[list[int], list[int], int], Array]
"""Rows, where each begins and how many frames: to float32 (n, n_mels, length)."""

MELGRID, FANCY, SINGLE = "melgrid", "zarr-python, oindex", "zarr-python, one by one"
GZIP, LZF, LHOTSE = "h5py, gzip", "h5py, lzf", "lhotse, lilcom"
MEMMAP, UNPACK = "np.memmap, float32", "unpacking alone, one core"

BATCHES = {MELGRID: 8, FANCY: 1, SINGLE: 2, GZIP: 2, LZF: 4, LHOTSE: 4, MEMMAP: 8, UNPACK: 8}
"""How many batches a round; those that take long, fewer."""


class Peers:
    """The same values, kept as others do, below one folder; and how to read each."""

    def __init__(self, folder: Path, array: FeatureArray) -> None:
        self._array, self._spec, self._encoding = array, array.spec, array.layout.encoding
        folder.mkdir()
        rows = range(len(array))
        self._memmap = np.memmap(folder / "values", np.float32, "w+", shape=array.shape)
        for row in rows:
            self._memmap[row] = array[row]
        self._zarr = zarr.open_array(f"{array._files.root}/{self._spec.name}/values", mode="r")
        self._h5 = {way: self._hdf5(folder / way, way.split(", ")[1]) for way in (GZIP, LZF)}
        with LilcomChunkyWriter(folder / "lilcom") as writer:
            # natural logarithms of power, which lhotse keeps; its arrays are time by bands
            self._keys = [
                writer.write("", self._memmap[row].T * np.float32(np.log(10) / 10)) for row in rows
            ]
            self._lhotse = LilcomChunkyReader(writer.storage_path)
        self._sealed = [clip[0] for shard in self._shards() for clip in shard if clip is not None]
        self._one_core = ThreadPoolExecutor(1)

    def _hdf5(self, path: Path, compression: str) -> h5py.Dataset:
        shape = self._array.shape
        made = h5py.File(path, "w").create_dataset(
            "values",
            shape,
            self._encoding.dtype,
            chunks=(1, *shape[1:]),
            compression=compression,
            shuffle=True,
        )
        for row, values in enumerate(self._memmap):
            made[row] = self._encoding.encode(values, self._spec.value_range)
        made.file.close()
        # Without the chunks it keeps unpacked: of a real collection they would be few.
        return h5py.File(path, rdcc_nbytes=0)["values"]

    def _shards(self) -> list[list[Clip | None]]:
        layout = self._array.layout
        return [
            unpack(Path(self._array._files.root, key).read_bytes(), *layout.rows_and_chunks, key)
            for key in map(layout.shard_key, range(-(-len(self._array) // layout.clips_per_shard)))
        ]

    def ways(self) -> dict[str, Read]:
        """All ways of reading, by name."""

        def one_by_one(stored: Any) -> Read:
            def read(rows: list[int], starts: list[int], length: int) -> Array:
                out = np.empty((len(rows), self._spec.n_mels, length), np.float32)
                for place, (row, start) in enumerate(zip(rows, starts, strict=True)):
                    values = stored[row, :, start : start + length]
                    self._encoding.decode(values, out[place], self._spec.value_range)
                return out

            return read

        def melgrid(rows: list[int], starts: list[int], length: int) -> Array:
            return self._array.read(rows, start=starts, length=length)

        def fancy(rows: list[int], starts: list[int], length: int) -> Array:
            return one_by_one(self._zarr.oindex[rows])(list(range(len(rows))), starts, length)

        def lhotse(rows: list[int], starts: list[int], length: int) -> Array:
            cuts = zip(rows, starts, strict=True)
            return np.stack([self._lhotse.read(self._keys[row], s, s + length) for row, s in cuts])

        def memmap(rows: list[int], starts: list[int], length: int) -> Array:
            cuts = zip(rows, starts, strict=True)
            return np.stack([self._memmap[row, :, s : s + length] for row, s in cuts])

        def unpack_alone(rows: list[int], starts: list[int], length: int) -> None:
            layout = self._array.layout
            out = np.empty(layout.clip_shape, layout.encoding.dtype)
            for row in rows:
                layout.codec.decompress(memoryview(self._sealed[row])[:-4], out)

        return {
            MELGRID: melgrid,
            FANCY: fancy,
            SINGLE: one_by_one(self._zarr),
            GZIP: one_by_one(self._h5[GZIP]),
            LZF: one_by_one(self._h5[LZF]),
            LHOTSE: lhotse,
            MEMMAP: memmap,
            # In a thread, as melgrid does, where Blosc uses no threads of its own.
            UNPACK: lambda *where: self._one_core.submit(unpack_alone, *where).result(),
        }


def measure(array: FeatureArray, ways: dict[str, Read], length: int, rounds: int) -> Rounds:
    """All ways in turn, on random rows from random frames on."""
    n_starts = array.shape[2] - length + 1

    def work(read: Read) -> Work:
        rng = np.random.default_rng(0)

        def batches(n: int) -> None:
            for _ in range(n // BATCH):
                rows = rng.choice(len(array), BATCH, replace=False).tolist()
                read(rows, rng.integers(n_starts, size=BATCH).tolist(), length)

        return batches

    works = {way: (work(read), BATCH * BATCHES[way]) for way, read in ways.items()}
    return interleaved(works, rounds, warm_up=BATCH)


def check(array: FeatureArray, ways: dict[str, Read], length: int) -> None:
    """Make sure that all ways give the same values; lhotse's are off by what it rounds."""
    rows, whole = [3, 0, 5, 0], length == array.shape[2]
    starts = [0] * 4 if whole else [0, 1, 2, 3]
    expected = ways[MEMMAP](rows, starts, length)
    for way in ways.keys() - {UNPACK}:
        got, allowed = ways[way](rows, starts, length), 0.0
        if way == LHOTSE:
            got, allowed = got.swapaxes(1, 2) * (10 / np.log(10)), 0.1
        if np.abs(got - expected).max() > allowed:
            raise SystemExit(f"{way} gives other values")


def make_store(corpus: Corpus, path: Path, n_clips: int, encoding: EncodingName) -> FeatureStore:
    """A store of both specs."""
    with crew() as workers:
        settings = RunSettings(scheduler=workers.address, encoding=Encoding(name=encoding))
        return run(corpus.catalog(n_clips), str(path), [FULL, SPEC], settings).store


def spread(values: Sequence[float], form: str) -> str:
    """Median, and the least and the most."""
    low, middle, high = (form % f(values) for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def by_clock(name: str, other: str) -> Callable[[Rounds], list[float]]:
    """How many times what a clip costs otherwise it costs this way, round by round."""
    return lambda runs: [ratio.wall for ratio in runs.costs_of(name, other)]


def by_cpu(name: str, other: str) -> Callable[[Rounds], list[float]]:
    """The same, of CPU time."""
    return lambda runs: [ratio.cpu for ratio in runs.costs_of(name, other)]


def at_least(aim: float) -> Callable[[list[float]], str]:
    """The verdict on the smallest of some ratios."""
    return lambda ratios: verdict(min(ratios), least=aim)


def at_most(aim: float) -> Callable[[list[float]], str]:
    """The verdict on the largest."""
    return lambda ratios: verdict(max(ratios), most=aim)


AIMS = (
    ("as fast as oindex: by the clock", by_clock(FANCY, MELGRID), at_least(10)),
    ("by CPU time", by_cpu(FANCY, MELGRID), at_least(10)),
    ("as fast as lhotse: by the clock", by_clock(LHOTSE, MELGRID), at_least(2)),
    ("by CPU time", by_cpu(LHOTSE, MELGRID), at_least(2)),
    ("cost in unpackings: by the clock", by_clock(MELGRID, UNPACK), at_most(3)),
    ("by CPU time", by_cpu(MELGRID, UNPACK), at_most(3)),
)
"""What is compared, how many times it is, round by round, and what is aimed at."""


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=512, show_default=True, help="Clips in the stores.")
@click.option("--rounds", default=7, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    corpus = open_corpus(audio)
    measured: dict[str, Rounds] = {}
    for encoding in ENCODINGS:
        with scratch("stores") as folder:
            folder.mkdir()
            store = make_store(corpus, folder / "store.zarr", clips, encoding)
            for spec in (FULL, SPEC):
                array = store[spec]
                ways = Peers(folder / spec.name, array).ways()
                for what, length in (
                    ("clips", array.shape[2]),
                    (f"{_SECONDS} s", spec.n_frames(_SECONDS * spec.sr)),
                ):
                    check(array, ways, length)
                    name = f"{encoding}, {spec.n_mels} x{spec.hop}, {what}"
                    measured[name] = measure(array, ways, length, rounds)

    def costs(of: Callable[[Rounds, str], float]) -> list[list[str]]:
        return [
            [name, *(f"{of(runs, way):.2f}" for way in BATCHES)] for name, runs in measured.items()
        ]

    def wall_ms(runs: Rounds, way: str) -> float:
        return 1e3 / runs.clips_per_s(way)

    clock = table(["ms a clip by the clock", *BATCHES], costs(wall_ms))
    cpu = table(["ms a clip of CPU time", *BATCHES], costs(Rounds.cpu_ms))
    medians = [
        [statistics.median(ratio(runs)) for runs in measured.values()] for _, ratio, _ in AIMS
    ]
    ratios = table(
        ["melgrid, times (least to most)", *(what for what, _, _ in AIMS)],
        [
            *(
                [name, *(spread(ratio(runs), "%.1f") for _, ratio, _ in AIMS)]
                for name, runs in measured.items()
            ),
            [
                "aim, of every median",
                *(aim(of) for (_, _, aim), of in zip(AIMS, medians, strict=True)),
            ],
        ],
    )
    remark = (
        f"{corpus.name}: {clips} clips of 29.1 s (of {len(corpus.paths)} files), "
        f"{next(iter(CODECS)).split()[0]}, {array.layout.clips_per_shard} clips a shard; all in "
        f"the page cache. Batches of {BATCH} random clips, whole or {_SECONDS} s from a random "
        f"frame on, to float32, in one process: {rounds} rounds interleaved, medians (least to "
        "most). By the clock, melgrid has two threads. "
        "zarr-python and h5py (a chunk a clip, shuffled) hold the same encoding, decoded here as "
        "melgrid does; lhotse holds natural logarithms in chunks of 500 frames. np.memmap, which "
        "decodes nothing, holds two to eight times the bytes."
    )
    publish("reading", [clock, cpu, ratios, remark], save)


if __name__ == "__main__":
    main()
