"""Back to sound: how near a sound's own spectrogram comes to the stored one it was made from."""

import time
from collections import defaultdict
from collections.abc import Callable

import click
import librosa
import numpy as np
import numpy.typing as npt

from benchmarks.choices import FULL
from benchmarks.corpus import audio_option, open_corpus
from benchmarks.page import publish, save_option, table
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from pipeline.audio.clip import Clip, Cropper
from pipeline.audio.decode import read_track
from pipeline.features.backends.stft import SharedStft
from pipeline.features.plan import arrange
from pipeline.features.scaling import decompress
from pipeline.sonify.bands import Power, spread
from pipeline.sonify.phases import Method
from pipeline.sonify.sonify import sonify

SPECS = tuple(
    FeatureSpec(sr=FULL.sr, n_mels=n_mels, hop=hop, log="db")
    for n_mels, hop in ((96, 1), (96, 10), (48, 1), (8, 1), (8, 10))
)
METHODS: tuple[Method, ...] = ("griffin-lim", "noise")

FILTERS = SharedStft.of(FULL).filters()
SPREADING: dict[str, Callable[[Power], Power]] = {
    "Richardson-Lucy, 20 rounds (chosen)": lambda mel: spread(mel, FILTERS),
    "the filters' transpose alone": lambda mel: spread(mel, FILTERS, rounds=0),
    "librosa.util.nnls": lambda mel: librosa.util.nnls(FILTERS, mel),
}
"""Ways from mel power to the power of FFT bins."""

RANGE = 50
"""Cells this far below the loudest count [dB]."""


def stored(clip: Clip, spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """A clip's valid frames as a store gives them back, ``(n_mels, n_frames)``."""
    encoding = Encoding()
    [(_, values, _)] = arrange([spec]).compute(clip, "native", {spec: encoding})
    decoded = np.empty(values.shape, np.float32)
    encoding.decode(values, decoded, spec.value_range)
    return decoded[:, : spec.n_valid_frames(clip.n_valid, clip.source.sr)]


def sounded(clip: Clip, spec: FeatureSpec, method: Method) -> tuple[Power, Power]:
    """Mel power of a clip, and of the sound made from what is stored of it."""
    values = stored(clip, spec)
    n_samples = round(clip.n_valid / clip.source.sr * spec.sr)
    sound = sonify(values, spec, n_samples, method=method)
    samples = sound.samples / np.float32(10 ** (sound.gain / 20))
    again = stored(Cropper(samples, spec.sr, Excerpt()).clip(), spec)
    n_frames = min(values.shape[1], again.shape[1])
    return decompress(values[:, :n_frames], spec.log), decompress(again[:, :n_frames], spec.log)


def errors(wanted: Power, got: Power) -> tuple[float, float, float]:
    """Of loud cells the rms [dB] and the correlation, and the median band's of mean power [dB]."""
    loud = wanted > wanted.max() * 10 ** (-RANGE / 10)
    cells = [10 * np.log10(np.maximum(mel[loud], 1e-10)) for mel in (wanted, got)]
    bands = 10 * np.log10(got.mean(axis=1) / wanted.mean(axis=1))
    return (
        float(np.sqrt(np.mean((cells[1] - cells[0]) ** 2))),
        float(np.corrcoef(*cells)[0, 1]),
        float(np.median(np.abs(bands))),
    )


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=8, show_default=True, help="Clips turned into sound.")
@save_option
def main(audio: str | None, clips: int, save: bool) -> None:
    """Measure and print."""
    corpus = open_corpus(audio)
    # From all over the list: catalogs are often sorted by tag.
    files = corpus.files(len(corpus.paths))[:: max(1, len(corpus.paths) // clips)][:clips]
    sounds: dict[tuple[Method, FeatureSpec], list[tuple[float, ...]]] = defaultdict(list)
    spreads: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in files:
        track = read_track(file, Excerpt())
        clip = Cropper(track.samples, track.sr, Excerpt()).clip()
        for method in METHODS:
            for spec in SPECS:
                sounds[method, spec].append(errors(*sounded(clip, spec, method)))
        mel = decompress(stored(clip, FULL), FULL.log)
        for way, call in SPREADING.items():
            begin = time.perf_counter()
            bins = call(mel)
            seconds = time.perf_counter() - begin
            spreads[way].append((errors(mel, FILTERS @ bins)[0], seconds))
    rows = []
    for method in METHODS:
        means = [np.mean(sounds[method, spec], axis=0) for spec in SPECS]
        for number, (figure, digits) in enumerate(
            (("rms of a cell [dB]", 2), ("correlation", 3), ("median band [dB]", 2))
        ):
            name = "" if number else method
            rows.append([name, figure, *(f"{mean[number]:.{digits}f}" for mean in means)])
    header = ["method", "figure", *(f"{spec.n_mels} x{spec.hop}" for spec in SPECS)]
    remark = (
        f"{corpus.name}: stored float16 values of {len(files)} clips turned into sound and "
        f"analysed again ({FULL.sr} Hz, dB); means over clips. Cells count that are within "
        f"{RANGE} dB of the clip's loudest; a band's error is that of its mean power."
    )
    chosen = np.mean([seconds for _, seconds in spreads[next(iter(SPREADING))]])
    ways = table(
        ["bands back to bins, 96 x1", "rms of a cell [dB]", "time, in the chosen way's"],
        [
            [way, f"{np.mean([e for e, _ in found]):.2f}",
             f"{np.mean([seconds for _, seconds in found]) / chosen:.2f}"]
            for way, found in spreads.items()
        ],
    )  # fmt: skip
    publish("sound", [table(header, rows), remark, ways], save)


if __name__ == "__main__":
    main()
