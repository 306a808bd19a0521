"""Eight test conditions: made from one decode against a script, and stored against on the fly."""

import dataclasses
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import librosa
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch

from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import crew, scratch
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.perturbations import EIGHT, SPEC, SR, clip_of, compute
from benchmarks.rounds import Work, interleaved
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from models.data.dataset import ClipDataset
from models.tasks.tagging import Tagging
from models.training.checkpoint import new_network
from models.training.predict import predict
from models.training.settings import TrainSettings
from pipeline.audio.stream import Samples
from pipeline.perturb import drc_music, drc_speech
from pipeline.perturb.dsp.compand import Compander
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

try:
    from torchaudio.transforms import MelSpectrogram
except ImportError:
    MelSpectrogram = None

AIM = 5
"""Times as fast as the script, at least."""

COMPANDERS = {"drc-music": drc_music.COMPANDER, "drc-speech": drc_speech.COMPANDER}

CONDITIONS = tuple(c for c in EIGHT if shutil.which("sox") or c.name not in COMPANDERS)
"""Those that the script can make."""

SPECS: tuple[Spec, ...] = tuple(SPEC.under(condition) for condition in CONDITIONS)

N_TAGS = 50

STORED = "stored, read"
FLY = "made on the fly by the plan"
SCRIPT = "made on the fly by the script"

ALL = "all of a clip, one decode each"

Array = npt.NDArray[Any]
Make = Callable[[str, Sequence[Condition]], dict[Spec, Array]]
"""From a file to values under some conditions, float16."""


def cpu_time() -> float:
    """CPU time so far of this process, and of the programs that it has started [s]."""
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime


class Script:
    """What a script does file by file: librosa, the program sox, NumPy and torchaudio's mel.

    Mel is by librosa where torchaudio is not installed.
    """

    def __init__(self) -> None:
        self._mel: Callable[[torch.Tensor], torch.Tensor] | None = None
        if MelSpectrogram is not None:
            self._mel = MelSpectrogram(
                sample_rate=SR, n_fft=SPEC.n_fft, hop_length=SPEC.hop_length, n_mels=SPEC.n_mels,
                norm="slaney", mel_scale="slaney", pad_mode="constant",
            )  # fmt: skip

    @property
    def mel_by(self) -> str:
        """What computes mel power."""
        return "librosa" if self._mel is None else "torchaudio"

    def decode(self, file: str) -> Samples:
        """The centred clip."""
        samples, sr = soundfile.read(file, dtype="float32", always_2d=True)
        samples = samples.mean(axis=1)
        if sr != SR:
            samples = soxr.resample(samples, sr, SR)
        length = Excerpt().n_samples(SR)
        return samples[max(0, len(samples) - length) // 2 :][:length]

    def perturb(self, samples: Samples, condition: Condition) -> Samples:
        """Samples under a condition of one perturbation."""
        (perturbation,) = condition.perturbations
        if perturbation.word in COMPANDERS:
            return _sox(samples, COMPANDERS[perturbation.word])
        (amount,) = perturbation.amounts
        if perturbation.word == "stretch":
            return librosa.effects.time_stretch(samples, rate=amount)
        if perturbation.word == "pitch":
            return librosa.effects.pitch_shift(samples, sr=SR, n_steps=amount)
        noise = np.random.default_rng().standard_normal(len(samples), np.float32)
        noise *= np.abs(samples).max() / np.abs(noise).max()
        return np.float32(1 - amount) * samples + np.float32(amount) * noise

    def mel(self, samples: Samples) -> Array:
        """Decibels of mel power, float16; cut and padded to as many frames as the store has."""
        samples = librosa.util.fix_length(samples, size=Excerpt().n_samples(SR))
        if self._mel is None:
            power = librosa.feature.melspectrogram(
                y=samples, sr=SR, n_fft=SPEC.n_fft, hop_length=SPEC.hop_length, n_mels=SPEC.n_mels
            )
            return librosa.power_to_db(power, top_db=None).astype(np.float16)
        power = self._mel(torch.from_numpy(samples))
        return power.clamp(min=1e-10).log10().mul(10).half().numpy()

    def values(self, file: str, conditions: Sequence[Condition]) -> dict[Spec, Array]:
        """Values under some conditions, from one decode."""
        samples = self.decode(file)
        return {SPEC.under(c): self.mel(self.perturb(samples, c)) for c in conditions}


def _sox(samples: Samples, compander: Compander) -> Samples:
    transfer = ",".join(f"{level:g}" for point in compander.transfer for level in point)
    raw = ["-t", "f32", "-r", str(SR), "-c", "1", "-"]
    done = subprocess.run(
        ["sox", *raw, *raw, "compand", f"{compander.attack:g},{compander.decay:g}", transfer,
         "0", "0", f"{compander.delay:g}"],
        input=samples.tobytes(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return np.frombuffer(done.stdout, np.float32).copy()


def plan(file: str, conditions: Sequence[Condition]) -> dict[Spec, Array]:
    """The same by the plan, from one decode."""
    specs = tuple(SPEC.under(condition) for condition in conditions)
    return compute(clip_of(file, specs), specs)


def each(make: Make, files: list[str], *sets: Sequence[Condition]) -> Work:
    """Values of files under sets of conditions, a decode for each set."""

    def do(n: int) -> None:
        for file in files[:n]:
            for conditions in sets:
                make(file, conditions)

    return do


def making(files: list[str], rounds: int) -> list[str]:
    """The plan against the script: a table, and a remark."""
    torch.set_num_threads(1)
    script = Script()
    alone = [(condition,) for condition in CONDITIONS]
    contests = {
        **{str(c): (each(plan, files, (c,)), each(script.values, files, (c,))) for c in CONDITIONS},
        ALL: (each(plan, files, CONDITIONS), each(script.values, files, CONDITIONS)),
        "... the script decodes for each": (
            each(plan, files, CONDITIONS),
            each(script.values, files, *alone),
        ),
    }
    works = {
        f"{name}, {way}": (work, len(files))
        for name, pair in contests.items()
        for way, work in zip(("plan", "script"), pair, strict=True)
    }
    measured = interleaved(works, rounds, cpu_time, warm_up=1)
    rows = []
    for name in contests:
        ours, theirs = f"{name}, plan", f"{name}, script"
        speed = measured.speed(ours, theirs)
        rows.append([
            name, f"{measured.cpu_ms(ours):.1f}", f"{measured.cpu_ms(theirs):.1f}",
            f"{speed.wall:.2f}", f"{speed.cpu:.2f}",
            "" if name in map(str, CONDITIONS) else verdict(speed.cpu, least=AIM),
        ])  # fmt: skip
    header = [
        f"from files to {SPEC.name}", "by the plan: CPU ms a clip", "by the script",
        "times as fast, by the clock", "by CPU time", "aim",
    ]  # fmt: skip
    remark = (
        f"{len(files)} clips of {Excerpt().duration:g} s, one thread of one worker, {rounds} "
        f"rounds in turn, medians; float16, nothing is written. The script: soundfile, librosa's "
        f"time_stretch and pitch_shift, the program sox by pipes, NumPy, {script.mel_by}'s mel; "
        "the clips that it stretches are of the 29.1 s alone, the plan's go on in the track."
    )
    if len(CONDITIONS) < len(EIGHT):
        remark += " The program sox is not installed: compression is left out on both sides."
    return [table(header, rows), remark]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """Values in memory, for a `ClipDataset` to read."""

    spec: FeatureSpec
    values: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_clips, n_mels, n_frames)."""
        return self.values.shape

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Those of some rows."""
        return self.values[rows]


def made_by(make: Make, files: list[str]) -> list[Made]:
    """Values of files under all conditions, made now."""
    clips = [make(file, CONDITIONS) for file in files]
    return [
        Made(spec=spec, values=np.stack([clip[spec] for clip in clips]).astype(np.float32))
        for spec in SPECS
    ]


def in_memory(arrays: Sequence[Any], n: int) -> list[ClipDataset]:
    """The first clips of arrays, read as evaluation reads them."""
    datasets = [
        ClipDataset(array, np.arange(n), np.zeros((n, N_TAGS), np.float32)) for array in arrays
    ]
    for dataset in datasets:
        dataset.preload()
    return datasets


def evaluating(corpus: Corpus, clips: int, rounds: int) -> list[str]:
    """Stored conditions against conditions made on the fly: a table, and a remark."""
    files, script = corpus.files(clips), Script()
    settings = TrainSettings(model="vgg", width=0.125, device="cpu")
    n_frames = SPEC.n_frames(Excerpt().n_samples(SR))
    network = new_network(settings, SPEC, n_frames=n_frames, n_outputs=N_TAGS)
    task = Tagging(tags=tuple(map(str, range(N_TAGS))))

    def predictions(datasets: list[ClipDataset]) -> dict[Spec, Array]:
        return {data.spec: predict(network, data, task, settings) for data in datasets}

    with scratch("store.zarr") as path, crew() as workers:
        run_settings = RunSettings(scheduler=workers.address)
        store = run(corpus.catalog(clips), str(path), SPECS, run_settings).store
        ways = {
            STORED: lambda n: in_memory([store[spec] for spec in SPECS], n),
            FLY: lambda n: in_memory(made_by(plan, files[:n]), n),
            SCRIPT: lambda n: in_memory(made_by(script.values, files[:n]), n),
        }
        stored, made = predictions(ways[STORED](clips)), predictions(ways[FLY](clips))
        drawn = {spec for spec in SPECS if "noise" in spec.name}
        if not all(np.array_equal(stored[spec], made[spec]) for spec in {*SPECS} - drawn):
            raise SystemExit("stored clips are judged otherwise than clips made on the fly")

        def getting(way: str) -> Work:
            return lambda n: ways[way](n)

        def judging(way: str) -> Work:
            return lambda n: predictions(ways[way](n))

        works = {}
        for way in ways:
            n = clips // 5 if way == SCRIPT else clips
            works[way] = (judging(way), n)
            works[f"{way}: values"] = (getting(way), n)
        measured = interleaved(works, rounds, cpu_time, warm_up=2)
    rows = []
    for way in ways:
        values, all_ = (
            measured.cost(f"{way}: values", f"{STORED}: values"),
            measured.cost(way, STORED),
        )
        rows.append([
            way, f"{measured.cpu_ms(f'{way}: values'):.1f}", f"{measured.cpu_ms(way):.1f}",
            f"{values.cpu:.1f}", f"{all_.wall:.2f}", f"{all_.cpu:.2f}",
        ])  # fmt: skip
    header = [
        f"evaluating under {len(SPECS)} conditions", "values: CPU ms a clip", "all: CPU ms a clip",
        "values, in those stored", "all, by the clock", "all, by CPU time",
    ]  # fmt: skip
    remark = (
        f"{corpus.name}: {clips} clips ({clips // 5} of the script), {SPEC.name}, float16; the VGG "
        f"of width {settings.width:g}, untrained, {N_TAGS} tags, one thread; {rounds} rounds in "
        "turn, medians. Values are got, all into memory, and then predicted from; the network "
        "gives the same numbers, bit for bit, for values stored and made on the fly, noise apart, "
        "which is drawn by clips' ids."
    )
    return [table(header, rows), remark]


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=40, show_default=True, help="Clips that are evaluated.")
@click.option("--rounds", default=5, show_default=True, help="Times each thing is done.")
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    corpus = open_corpus(audio)
    with crew(1) as workers:
        made = workers.do(making, corpus.files(4), rounds)
    publish("conditions", [*made, *evaluating(corpus, clips, rounds)], save)


if __name__ == "__main__":
    main()
