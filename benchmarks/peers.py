"""Against lhotse, end to end in two warm processes, and against Essentia frame by frame in one."""

import functools
import itertools
import uuid
from collections.abc import Iterator
from functools import lru_cache

import click
import essentia
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
from lhotse import CutSet, Fbank, FbankConfig, LilcomChunkyWriter, MonoCut, Recording

from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import crew, scratch
from benchmarks.featurize import SPEC
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Rounds, interleaved
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import ferraro2020
from pipeline.audio.clip import Cropper
from pipeline.features.plan import arrange

essentia.log.infoActive = False
import essentia.standard as es  # noqa: E402 - talks on import, if not told before

_SECONDS = 29.1
_BANDS = (128, 96, 48, 32, 24, 16, 8)


@lru_cache
def _fbank() -> Fbank:
    config = FbankConfig(
        sampling_rate=SPEC.sr, frame_length=0.032, frame_shift=0.032, num_filters=SPEC.n_mels
    )
    return Fbank(config)


def extract(folder: str, cuts: list[MonoCut]) -> None:
    """Lhotse's own way from cuts to stored features."""
    CutSet.from_cuts(cuts).compute_and_store_features(
        extractor=_fbank(),
        storage_path=f"{folder}/{uuid.uuid4().hex}",
        storage_type=LilcomChunkyWriter,
        num_jobs=1,
        progress_bar=False,
    )


def cuts_of(corpus: Corpus, n_clips: int) -> list[MonoCut]:
    """The corpus as lhotse's manifests, made beforehand: headers need not be read later.

    Cuts begin where files do, so that lhotse need not look for another place in the MP3.
    """
    recordings = itertools.cycle([Recording.from_file(file) for file in corpus.files(n_clips)])
    return [
        MonoCut(id=str(n), start=0.0, duration=_SECONDS, channel=0, recording=next(recordings))
        for n in range(n_clips)
    ]


def essentia_loop(samples: npt.NDArray[np.float32], sr: int) -> list[npt.NDArray[np.float32]]:
    """All bands and both laws of one rate, frame by frame, as the study's code did.

    The laws are applied to whole arrays in the end, which is kinder to Essentia than frame by
    frame.
    """
    windowing = es.Windowing(type="hann", size=512, normalized=False)
    spectrum = es.Spectrum(size=512)
    banks = [
        es.MelBands(
            inputSize=257,
            numberBands=n_mels,
            sampleRate=sr,
            lowFrequencyBound=0,
            highFrequencyBound=sr / 2,
            warpingFormula="slaneyMel",
            weighting="linear",
            normalize="unit_tri",
            type="power",
        )
        for n_mels in _BANDS
    ]
    frames: list[list[npt.NDArray[np.float32]]] = [[] for _ in banks]
    for frame in es.FrameGenerator(samples, frameSize=512, hopSize=256, startFromZero=False):
        magnitudes = spectrum(windowing(frame))
        for bands, column in zip(banks, frames, strict=True):
            column.append(bands(magnitudes))
    power = [np.array(column).T for column in frames]
    return [
        *(10 * np.log10(np.maximum(mel, 1e-10)) for mel in power),
        *(np.log10(1 + 10000 * mel) for mel in power),
    ]


def against_lhotse(corpus: Corpus, clips: int, rounds: int) -> tuple[Rounds, int]:
    """One spec, the grid and lhotse in turn; lhotse's bytes a clip."""
    cuts, stored = cuts_of(corpus, clips), 0
    with crew() as workers:

        def lhotse(n: int) -> Iterator[None]:
            nonlocal stored
            with scratch("lhotse") as folder:
                folder.mkdir()
                workers.share(functools.partial(extract, str(folder)), cuts[:n])
                yield
                stored = sum(file.stat().st_size for file in folder.iterdir()) // n

        measured = interleaved(
            {
                "one": (lambda n: workers.featurize(corpus, [SPEC], n), clips),
                "lhotse": (lhotse, clips),
                "grid": (lambda n: workers.featurize(corpus, ferraro2020(), n), clips // 2),
            },
            rounds,
            workers.cpu_time,
        )
    return measured, stored


def against_essentia(corpus: Corpus, rounds: int) -> Rounds:
    """The grid from the same arrays, in this process on one thread, encoded but not stored."""
    torch.set_num_threads(1)
    window, sources = Excerpt(duration=_SECONDS), {}
    for file in corpus.files(4):
        samples, sr = soundfile.read(file, dtype="float32")
        for rate in (12000, 16000):
            sources[file, rate] = soxr.resample(samples, sr, rate)[: window.n_samples(rate)]
    plans = {
        rate: arrange(spec for spec in ferraro2020("hann-symmetric") if spec.sr == rate)
        for rate in (12000, 16000)
    }
    encodings = dict.fromkeys(ferraro2020("hann-symmetric"), Encoding(name="float32"))

    def some(n: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        files = list(itertools.islice(itertools.cycle(corpus.files(4)), n))
        return ((rate, sources[file, rate]) for file in files for rate in (12000, 16000))

    def melgrid(n: int) -> None:
        for rate, samples in some(n):
            clip = Cropper(samples, rate, window).clip()
            for _ in plans[rate].compute(clip, "native", encodings):
                pass

    def loop(n: int) -> None:
        for rate, samples in some(n):
            essentia_loop(samples, rate)

    return interleaved({"melgrid": (melgrid, 16), "essentia": (loop, 4)}, rounds, warm_up=1)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=2048, show_default=True, help="Clips a round, of one spec.")
@click.option("--rounds", default=3, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    corpus = open_corpus(audio)
    runs, stored = against_lhotse(corpus, clips, rounds)
    arrays = against_essentia(corpus, rounds)
    one, grid = runs.speed("one", "lhotse"), runs.speed("grid", "lhotse")
    loop = arrays.speed("melgrid", "essentia")
    speeds = table(
        ["", "clips/s", "CPU ms a clip"],
        [
            [text, f"{rounds_.clips_per_s(name):.1f}", f"{rounds_.cpu_ms(name):.2f}"]
            for rounds_, name, text in (
                (runs, "one", f"melgrid, {SPEC.name}, float16, two processes"),
                (runs, "grid", "melgrid, 88 specs, float16, two processes"),
                (runs, "lhotse", f"lhotse, Fbank 48 bands 32 ms, lilcom_chunky, {stored / 1e3:.0f}"
                 " kB a clip, two processes"),
                (arrays, "melgrid", "melgrid's plan, 88 specs from arrays, one process"),
                (arrays, "essentia", "Essentia frame by frame, from the same arrays"),
            )
        ],
    )  # fmt: skip
    ratios = table(
        ["ratio", "by the clock", "by CPU time", "aim"],
        [
            [
                "one spec against lhotse, clips/s",
                f"{one.wall:.2f} x",
                f"{one.cpu:.2f} x",
                verdict(one.wall, least=1.4),
            ],
            [
                "88 specs against lhotse, spec-clips/s",
                f"{88 * grid.wall:.1f} x",
                f"{88 * grid.cpu:.1f} x",
                verdict(88 * grid.wall, least=15),
            ],
            [
                "88 specs against Essentia frame by frame",
                f"{loop.wall:.1f} x",
                f"{loop.cpu:.1f} x",
                verdict(loop.cpu, least=20),
            ],
        ],
    )
    remark = (
        f"{corpus.name}: {len(corpus.paths)} files, listed again and again; {clips} clips a round "
        f"({clips // 2} of the grid), {rounds} rounds interleaved, medians, whole runs. All "
        f"take {_SECONDS} s of a clip. lhotse: from manifests made before, at the beginning of "
        "each file, decoded by libsndfile too. Essentia: both laws on whole arrays in the end."
    )
    publish("peers", [speeds, ratios, remark], save)


if __name__ == "__main__":
    main()
