"""Tagging files in two processes with a narrow network, against decoding alone and a script."""

import contextlib
from collections.abc import Callable

import click
import librosa
import numpy as np
import psutil
import soundfile
import torch

from benchmarks.corpus import audio_option, open_corpus
from benchmarks.featurize import SPEC
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Rounds, interleaved
from featurestore.specs.excerpt import Excerpt
from models.training.checkpoint import Checkpoint, new_network
from models.training.settings import TrainSettings
from pipeline.kernels import COMPILED
from pipeline.run.processes import begin, in_order
from tagger import Tagger

_WINDOW = Excerpt()
_N_FRAMES = _WINDOW.n_frames(SPEC)
_TAGS = 50
_SETTINGS = TrainSettings(width=0.125, device="cpu", amp="off")

_FEW = 4
"""Files whose time is that of starting and ending processes."""


def decoder() -> Callable[[str], None]:
    """Make what decodes a file and does nothing with it: what no way to tag can be faster than."""

    def decode(file: str) -> None:
        soundfile.read(file, dtype="float32")

    return decode


def script() -> Callable[[str], np.ndarray]:
    """Make what a script written with librosa and PyTorch does a file."""
    torch.set_num_threads(1)  # as many processes as cores
    network = new_network(_SETTINGS, SPEC, n_frames=_N_FRAMES, n_outputs=_TAGS).eval()

    def tag(file: str) -> np.ndarray:
        samples, sr = librosa.load(file, sr=SPEC.sr)
        surplus = max(0, len(samples) - _WINDOW.n_samples(SPEC.sr))
        samples = librosa.util.fix_length(samples[surplus // 2 :], size=_WINDOW.n_samples(SPEC.sr))
        power = librosa.feature.melspectrogram(
            y=samples, sr=sr, n_fft=512, hop_length=SPEC.hop_length, n_mels=SPEC.n_mels
        )
        values = torch.from_numpy(librosa.power_to_db(power, top_db=None))
        with torch.inference_mode():
            return torch.sigmoid(network(values[None]))[0].numpy()

    return tag


def share(make: Callable[[], Callable[[str], object]], files: list[str]) -> None:
    """Have work done for all files by two processes, in the way of `Tagger`."""
    for _, outcome in in_order(make, files, n_processes=2):
        if isinstance(outcome, Exception):
            raise SystemExit(f"a file cannot be used: {outcome}")


def cpu_time() -> float:
    """CPU time so far of this process and of all that it has started [s]."""
    me = psutil.Process()
    times = []
    for process in (*me.children(recursive=True), me):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended, and its parent's holds its time
            times.append(process.cpu_times())
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=1024, show_default=True, help="Files a round.")
@click.option("--rounds", default=3, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    begin("benchmarks.tagging", *COMPILED)
    corpus = open_corpus(audio)
    network = new_network(_SETTINGS, SPEC, n_frames=_N_FRAMES, n_outputs=_TAGS)
    checkpoint = Checkpoint(
        network=network,
        spec=SPEC,
        n_frames=_N_FRAMES,
        window=_WINDOW,
        tags=tuple(f"tag {number}" for number in range(_TAGS)),
        settings=_SETTINGS,
        training=None,
    )
    tagger = Tagger(checkpoint, workers=2, device="cpu")

    def tag(n: int) -> None:
        tags = tagger.tag(corpus.files(n))
        if tags.failures:
            raise SystemExit(f"{len(tags.failures)} of {n} files could not be tagged")

    names = {
        "decode": "decoding alone (soundfile to float32)",
        "tag": f"melgrid tag: {SPEC.name}, VGG of width {_SETTINGS.width:g}",
        "script": "librosa.load, melspectrogram, the network, file by file",
    }
    runs = interleaved(
        {
            "decode": (lambda n: share(decoder, corpus.files(n)), clips),
            "begin decode": (lambda n: share(decoder, corpus.files(n)), _FEW),
            "tag": (tag, clips),
            "begin tag": (tag, _FEW),
            "script": (lambda n: share(script, corpus.files(n)), clips // 4),
            "begin script": (lambda n: share(script, corpus.files(n)), _FEW),
        },
        rounds,
        cpu_time,
    )
    steady = Rounds(costs={name: runs.less(name, f"begin {name}") for name in names})
    speeds = table(
        ["in two processes", "files/s", "CPU ms a file", "s to begin and end"],
        [
            [
                text,
                f"{steady.clips_per_s(name):.1f}",
                f"{steady.cpu_ms(name):.2f}",
                f"{runs.seconds(f'begin {name}'):.2f}",
            ]
            for name, text in names.items()
        ],
    )
    of_decoding, of_script = steady.speed("tag", "decode"), steady.speed("tag", "script")
    ratios = table(
        ["ratio", "by the clock", "by CPU time", "aim"],
        [
            [
                "tagging, as a share of decoding alone",
                f"{of_decoding.wall:.2f}",
                f"{of_decoding.cpu:.2f}",
                verdict(of_decoding.wall, least=0.7),
            ],
            ["tagging against the script", f"{of_script.wall:.1f} x", f"{of_script.cpu:.1f} x", ""],
        ],
    )
    remark = (
        f"{corpus.name}: {len(corpus.paths)} files, listed again and again; {clips} files a round "
        f"({clips // 4} of the script), {rounds} rounds interleaved, medians. {_TAGS} tags. All "
        "three are done by two processes of one thread each, which are started anew each time from "
        "one that has imported what they need; what they take for "
        f"{_FEW} files is told apart, and the rest is without it. Of tagging, the network runs in "
        "the process that starts them, on one thread as long as it waits for values."
    )
    publish("tagging", [speeds, ratios, remark], save)


if __name__ == "__main__":
    main()
