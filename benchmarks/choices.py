"""Choices made by measurement: what is done, what else could be, and what either costs."""

import dataclasses
import io
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import scipy.fft
import soundfile
import torch
from numcodecs import blosc

from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import scratch
from benchmarks.featurize import SPEC
from benchmarks.page import publish, save_option, table
from benchmarks.rounds import interleaved
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import ferraro2020
from featurestore.specs.mel import VALUE_RANGE, FeatureSpec
from pipeline.audio.clip import Clip, Cropper
from pipeline.audio.decode import read_track
from pipeline.features.backends import native
from pipeline.features.backends.stft import SharedStft
from pipeline.features.plan import arrange
from pipeline.features.scaling import compress
from pipeline.features.spectra import arrange as arrange_spectra
from pipeline.profile import time_tasks
from pipeline.run.settings import RunSettings

FULL = FeatureSpec(sr=16000, n_mels=96, hop=1, log="db")
"""The spec whose frames and values most of this is measured on."""

Array = npt.NDArray[np.float32]


def compared(
    what: str, ways: Mapping[str, Callable[[], object]], remarks: Mapping[str, str], rounds: int
) -> list[list[str]]:
    """A row a way to do one thing: CPU time a clip, and against the first, which is done."""

    def again(way: Callable[[], object]) -> Callable[[int], None]:
        def repeat(n: int) -> None:
            for _ in range(n):
                way()

        return repeat

    works = {name: (again(way), 20) for name, way in ways.items()}
    measured = interleaved(works, rounds, warm_up=2)
    first = next(iter(ways))
    return [
        [
            what if name == first else "",
            name,
            f"{measured.cpu_ms(name):.3f}",
            "" if name == first else f"{measured.cost(name, first).cpu:.2f} x",
            remarks.get(name, ""),
        ]
        for name in ways
    ]


def spectra(samples: Array, stft: SharedStft, rounds: int) -> list[list[str]]:
    """Fourier transforms, and how far they are off beside a full-scale sine."""
    window, bins = stft.window_values(), dataclasses.replace(stft, banks=(), bins=True)

    def by_numpy(rfft: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.complex128]]) -> Way:
        def power(samples: Array) -> Array:
            frames = _frames(samples, stft).numpy()
            out = np.empty((stft.n_fft // 2 + 1, len(frames)), np.float32)
            for first in range(0, len(frames), 256):
                spectrum = rfft(frames[first : first + 256] * window)
                out[:, first : first + 256] = (spectrum.real**2 + spectrum.imag**2).T
            return out

        return power

    def by_torch(dtype: torch.dtype, block: int) -> Way:
        values = torch.from_numpy(window).to(dtype)

        def power(samples: Array) -> Array:
            frames = _frames(samples, stft)
            out = torch.empty(stft.n_fft // 2 + 1, len(frames))
            for first in range(0, len(frames), block):
                spectrum = torch.fft.rfft(frames[first : first + block] * values)
                out[:, first : first + block] = (
                    spectrum.real.square().add_(spectrum.imag.square()).T
                )
            return out.numpy()

        return power

    def by_kernel(samples: Array) -> Array:
        power, _ = native.power(samples, bins)
        return power

    ways = {
        "compiled, double, 4 frames at once": by_kernel,
        "PyTorch, double, blocks of 256 frames": by_torch(torch.float64, 256),
        "PyTorch, double, all frames at once": by_torch(torch.float64, 10**9),
        "PyTorch, single": by_torch(torch.float32, 256),
        "SciPy, double": by_numpy(scipy.fft.rfft),
        "NumPy, double": by_numpy(np.fft.rfft),
    }
    remarks = {name: f"{_beside_a_sine(way, stft):.3f} dB off" for name, way in ways.items()}
    timed = {name: partial(way, samples) for name, way in ways.items()}
    return compared("power spectra", timed, remarks, rounds)


Way = Callable[[Array], Array]


def _frames(samples: Array, stft: SharedStft) -> torch.Tensor:
    return torch.from_numpy(samples).unfold(0, stft.n_fft, stft.hop_length)


def _beside_a_sine(power: Way, stft: SharedStft) -> float:
    """The largest error in any band of a full-scale sine of 997 Hz, against double throughout."""
    n = np.arange(4 * stft.sr)
    sine = np.sin(2 * np.pi * 997 * n / stft.sr).astype(np.float32)
    frames = _frames(sine, stft).numpy() * stft.window_values()
    filters = stft.filters()
    exact = filters @ (np.abs(np.fft.rfft(frames)) ** 2).T
    found = filters.astype(np.float32) @ power(sine)
    return float(np.abs(10 * np.log10(np.maximum(found, 1e-10) / np.maximum(exact, 1e-10))).max())


def products(samples: Array, rounds: int) -> list[list[str]]:
    """Spectra and the seven banks of the grid, by their few weights and by all."""
    [stft] = [a.stft for a in arrange_spectra([s for s in ferraro2020() if s.sr == 16000])]
    window, sparse = torch.from_numpy(stft.window_values()), native._filters(stft)

    def power() -> Array:
        frames = _frames(samples, stft)
        return native.power_of_frames(frames, stft.n_fft, lambda block: block * window)

    dense = torch.from_numpy(sparse.todense())
    _, mel = native.power(samples, stft)
    off = {
        "PyTorch, then SciPy, sparse": np.abs(sparse @ power() / mel - 1).max(),
        "PyTorch, then PyTorch, dense": np.abs(
            (dense @ torch.from_numpy(power())).numpy() / mel - 1
        ).max(),
    }
    return compared(
        "mel power, 7 banks",
        {
            "compiled, spectra and filters": lambda: native.power(samples, stft),
            "PyTorch, then SciPy, sparse": lambda: sparse @ power(),
            "PyTorch, then PyTorch, dense": lambda: dense @ torch.from_numpy(power()),
        },
        {name: f"differs by {most:.0e}" for name, most in off.items()},
        rounds,
    )


def laws(power: Array, rounds: int) -> list[list[str]]:
    """Logarithms and halves."""
    values = compress(power, "db")
    tensor, same = torch.from_numpy(values), torch.from_numpy(power)
    encoding = Encoding(name="float16")
    off = np.abs(same.clamp(min=1e-10).log10().mul(10).numpy() - values).max()
    return [
        *compared(
            "amplitude scaling, dB",
            {
                "NumPy": lambda: compress(power, "db"),
                "PyTorch": lambda: same.clamp(min=1e-10).log10_().mul_(10),
            },
            {"PyTorch": f"differs by {off:.0e} dB"},
            rounds,
        ),
        *compared(
            "to float16",
            {
                "PyTorch": lambda: tensor.half().numpy(),
                "NumPy": lambda: encoding.encode(values, VALUE_RANGE["db"]),
            },
            {"NumPy": "same bits"},
            rounds,
        ),
    ]


def codecs(clips: list[Clip], encoding: Encoding, rounds: int) -> list[list[str]]:
    """Blosc's codecs, block sizes and shuffles: time to pack, and bytes; time to unpack."""
    blosc.set_nthreads(1)
    plan = arrange([FULL])
    stored = [v for clip in clips for _, v, _ in plan.compute(clip, "native", {FULL: encoding})]
    one, out = stored[0], np.empty_like(stored[0])
    ways = {
        "zstd 1, one block, bits shuffled": (b"zstd", 1, blosc.BITSHUFFLE, one.nbytes),
        "... bytes shuffled": (b"zstd", 1, blosc.SHUFFLE, one.nbytes),
        "... not shuffled": (b"zstd", 1, blosc.NOSHUFFLE, one.nbytes),
        "zstd 1, bits shuffled": (b"zstd", 1, blosc.BITSHUFFLE, 0),
        "zstd 5, bits shuffled": (b"zstd", 5, blosc.BITSHUFFLE, 0),
        "lz4, bits shuffled": (b"lz4", 1, blosc.BITSHUFFLE, 0),
    }
    if encoding.name == "uint8":
        ways = {"zstd 1, one block, not shuffled": ways.pop("... not shuffled"), **ways}
    packed = {name: [blosc.compress(v, *way) for v in stored] for name, way in ways.items()}
    raw = sum(v.nbytes for v in stored)
    sizes = {name: f"{sum(map(len, of)) / raw:.3f} of the bytes" for name, of in packed.items()}
    return [
        *compared(
            f"pack {encoding.name}",
            {name: partial(blosc.compress, one, *way) for name, way in ways.items()},
            sizes,
            rounds,
        ),
        *compared(
            "unpack it",
            {name: partial(blosc.decompress, of[0], out) for name, of in packed.items()},
            {},
            rounds,
        ),
    ]


def halves(values: Array, rounds: int) -> list[list[str]]:
    """From float16 back to float32, as reading does."""
    encoding, out = Encoding(name="float16"), np.empty_like(values)
    stored = encoding.encode(values, VALUE_RANGE["db"])
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    return compared(
        "from float16",
        {
            "by moving bits": lambda: encoding.decode(stored, out, VALUE_RANGE["db"]),
            "NumPy": lambda: np.copyto(out, stored),
            "a table of 65,536": lambda: np.take(every, stored.view(np.uint16), out=out),
        },
        {},
        rounds,
    )


def chunks(clips: list[Clip], rounds: int) -> list[list[str]]:
    """One chunk a clip, or several along time: what 3 s of a clip gain, what whole clips lose."""
    blosc.set_nthreads(1)
    plan, codec, length = arrange([FULL]), Codec(), FULL.n_frames(3 * FULL.sr)
    stored = [v for clip in clips for _, v, _ in plan.compute(clip, "native", {FULL: Encoding()})]
    n_mels, n_frames = stored[0].shape
    rng = np.random.default_rng(0)
    starts = rng.integers(n_frames - length + 1, size=64).tolist()
    whole: dict[str, Callable[[], object]] = {}
    part: dict[str, Callable[[], object]] = {}
    sizes: dict[str, str] = {}

    def unpack(packed: list[bytes], chunk: npt.NDArray[np.float16], firsts: Iterator[int]) -> None:
        first, width = next(firsts), chunk.shape[1]
        for data in packed[first // width : (first + length - 1) // width + 1]:
            codec.decompress(memoryview(data), chunk)

    def unpack_all(packed: list[bytes], chunk: npt.NDArray[np.float16]) -> None:
        for data in packed:
            codec.decompress(memoryview(data), chunk)

    one = sum(len(codec.compress(values)) for values in stored)
    for n in (1, 2, 4, 8):
        width = -(-n_frames // n)
        padded = [np.pad(values, ((0, 0), (0, n * width - n_frames)), "edge") for values in stored]
        cut = [[np.ascontiguousarray(p) for p in np.split(values, n, 1)] for values in padded]
        packed = [[codec.compress(piece) for piece in pieces] for pieces in cut]
        name, chunk = f"{n} a clip", np.empty((n_mels, width), np.float16)
        sizes[name] = f"{sum(len(p) for of in packed for p in of) / one:.3f} of the bytes"
        whole[name] = partial(unpack_all, packed[0], chunk)
        part[name] = partial(unpack, packed[0], chunk, itertools.cycle(starts))
    turned = [np.ascontiguousarray(values.T) for values in stored]
    packed_turned = [codec.compress(values) for values in turned]
    name = "1 a clip, time by bands"
    sizes[name] = f"{sum(map(len, packed_turned)) / one:.3f} of the bytes"
    whole[name] = partial(unpack_all, packed_turned[:1], np.empty_like(turned[0]))
    return [
        *compared("unpack a clip from chunks", whole, sizes, rounds),
        *compared("unpack 3 s from chunks", part, {}, rounds),
    ]


def decoding(file: str, rounds: int) -> list[list[str]]:
    """Where libsndfile reads from."""
    data = Path(file).read_bytes()

    def by_descriptor() -> None:
        with open(file, "rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as f:
            f.read(dtype="float32")

    return compared(
        "decode from",
        {
            "file descriptor": by_descriptor,
            "bytes in memory": lambda: soundfile.read(io.BytesIO(data), dtype="float32"),
        },
        {},
        rounds,
    )


def syncs(rounds: int) -> list[list[str]]:
    """A shard of 256 clips of one spec, forced to the disk or not: by the clock, a clip."""
    data = os.urandom(256 * 70_000)
    times: dict[bool, list[float]] = {True: [], False: []}
    with scratch("shard") as path:
        for _ in range(rounds + 1):
            for sync in times:
                began = time.perf_counter()
                with open(path, "wb") as file:
                    file.write(data)
                    file.flush()
                    if sync:
                        os.fsync(file.fileno())
                times[sync].append((time.perf_counter() - began) * 1e3 / 256)
    on, off = (sorted(taken[1:])[rounds // 2] for taken in times.values())
    return [
        [f"write {SPEC.name}", "fsync each shard", f"{on:.3f}", "", "by the clock"],
        ["", "no fsync", f"{off:.3f}", f"{off / on:.2f} x", "by the clock"],
    ]


def allocators(corpus: Corpus, rounds: int) -> list[list[str]]:
    """Whole tasks in processes that give memory back at once, as Dask asks glibc to, or not."""
    spawn, name = multiprocessing.get_context("spawn"), "MALLOC_TRIM_THRESHOLD_"
    costs: dict[str, list[float]] = {"glibc's own threshold": [], "Dask's, 64 KiB": []}
    before = os.environ.pop(name, None)
    for _ in range(rounds):
        for way, taken in costs.items():
            if way.startswith("Dask"):
                os.environ[name] = "65536"
            with ProcessPoolExecutor(1, spawn) as pool:
                taken.append(pool.submit(cost_of_tasks, corpus).result())
            os.environ.pop(name, None)
    if before is not None:
        os.environ[name] = before
    own, dasks = (sorted(taken)[rounds // 2] for taken in costs.values())
    return [
        [f"whole task, {SPEC.name}", "glibc's own threshold", f"{own:.3f}", "", ""],
        ["", "Dask's, 64 KiB", f"{dasks:.3f}", f"{dasks / own:.2f} x", "MALLOC_TRIM_THRESHOLD_"],
    ]


def cost_of_tasks(corpus: Corpus) -> float:
    """CPU time a clip of a small run's tasks, in this process [ms]."""
    torch.set_num_threads(1)
    with scratch("tasks.zarr") as path:
        times = time_tasks(corpus.catalog(256), str(path), [SPEC], RunSettings(), 256)
    return 1e3 * sum(times.cpu.values()) / times.n_clips


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=16, show_default=True, help="Clips whose bytes are compared.")
@click.option("--rounds", default=7, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    corpus = open_corpus(audio)
    tracks = [read_track(file, Excerpt()) for file in corpus.files(clips)]
    cut = [Cropper(track.samples, track.sr, Excerpt()).clip() for track in tracks]
    [stft] = [a.stft for a in arrange_spectra([FULL])]
    samples = cut[0].padded(stft.sr, stft.n_fft)
    _, mel = native.power(samples, stft)
    rows = [
        *decoding(corpus.files(1)[0], rounds),
        *spectra(samples, stft, rounds),
        *products(samples, rounds),
        *laws(mel, rounds),
        *halves(compress(mel, "db"), rounds),
        *codecs(cut, Encoding(name="float16"), rounds),
        *codecs(cut, Encoding(name="uint8"), rounds),
        *chunks(cut, rounds),
        *syncs(rounds),
        *allocators(corpus, min(rounds, 3)),
    ]
    header = ["what", "how, the chosen way first", "CPU ms a clip", "against it", "besides"]
    remark = f"{corpus.name}; {FULL.name} unless said otherwise; one thread, medians of {rounds}."
    publish("choices", [table(header, rows), remark], save)


if __name__ == "__main__":
    main()
