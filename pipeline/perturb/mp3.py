"""``mp3-64``: encoded as MP3 of a constant bit rate [kbit/s], and decoded, by libsndfile.

libsndfile encodes with LAME, as mono, and decodes with mpg123. The samples lie where they lay: the
delay of encoder and decoder is taken away.
"""

import io

import numpy as np
import soundfile

from featurestore.errors import SpecError
from featurestore.specs.perturbation import Perturbation
from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio

_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG2_5 = (8, 16, 24, 32, 40, 48, 56, 64)
BIT_RATES = (
    dict.fromkeys((32_000, 44_100, 48_000), _MPEG1)
    | dict.fromkeys((16_000, 22_050, 24_000), _MPEG2)
    | dict.fromkeys((8_000, 11_025, 12_000), _MPEG2_5)
)
"""Bit rates [kbit/s] that LAME has, by sample rate [Hz]."""

_DELAY = 576 + 529
"""LAME's and the decoder's [samples], which a decoder takes away if the file's first frame says."""


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples, encoded and decoded; as many, and where they were."""
    require(audio.sr, amounts)
    (bit_rate,) = amounts
    n_samples = len(audio.samples)
    if n_samples == 0:  # what is encoded of nothing is refused as no MP3
        return audio.samples.copy()
    decoded: Samples
    decoded, _ = soundfile.read(io.BytesIO(encode(audio, bit_rate)), dtype="float32")
    # At low bit rates the first frame has no room to say what of it belongs to no sample.
    start = 0 if len(decoded) == n_samples else _DELAY
    return decoded[start : start + n_samples]


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Refuse a sample rate, or a bit rate at it, that MP3 does not have.

    Raises
    ------
    SpecError
    """
    (bit_rate,) = amounts
    name = Perturbation(word="mp3", amounts=amounts).name
    if sr not in BIT_RATES:
        raise SpecError(
            f"{name!r}: MP3 has no sample rate of {sr} Hz; "
            f"it has {', '.join(map(str, sorted(BIT_RATES)))}"
        )
    if bit_rate not in BIT_RATES[sr]:
        raise SpecError(
            f"{name!r}: MP3 at {sr} Hz has no bit rate of {bit_rate:g} kbit/s; "
            f"it has {', '.join(map(str, BIT_RATES[sr]))}"
        )


def encode(audio: Audio, bit_rate: float) -> bytes:
    """An MP3 file of samples, at one of the `BIT_RATES`."""
    lowest, highest = BIT_RATES[audio.sr][0], BIT_RATES[audio.sr][-1]
    file = io.BytesIO()
    with soundfile.SoundFile(
        file,
        "w",
        audio.sr,
        channels=1,
        format="MP3",
        bitrate_mode="CONSTANT",
        # From 0, the highest bit rate, to 1, the lowest; libsndfile refuses 1 itself. LAME takes
        # the bit rate that is nearest.
        compression_level=min((highest - bit_rate) / (highest - lowest), 0.9999),
    ) as encoder:
        encoder.write(audio.samples)
    return file.getvalue()
