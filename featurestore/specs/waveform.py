"""Waveforms: the samples themselves, for networks that learn from these."""

import dataclasses
import re
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from featurestore.specs.encoding import EncodingName, Range
from featurestore.specs.fields import SAMPLE_RATES, read_name, whole_number
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.spec import Coordinate, Derivation, Spec, T

CHUNK_SAMPLES = 8192
"""Samples of a chunk: of the format, and so not to be changed.

A window of 59,049 samples reads 1.14 times itself, 1.25 at most. Of chunks of 4096 samples it reads
1.07 times and 1.11, but takes half as long again; of 16384 1.28 and 1.39 (packed, up to 1.48), in
0.8 times the time. What is stored is the same within 1 %.
"""

_NAME = re.compile(r"sr(?P<sr>\d+)-wave", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaveformSpec:
    """A mono waveform's parameters.

    The array is ``(1, n_samples)``: one band, a sample a frame; full scale is from -1 to 1.

    Parameters
    ----------
    sr : int
        Sample rate [Hz].
    condition : Condition
        What is done to the audio before.

    Raises
    ------
    SpecError
        If a value is out of range.

    Examples
    --------
    >>> spec = WaveformSpec(sr=16000)
    >>> spec.name, spec.shape(465600)
    ('sr16000-wave', (1, 465600))
    """

    kind: ClassVar[str] = "wave"
    axes: ClassVar[tuple[str, str]] = ("channel", "time")
    encodings: ClassVar[tuple[EncodingName, ...]] = ("int16", "float16", "float32")

    sr: int
    condition: Condition = CLEAN

    def __post_init__(self) -> None:
        object.__setattr__(self, "sr", whole_number("sr", self.sr, *SAMPLE_RATES, " Hz"))

    @property
    def unit(self) -> str:
        """Unit of the values: 1, for full scale."""
        return "1"

    @property
    def long_name(self) -> str:
        """Meaning of the values, for people."""
        return "waveform"

    @property
    def value_range(self) -> Range:
        """Full scale; a step of ``int16`` is 1/32768 of that."""
        return -1.0, 1.0

    @property
    def n_bands(self) -> int:
        """One: the mean of the channels."""
        return 1

    @property
    def frame_step(self) -> Fraction:
        """Step from sample to sample, exactly [s]."""
        return Fraction(1, self.sr)

    def n_frames(self, n_samples: int) -> int:
        """Samples at `sr`: as many."""
        return n_samples

    def chunk_frames(self, n_frames: int) -> int:
        """Samples of a chunk: `CHUNK_SAMPLES`, or all where there are fewer."""
        return min(n_frames, CHUNK_SAMPLES)

    def n_valid_frames(self, n_valid: T, sr: T) -> T:
        """Samples before the end of the first `n_valid` ones at `sr`; at least one is."""
        return -(-n_valid * self.sr // sr)

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of a clip of `n_samples` samples at `sr`: (1, n_samples)."""
        return 1, n_samples

    def coordinates(self, n_frames: int) -> tuple[Coordinate, Coordinate]:
        """The one channel's number, 0, and the samples' times [s]."""
        channel = Coordinate(name="channel", unit="1", long_name="channel", values=np.zeros(1))
        time = Coordinate(
            name="time",
            unit="s",
            long_name="time of the sample",
            values=np.arange(n_frames) / self.sr,
        )
        return channel, time

    def fields(self) -> dict[str, str | int | float]:
        """Parameters as plain values."""
        return {"sr": self.sr}

    def derivation(self, stored: Spec) -> Derivation | None:
        """Derivation from itself; from no other spec. Resampling anew is not exact."""
        return Derivation() if stored == self else None

    def under(self, condition: Condition) -> Self:
        """The same of audio under another condition."""
        return dataclasses.replace(self, condition=condition)

    @property
    def name(self) -> str:
        """Name that `parse` reads back."""
        return f"sr{self.sr}-wave{self.condition.suffix}"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a spec from its `name`.

        Raises
        ------
        SpecError
            If `name` is not the name that some spec has.
        """
        return read_name(
            name,
            _NAME,
            "sr16000-wave",
            lambda groups, condition: cls(sr=int(groups["sr"] or 0), condition=condition),
        )
