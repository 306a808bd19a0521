"""Perturbations against what they were made by so far: stretch and pitch against librosa's."""

import click
import librosa
import numpy as np
import torch

from benchmarks.corpus import audio_option, open_corpus
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Rounds, Work, interleaved
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.perturbation import Perturbation
from pipeline.audio.clip import Cropper
from pipeline.audio.decode import read_track
from pipeline.audio.stream import Samples
from pipeline.perturb import load_perturbation
from pipeline.perturb.audio import Audio

SR = 16000
"""Of the studies that perturb [Hz]."""

VOCODER = ("stretch0.707107", "stretch1.414214", "pitch-1", "pitch1")
"""Those of the SMC comparison that are made by phase vocoder."""

AIM = 3
"""Times as fast as librosa, at least."""


def perturbed(samples: Samples, *names: str) -> list[Samples]:
    """Samples under several perturbations, with what can be shared of them."""
    audio, generator = Audio(samples=samples, sr=SR), np.random.default_rng(0)
    perturbations = map(Perturbation.parse, names)
    return [load_perturbation(p).perturb(audio, p.amounts, generator) for p in perturbations]


def by_librosa(samples: Samples, *names: str) -> list[Samples]:
    """The same by librosa's own functions."""
    made = []
    for perturbation in map(Perturbation.parse, names):
        (amount,) = perturbation.amounts
        made.append(
            librosa.effects.time_stretch(samples, rate=amount)
            if perturbation.word == "stretch"
            else librosa.effects.pitch_shift(samples, sr=SR, n_steps=amount)
        )
    return made


def measure_vocoder(clips: list[Samples], rounds: int) -> Rounds:
    """Each perturbation alone, and all of them of the same samples; a clip a time."""
    works: dict[str, tuple[Work, int]] = {}
    for names in (*((name,) for name in VOCODER), VOCODER):
        for who, make in (("melgrid", perturbed), ("librosa", by_librosa)):

            def work(n_clips: int, make=make, names=names) -> None:  # type: ignore[no-untyped-def]
                for samples in clips[:n_clips]:
                    make(samples, *names)

            works[f"{who} {' '.join(names)}"] = (work, len(clips))
    return interleaved(works, rounds, warm_up=1)


def vocoder(clips: list[Samples], rounds: int) -> str:
    """The table of stretch and pitch."""
    measured = measure_vocoder(clips, rounds)
    rows = []
    for names in (*((name,) for name in VOCODER), VOCODER):
        ours, theirs = (f"{who} {' '.join(names)}" for who in ("melgrid", "librosa"))
        speed = measured.speed(ours, theirs)
        difference = max(
            float(np.abs(a - b).max())
            for samples in clips
            for a, b in zip(perturbed(samples, *names), by_librosa(samples, *names), strict=True)
        )
        rows.append(
            [
                names[0] if len(names) == 1 else "all of one clip, one analysis",
                f"{measured.cpu_ms(ours):.1f} ms",
                f"{measured.cpu_ms(theirs):.1f} ms",
                f"{speed.wall:.2f}",
                f"{speed.cpu:.2f}",
                verdict(speed.cpu, least=AIM),
                f"{difference:.1e}",
            ]
        )
    header = [
        "perturbation", "melgrid, CPU a clip", "librosa", "times as fast, by the clock",
        "by CPU time", "aim", "largest difference",
    ]  # fmt: skip
    return table(header, rows)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=4, show_default=True, help="Clips of 29.1 s.")
@click.option("--rounds", default=7, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure on one thread, and print."""
    torch.set_num_threads(1)
    corpus = open_corpus(audio)
    excerpt = Excerpt()
    sounds = []
    for file in corpus.files(clips):
        track = read_track(file, excerpt)
        sounds.append(track)
    publish("perturbations", [], save)


if __name__ == "__main__":
    main()
