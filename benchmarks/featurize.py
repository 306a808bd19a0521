"""End to end in two warm processes: one spec and the 88-spec grid, against decoding alone."""

from collections.abc import Iterator, Sequence

import click
import librosa
import numpy as np
import soundfile

from benchmarks.corpus import audio_option, open_corpus
from benchmarks.crew import crew
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Rounds, Work, interleaved
from featurestore.specs.grid import ferraro2020
from featurestore.specs.mel import FeatureSpec

SPEC = FeatureSpec(sr=16000, n_mels=48, hop=2, log="db")

_FEW = 4
"""Clips of a run whose time is that of beginning and ending one: its lock, table, metadata."""


def decode(files: list[str]) -> None:
    """Decode files and do nothing with them: what no way to featurize can be faster than."""
    for file in files:
        soundfile.read(file, dtype="float32")


def call_librosa(files: list[str]) -> None:
    """What a script written with librosa does a file, before it saves the result."""
    for file in files:
        samples, sr = librosa.load(file, sr=SPEC.sr)
        power = librosa.feature.melspectrogram(
            y=samples, sr=sr, n_fft=512, hop_length=SPEC.hop_length, n_mels=SPEC.n_mels
        )
        librosa.power_to_db(power, top_db=None).astype(np.float16)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=2048, show_default=True, help="Clips a round, of one spec.")
@click.option("--rounds", default=3, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    corpus, grid = open_corpus(audio), ferraro2020()
    nbytes = {}
    with crew() as workers:

        def making(name: str, specs: Sequence[FeatureSpec]) -> Work:
            def make(n: int) -> Iterator[None]:
                for store in workers.featurize(corpus, specs, n):
                    yield
                    nbytes[name] = sum(store.files.sizes("")) // n

            return make

        one, every = making("one", [SPEC]), making("grid", grid)
        runs = interleaved(
            {
                "decode": (lambda n: workers.share(decode, corpus.files(n)), clips),
                "one": (one, clips),
                "begin one": (one, _FEW),
                "grid": (every, clips // 2),
                "begin grid": (every, _FEW),
                "librosa": (lambda n: workers.share(call_librosa, corpus.files(n)), clips // 8),
            },
            rounds,
            workers.cpu_time,
        )
    begin = {name: runs.seconds(f"begin {name}") for name in ("one", "grid")}
    steady = Rounds(
        costs={
            **runs.costs,
            "one": runs.less("one", "begin one"),
            "grid": runs.less("grid", "begin grid"),
        }
    )

    names = {
        "decode": "decoding alone (soundfile to float32)",
        "one": f"one spec, {SPEC.name}, float16",
        "grid": "the 88 specs of ferraro2020, float16",
        "librosa": f"librosa file by file, {SPEC.n_mels} bands x{SPEC.hop}, nothing written",
    }
    speeds = table(
        ["in two processes", "clips/s", "CPU ms a clip", "kB a clip", "s to begin and end a run"],
        [
            [
                text,
                f"{steady.clips_per_s(name):.1f}",
                f"{steady.cpu_ms(name):.2f}",
                f"{nbytes[name] / 1e3:.0f}" if name in nbytes else "",
                f"{begin[name]:.2f}" if name in begin else "",
            ]
            for name, text in names.items()
        ],
    )
    share = steady.speed("one", "decode")
    cost = steady.cost("grid", "one")
    peer = steady.speed("one", "librosa")
    whole_share, whole_cost = runs.speed("one", "decode"), runs.cost("grid", "one")
    ratios = table(
        ["ratio", "by the clock", "by CPU time", "aim"],
        [
            [
                "one spec, as a share of decoding alone",
                f"{share.wall:.2f}",
                f"{share.cpu:.2f}",
                f"{verdict(share.wall, least=0.6)} (A); {verdict(share.wall, least=0.75)} (B)",
            ],
            ["... whole runs", f"{whole_share.wall:.2f}", f"{whole_share.cpu:.2f}", ""],
            [
                "a clip at 88 specs, in clips at one spec",
                f"{cost.wall:.2f}",
                f"{cost.cpu:.2f}",
                verdict(cost.wall, most=6),
            ],
            ["... whole runs", f"{whole_cost.wall:.2f}", f"{whole_cost.cpu:.2f}", ""],
            ["one spec against librosa", f"{peer.wall:.1f} x", f"{peer.cpu:.1f} x", ""],
        ],
    )
    remark = (
        f"{corpus.name}: {len(corpus.paths)} files, listed again and again; {clips} clips a round "
        f"({clips // 2} of the grid, {clips // 8} of librosa), {rounds} rounds interleaved, "
        "medians. Stores are made whole, from listing to the published table, on the disk of the "
        "working directory, and removed when the clock has stopped; workers are warm. What a run "
        f"of {_FEW} clips takes is told apart as the time to begin and end a run; the steady state "
        "is without it."
    )
    publish("featurize", [speeds, ratios, remark], save)


if __name__ == "__main__":
    main()
