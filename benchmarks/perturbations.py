"""Perturbations against what makes them elsewhere: stretch and pitch against librosa's own."""

import dataclasses

import click
import librosa
import numpy as np

from benchmarks.corpus import audio_option, open_corpus
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import interleaved
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.perturbation import Perturbation
from pipeline.audio.clip import Cropper
from pipeline.audio.decode import read_track
from pipeline.audio.stream import Samples
from pipeline.perturb import load_perturbation
from pipeline.perturb.audio import Audio

SR = 16000
"""Of the studies that perturb [Hz]."""

VOCODER = tuple(map(Perturbation.parse, ("stretch0.7071", "stretch1.4142", "pitch-1", "pitch1")))
"""What the SMC comparison makes by phase vocoder."""

AIM = 3
"""Times as fast as librosa, at least."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
    """Perturbations of the same clips, made here and by librosa, clip after clip.

    Parameters
    ----------
    perturbations : tuple of Perturbation
        All made of one `Audio`, which analyses it once.
    clips : list of np.ndarray [dtype=float32]
    """

    perturbations: tuple[Perturbation, ...]
    clips: list[Samples]

    def here(self, n_clips: int) -> list[Samples]:
        """Of the first clips."""
        generator = np.random.default_rng(0)
        made = []
        for samples in self.clips[:n_clips]:
            audio = Audio(samples=samples, sr=SR)
            for perturbation in self.perturbations:
                perturb = load_perturbation(perturbation).perturb
                made.append(perturb(audio, perturbation.amounts, generator))
        return made

    def librosa(self, n_clips: int) -> list[Samples]:
        """The same by librosa's own functions."""
        made = []
        for samples in self.clips[:n_clips]:
            for perturbation in self.perturbations:
                (amount,) = perturbation.amounts
                made.append(
                    librosa.effects.time_stretch(samples, rate=amount)
                    if perturbation.word == "stretch"
                    else librosa.effects.pitch_shift(samples, sr=SR, n_steps=amount)
                )
        return made

    def largest_difference(self) -> float:
        """Between the two, of all samples."""
        n_clips = len(self.clips)
        pairs = zip(self.here(n_clips), self.librosa(n_clips), strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)


def vocoder(clips: list[Samples], rounds: int) -> list[str]:
    """Stretch and pitch: a table, and a remark."""
    contests = {p.name: Contest(perturbations=(p,), clips=clips) for p in VOCODER}
    contests["all four of a clip"] = Contest(perturbations=VOCODER, clips=clips)
    works = {}
    for name, contest in contests.items():
        works[f"{name}, here"] = (contest.here, len(clips))
        works[f"{name}, librosa"] = (contest.librosa, len(clips))
    measured = interleaved(works, rounds, warm_up=1)
    rows = []
    for name, contest in contests.items():
        ours, theirs = f"{name}, here", f"{name}, librosa"
        speed = measured.speed(ours, theirs)
        rows.append([
            name, f"{measured.cpu_ms(ours):.1f}", f"{measured.cpu_ms(theirs):.1f}",
            f"{speed.wall:.2f}", f"{speed.cpu:.2f}", verdict(speed.cpu, least=AIM),
            f"{contest.largest_difference():.0e}",
        ])  # fmt: skip
    header = [
        "by phase vocoder", "CPU a clip [ms]", "librosa's [ms]", "times as fast, by the clock",
        "by CPU time", "aim", "largest difference",
    ]  # fmt: skip
    remark = (
        f"{len(clips)} clips of {Excerpt().duration:g} s at {SR} Hz, one thread, {rounds} rounds "
        f"in turn, medians. All four are made of one analysis; each alone pays for its own."
    )
    return [table(header, rows), remark]


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=4, show_default=True, help="Clips that are perturbed.")
@click.option("--rounds", default=9, show_default=True, help="Times each thing is done.")
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    tracks = [read_track(file, Excerpt()) for file in open_corpus(audio).files(clips)]
    cut = [Cropper(track.samples, track.sr, Excerpt()).clip().padded(SR, 0) for track in tracks]
    publish("perturbations", vocoder(cut, rounds), save)


if __name__ == "__main__":
    main()
