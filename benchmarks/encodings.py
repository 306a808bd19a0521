"""Encodings and codecs: bytes a clip, and time to pack and unpack; and the study's grid in each."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from numcodecs import Zstd, blosc

from benchmarks.choices import FULL
from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import Crew, crew, scratch
from benchmarks.featurize import SPEC
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Rounds, Work, interleaved
from featurestore.specs.encoding import Codec, CodecName, Encoding, EncodingName
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import ferraro2020
from featurestore.specs.mel import FeatureSpec
from pipeline.audio.clip import Cropper
from pipeline.audio.decode import read_track
from pipeline.features.plan import arrange
from pipeline.features.spectra import encoded
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

ENCODINGS: tuple[EncodingName, ...] = ("float32", "float16", "uint8")

Array = npt.NDArray[Any]
Pack = Callable[[Array], bytes]
Unpack = Callable[[bytes, Array], object]


def _codec(name: CodecName) -> tuple[Pack, Unpack]:
    codec = Codec(name=name)
    return codec.compress, lambda packed, out: codec.decompress(memoryview(packed), out)


_ZSTD = Zstd(level=1)

CODECS: dict[str, tuple[Pack, Unpack]] = {
    "zstd (the default)": _codec("zstd"),
    "lz4": _codec("lz4"),
    "none": _codec("none"),
    "plain zstd, a peer": (_ZSTD.encode, _ZSTD.decode),
}
"""How to pack an array's bytes and to unpack them into an array. The first two are Blosc's."""

_BESIDES = 20
"""Bytes of a stored clip besides its packed values: the checksum, and its place in the index."""


def npz_nbytes(spec: FeatureSpec) -> int:
    """Size of a clip as the study keeps it: float32 by ``np.savez``, which does not pack."""
    file = io.BytesIO()
    shape = spec.n_mels, spec.n_frames(Excerpt().n_samples(spec.sr))
    np.savez(file, np.zeros(shape, np.float32))
    return len(file.getvalue())


def values_of(corpus: Corpus, specs: list[FeatureSpec]) -> dict[FeatureSpec, list[Array]]:
    """The mel-spectrograms of all of the corpus's clips, float32."""
    plan, found = arrange(specs), {spec: [] for spec in specs}
    encodings = dict.fromkeys(specs, Encoding(name="float32"))
    for file in corpus.files(len(corpus.paths)):
        track = read_track(file, Excerpt())
        clip = Cropper(track.samples, track.sr, Excerpt()).clip()
        for spec, values, _ in plan.compute(clip, "native", encodings):
            found[spec].append(values)
    return found


def measure(values: list[Array], spec: FeatureSpec, rounds: int) -> tuple[Rounds, dict[str, float]]:
    """Time of each way both ways, and bytes a clip by way."""
    works: dict[str, tuple[Work, int]] = {}
    nbytes = {}
    n_timed = min(64, len(values))
    for name in ENCODINGS:
        encoding = Encoding(name=name)
        stored = [encoded(clip, encoding, spec.value_range) for clip in values]
        for codec, (pack, unpack) in CODECS.items():
            packed = [pack(clip) for clip in stored]
            way = f"{name} {codec}"
            nbytes[way] = sum(map(len, packed)) / len(packed) + _BESIDES
            works[f"pack {way}"] = partial(_pack_some, values, encoding, spec, pack), n_timed
            works[f"unpack {way}"] = (
                partial(_unpack_some, packed[:n_timed], encoding, spec, unpack, stored[0].shape),
                n_timed,
            )
    return interleaved(works, rounds), nbytes


def _pack_some(
    values: list[Array], encoding: Encoding, spec: FeatureSpec, pack: Pack, n: int
) -> None:
    for clip in values[:n]:
        pack(encoded(clip, encoding, spec.value_range))


def _unpack_some(
    packed: list[bytes],
    encoding: Encoding,
    spec: FeatureSpec,
    unpack: Unpack,
    shape: tuple[int, ...],
    n: int,
) -> None:
    stored, out = np.empty(shape, encoding.dtype), np.empty(shape, np.float32)
    for data in packed[:n]:
        unpack(data, stored)
        encoding.decode(stored, out, spec.value_range)


def stored_nbytes(
    workers: Crew, corpus: Corpus, encoding: EncodingName, views: bool
) -> tuple[int, float]:
    """Arrays stored for the study's grid, and bytes a clip of their values."""
    with scratch("grid.zarr") as path:
        settings = RunSettings(
            scheduler=workers.address, encoding=Encoding(name=encoding), views=views
        )
        store = run(corpus.catalog(len(corpus.paths)), str(path), ferraro2020(), settings).store
        n_ready = int(store[store.specs[0]].ready.sum())
        nbytes = sum(store[spec].nbytes_stored for spec in store.specs)
        return len(store.specs), nbytes / n_ready


@click.command(help=__doc__)
@audio_option
@click.option("--rounds", default=5, show_default=True)
@save_option
def main(audio: str | None, rounds: int, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    blosc.set_nthreads(1)
    corpus, specs = open_corpus(audio), [FULL, SPEC]
    values = values_of(corpus, specs)
    measured = {spec: measure(values[spec], spec, rounds) for spec in specs}

    def cells(spec: FeatureSpec, way: str) -> list[str]:
        times, nbytes = measured[spec]
        raw = values[spec][0].nbytes / 1e3  # kB a clip; kB a ms is MB a second
        return [
            f"{nbytes[way] / 1e3:.1f}",
            f"{nbytes[way] / npz_nbytes(spec):.3f}",
            f"{raw / times.cpu_ms(f'pack {way}'):.0f}",
            f"{raw / times.cpu_ms(f'unpack {way}'):.0f}",
        ]

    header = ["encoding", "codec"]
    for spec in specs:
        short = f"{spec.n_mels} x{spec.hop}"
        header += [f"{short}: kB a clip", "of npz", "pack MB/s", "unpack MB/s"]
    ways = table(
        header,
        [
            [name, codec, *(cell for spec in specs for cell in cells(spec, f"{name} {codec}"))]
            for name in ENCODINGS
            for codec in CODECS
        ],
    )
    _, nbytes = measured[FULL]
    shares = {name: nbytes[f"{name} {next(iter(CODECS))}"] / npz_nbytes(FULL) for name in ENCODINGS}
    aims = table(
        [f"{FULL.name}, default codec", "of npz", "aim"],
        [
            ["float16", f"{shares['float16']:.3f}", verdict(shares["float16"], most=0.39)],
            ["uint8", f"{shares['uint8']:.3f}", verdict(shares["uint8"], most=0.22)],
        ],
    )
    npz = sum(map(npz_nbytes, ferraro2020()))
    rows = [["float32 npz, as the study keeps it", "88", f"{npz / 1e3:.0f}", "1"]]
    with crew() as workers:
        for name in ENCODINGS:
            for views in (False, True):
                n_arrays, size = stored_nbytes(workers, corpus, name, views)
                rows.append(
                    [
                        f"{name}, --views" if views else name,
                        str(n_arrays),
                        f"{size / 1e3:.0f}",
                        f"{size / npz:.4f}",
                    ]
                )
    grid = table(["the 88 specs of ferraro2020", "arrays stored", "kB a clip", "of npz"], rows)
    remark = (
        f"{corpus.name}: {len(corpus.paths)} clips of 29.1 s, all of them for bytes, 64 for time; "
        f"one thread, CPU time, medians of {rounds} rounds. MB/s are of float32 values, so that "
        "encodings compare: pack is encode and pack, unpack is unpack and decode. zstd and lz4 are "
        "Blosc's at level 1, one block, bits shuffled but for uint8 by zstd; plain zstd is at "
        "level 1 too. Bytes are with a clip's checksum and its entry in the shard's index; npz is "
        "np.savez, a file a clip and spec."
    )
    publish("encodings", [ways, aims, grid, remark], save)


if __name__ == "__main__":
    main()
