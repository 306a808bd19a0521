"""What perturbations cost: beside librosa's own, in a plan, and in memory."""

import dataclasses
import statistics
from functools import lru_cache
from typing import Any

import click
import librosa
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import crew, scratch
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Work, interleaved
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import under
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CONDITIONS, Condition, Perturbation
from featurestore.specs.spec import Spec
from pipeline.audio.clip import Clip, Cropper
from pipeline.audio.decode import read_track
from pipeline.audio.stream import Samples
from pipeline.features.plan import Plan, arrange
from pipeline.features.signal import n_needed, reach
from pipeline.perturb import apply, load_perturbation
from pipeline.perturb.audio import Audio
from pipeline.profile import TaskTimes, in_worker, time_tasks
from pipeline.run.settings import RunSettings

SR = 16000
"""Of the studies that perturb [Hz]."""

SPEC = FeatureSpec(sr=SR, n_mels=96, hop=1, log="db")

EIGHT = CONDITIONS["smc2020"]

VOCODER = tuple(map(Perturbation.parse, ("stretch0.7071", "stretch1.4142", "pitch-1", "pitch1")))
"""What the SMC comparison makes by phase vocoder."""

AIM = 3
"""Times as fast as librosa, at least."""

MEL = 1.2
"""How many times what the clean clip's spec takes that of a perturbed one may."""

_COLLECTION = 8192
"""Clips of the collection whose first task is done: enough for shards of full length."""


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


def clip_of(file: str, specs: tuple[Spec, ...]) -> Clip:
    """What a task decodes of a file for some specs."""
    window = Excerpt()
    track = read_track(file, window, reach(specs, window))
    return Cropper(
        track.samples, track.sr, window, first=track.first, n_samples=track.n_samples
    ).clip()


def compute(clip: Clip, specs: tuple[Spec, ...]) -> dict[Spec, npt.NDArray[Any]]:
    """Values of some specs as a task computes them, in float16, before they are compressed."""
    encodings = dict.fromkeys(specs, Encoding(name="float16"))
    return {spec: values for spec, values, _ in _plan(specs).compute(clip, "native", encodings)}


@lru_cache
def _plan(specs: tuple[Spec, ...]) -> Plan:
    return arrange(specs)


def costs(files: list[str], rounds: int) -> list[str]:
    """What each condition adds to the clean one: a table, and a remark."""
    torch.set_num_threads(1)
    n = len(files)
    clips = {
        condition: [clip_of(f, under([SPEC], [condition])) for f in files] for condition in EIGHT
    }

    def featurize(*conditions: Condition) -> Work:
        specs = under([SPEC], conditions)

        def decode_and_compute(n: int) -> None:
            for file in files[:n]:
                compute(clip_of(file, specs), specs)

        return decode_and_compute

    def alone(condition: Condition) -> Work:
        n_samples = n_needed(Excerpt().n_samples(SR), condition)

        def perturb(n: int) -> None:
            for clip in clips[condition][:n]:
                audio = Audio(samples=clip.audio(SR, n_samples), sr=SR)
                apply(audio, condition, condition.generator(0))

        return perturb

    def decode(n: int) -> None:
        for file in files[:n]:
            clip_of(file, (SPEC,))

    works: dict[str, tuple[Work, int]] = {
        "clean": (featurize(), n),
        "decode": (decode, n),
        "all": (featurize(*EIGHT), n),
    }
    for condition in EIGHT:
        works[f"with {condition}"] = (featurize(condition), n)
        works[f"{condition} alone"] = (alone(condition), n)
    measured = interleaved(works, rounds, warm_up=1)

    # What follows decoding, as it follows it: repeated on its own, it finds all in the cache.
    taken = {work: [1e3 * cost.cpu / n for cost in measured.costs[work]] for work in works}
    mel = [clean - decoded for clean, decoded in zip(taken["clean"], taken["decode"], strict=True)]

    def row(name: str, whole: str, parts: list[str]) -> list[str]:
        """What is added, the perturbations alone, and the ratio, medians of CPU time."""
        added = [a - b for a, b in zip(taken[whole], taken["clean"], strict=True)]
        perturbing = [sum(some) for some in zip(*(taken[part] for part in parts), strict=True)]
        ratio = statistics.median(
            cost / (alone + MEL * len(parts) * after)
            for cost, alone, after in zip(added, perturbing, mel, strict=True)
        )
        return [
            name, f"{statistics.median(added):.1f}", f"{statistics.median(perturbing):.1f}",
            f"{ratio:.2f}", verdict(ratio, most=1),
        ]  # fmt: skip

    rows = [row(str(c), f"with {c}", [f"{c} alone"]) for c in EIGHT]
    rows.append(row("all eight", "all", [f"{condition} alone" for condition in EIGHT]))
    header = [
        "condition", "added to a clip [ms]", "perturbing alone [ms]",
        f"added / (alone + {MEL:g} mel)", "aim",
    ]  # fmt: skip
    remark = (
        f"CPU time a clip, {n} clips, one thread of a worker, {rounds} rounds in turn, medians. "
        f"Added: {SPEC.name} clean and under the condition from one decode, in float16, less the "
        f"clean one, which takes {measured.cpu_ms('clean'):.1f} ms, {statistics.median(mel):.1f} "
        "of them after decoding: mel. All eight share what they can."
    )
    return [table(header, rows), remark]


def memory(corpus: Corpus) -> list[str]:
    """The most memory of a worker at its first task, clean and under all conditions."""
    measured: dict[str, tuple[TaskTimes, int]] = {}
    for name, specs in (("clean", (SPEC,)), ("clean and eight conditions", under([SPEC], EIGHT))):
        with scratch("memory.zarr") as path:
            catalog = corpus.catalog(_COLLECTION)
            times = in_worker(time_tasks, catalog, str(path.absolute()), specs, RunSettings(), 1)
        measured[name] = times, len(specs)
    nbytes = 2 * SPEC.n_mels * SPEC.n_frames(Excerpt().n_samples(SR))
    rows = [
        [name, f"{times.clips_per_task}", f"{times.clips_per_task * n_specs * nbytes / 2**20:.0f}",
         f"{times.peak_nbytes / 2**20:.0f}"]
        for name, (times, n_specs) in measured.items()
    ]  # fmt: skip
    header = [
        "a task",
        "clips",
        "its values, not compressed [MiB]",
        "a worker's memory, at most [MiB]",
    ]
    remark = (
        f"{SPEC.name}, float16: the first task of a collection of {_COLLECTION} clips, with the "
        "libraries that a worker has loaded."
    )
    return [table(header, rows), remark]


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=4, show_default=True, help="Clips that are perturbed.")
@click.option("--rounds", default=9, show_default=True, help="Times each thing is done.")
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    corpus = open_corpus(audio)
    files = corpus.files(clips)
    cut = [clip_of(file, (SPEC,)).padded(SR, 0) for file in files]
    parts = vocoder(cut, rounds)
    with crew(1) as workers:
        parts += workers.do(costs, files, rounds)
    publish("perturbations", [*parts, *memory(corpus)], save)


if __name__ == "__main__":
    main()
