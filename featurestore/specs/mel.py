"""Mel-spectrograms: the first kind of spec."""

import dataclasses
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from featurestore.errors import SpecError
from featurestore.specs.encoding import EncodingName, Range
from featurestore.specs.fields import (
    HOP_UNIT as HOP_UNIT,
)  # as before, for those who import it here
from featurestore.specs.fields import (
    SAMPLE_RATES,
    hertz,
    hop_of,
    parse_edges,
    parse_hop,
    read_name,
    whole_number,
)
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.spec import Coordinate, Derivation, Spec, T

Log = Literal["db", "log"]
Window = Literal["hann", "hann-symmetric"]
Norm = Literal["slaney"] | None

VALUE_RANGE: Mapping[Log, Range] = {"db": (-100.0, 40.0), "log": (0.0, 7.0)}
"""What ``uint8`` keeps of each amplitude scaling; beyond it, values are clipped, and counted.

Of filters with Slaney's area norm; those without it reach further, see `FeatureSpec.value_range`.

-100 dB is the scaling's own floor. A full-scale sine reaches 26 dB in one narrow band (16 kHz, 96
bands), which is 6.6 in the other scaling: the rest is room for audio that was decoded beyond full
scale.
"""

_FROM_DECIBELS = 0.1, 2e-6
"""Of `to_log`: its largest derivative, and what float32 adds up to 60 dB, at most.

The derivative of log10(1 + 10000 * 10**(dB / 10)) is below 1/10, so what the encoding is off by
becomes a tenth at most: 0.0031 for float16, 0.028 for uint8.
"""

_NAME = re.compile(
    r"sr(?P<sr>\d+)-mel(?P<n_mels>\d+)-(?:x(?P<hop>\d+)|hop(?P<hop_length>\d+))-(?P<log>[a-z]+)"
    r"(?:-fft(?P<n_fft>\d+))?(?:-fmin(?P<fmin>[\d.]+))?(?:-fmax(?P<fmax>[\d.]+))?"
    r"(?:-(?P<symmetric>symmetric))?(?:-win(?P<win_length>\d+))?(?:-(?P<htk>htk))?"
    r"(?:-(?P<nonorm>nonorm))?",
    re.ASCII,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """A mel-spectrogram's parameters, under librosa's names.

    The array is ``(n_mels, n_frames)``: power spectra of centred, zero-padded frames, summed by
    triangles on a mel scale, with or without Slaney's area norm, then the amplitude scaling `log`.

    Parameters
    ----------
    sr : int
        Sample rate of the audio analysed [Hz].
    n_mels : int
        Mel bands.
    hop : int or Fraction
        Step from frame to frame in multiples of 256 samples; ``Fraction(160, 256)`` for a step of
        160 samples.
    log : {'db', 'log'}
        ``db`` is ``10 log10(max(P, 1e-10))``, ``log`` is ``log10(1 + 10000 P)``, of mel power P.
    n_fft : int
        Frame length [samples].
    fmin, fmax : float
        Lower and upper edge of the filter bank [Hz], to 0.001 Hz. An `fmax` of None is ``sr / 2``.
    window : {'hann', 'hann-symmetric'}
        The periodic Hann window, or the symmetric one that Essentia used in the study.
    win_length : int, optional
        Length of the window [samples], from 16 to `n_fft`. A shorter one is centred in the frame
        and filled up with zeros, as librosa and PyTorch do. None is `n_fft`.
    htk : bool
        Mel scale: HTK's, 2595 log10(1 + f / 700), or Slaney's. HTK's lowest filters may lie
        between two FFT bins and be empty: such bands are at the floor in every frame. They are
        accepted, because published networks were trained with one (128 bands at 16 kHz).
    norm : {'slaney', None}
        Triangles of the same area (2 over their width in Hz), or of height 1.
    condition : Condition
        What is done to the audio before.

    Raises
    ------
    SpecError
        If a value is out of range, or if a filter would be empty on Slaney's mel scale.

    Examples
    --------
    >>> spec = FeatureSpec(sr=16000, n_mels=48, hop=2, log="db")
    >>> spec.name, spec.hop_length, spec.n_frames(465600)
    ('sr16000-mel48-x2-db', 512, 910)
    """

    kind: ClassVar[str] = "mel"
    axes: ClassVar[tuple[str, str]] = ("mel", "time")
    encodings: ClassVar[tuple[EncodingName, ...]] = ("float16", "float32", "uint8")

    sr: int
    n_mels: int
    hop: int | Fraction = 1
    log: Log = "db"
    n_fft: int = 512
    fmin: float = 0.0
    fmax: float | None = None
    window: Window = "hann"
    win_length: int | None = None
    htk: bool = False
    norm: Norm = "slaney"
    condition: Condition = CLEAN

    def __post_init__(self) -> None:
        for field, low, high, unit in (
            ("sr", *SAMPLE_RATES, " Hz"),
            ("n_mels", 1, 4096, ""),
            ("n_fft", 16, 65536, " samples"),
        ):
            value = whole_number(field, getattr(self, field), low, high, unit)
            object.__setattr__(self, field, value)
        if self.win_length is not None:
            # Of less than 3 samples, a Hann window may be zeros; the bound is that of frames.
            length = whole_number("win_length", self.win_length, 16, self.n_fft, " samples")
            object.__setattr__(self, "win_length", None if length == self.n_fft else length)
        object.__setattr__(self, "hop", parse_hop(self.hop))
        fmin, fmax = parse_edges(self.fmin, self.fmax, self.sr)
        object.__setattr__(self, "fmin", fmin)
        object.__setattr__(self, "fmax", fmax)
        for field, choices in (("log", get_args(Log)), ("window", get_args(Window))):
            if getattr(self, field) not in choices:
                raise SpecError(
                    f"{field} is {getattr(self, field)!r}; it must be one of {', '.join(choices)}"
                )
        if not isinstance(self.htk, bool | np.bool_):
            raise SpecError(f"htk is {self.htk!r}; it must be True or False")
        object.__setattr__(self, "htk", bool(self.htk))
        if self.norm not in ("slaney", None):
            raise SpecError(f"norm is {self.norm!r}; it must be 'slaney' or None")
        if not self.htk:
            self._refuse_empty_filters()

    def _refuse_empty_filters(self) -> None:
        empty = self.empty_filters
        if len(empty):
            which = ", ".join(map(str, empty[:8])) + (", …" if len(empty) > 8 else "")
            raise SpecError(
                f"n_mels is {self.n_mels}: {len(empty)} mel filters hold no FFT bin (bands {which}"
                f" at sr {self.sr} Hz, n_fft {self.n_fft}); use fewer bands or a larger n_fft"
            )

    @property
    def empty_filters(self) -> npt.NDArray[np.intp]:
        """Bands whose filter holds no FFT bin; there may be some on HTK's mel scale alone."""
        edges = self.edges
        bins = np.fft.rfftfreq(self.n_fft, 1 / self.sr)
        inside = np.searchsorted(bins, edges[2:], "left") > np.searchsorted(
            bins, edges[:-2], "right"
        )
        return np.flatnonzero(~inside)

    @property
    def _upper_edge(self) -> float:
        return self.sr / 2 if self.fmax is None else self.fmax

    @property
    def mel_frequencies(self) -> npt.NDArray[np.float64]:
        """Centre frequency of each band [Hz], ``(n_mels,)``."""
        return self.edges[1:-1]

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Begin, peak and end of the filters [Hz], ``(n_mels + 2,)``; see `mel_edges`."""
        return mel_edges(self.n_mels, self.fmin, self._upper_edge, htk=self.htk)

    @property
    def hop_length(self) -> int:
        """Step from frame to frame [samples]."""
        return int(self.hop * HOP_UNIT)

    @property
    def unit(self) -> str:
        """Unit of the values, as CF writes it: dB, or 1."""
        return "dB" if self.log == "db" else "1"

    @property
    def long_name(self) -> str:
        """Meaning of the values and their scaling, for people."""
        return f"mel power, {self.log} scaling"

    @property
    def value_range(self) -> Range:
        """Range of values that ``uint8`` can store: `VALUE_RANGE`, or more without area norm.

        Samples within full scale have a mel power of n_fft * 3 / 8 * win_length / 2 at most where
        the filters are 1 high: the squares of a Hann window sum to 3 / 8 of its length, and by
        Parseval half of n_fft times that is what all bins below the Nyquist frequency hold (both
        ends of the filters are zero, so the constant and the Nyquist frequency do not count). At
        `n_fft` 512 that is 46.9 dB, at 1024 52.9 dB. Rounded up to whole tens of dB, and to whole
        numbers in the other scaling: (-100, 50) or (0, 9), and (-100, 60) or (0, 10).
        """
        low, high = VALUE_RANGE[self.log]
        if self.norm is not None:
            return low, high
        most = 3 / 16 * self.n_fft * (self.win_length or self.n_fft)
        if self.log == "db":
            return low, max(high, 10.0 * math.ceil(math.log10(most)))
        return low, max(high, float(math.ceil(math.log10(1 + 1e4 * most))))

    @property
    def n_bands(self) -> int:
        """Mel bands."""
        return self.n_mels

    @property
    def frame_step(self) -> Fraction:
        """Step from frame to frame, exactly [s]."""
        return Fraction(self.hop_length, self.sr)

    @property
    def frame_rate(self) -> float:
        """Frames a second [Hz]."""
        return self.sr / self.hop_length

    @property
    def values_per_second(self) -> float:
        """Resolution: bands times frame rate [1/s]."""
        return self.n_mels * self.frame_rate

    def n_frames(self, n_samples: int) -> int:
        """Frames in `n_samples` samples at `sr`: ``1 + n_samples // hop_length``, exactly."""
        return 1 + n_samples // self.hop_length

    def chunk_frames(self, n_frames: int) -> int:
        """All: a clip is one chunk."""
        return n_frames

    def n_valid_frames(self, n_valid: T, sr: T) -> T:
        """Frames whose centre is within the first `n_valid` samples at `sr`; at least one is."""
        return n_valid_frames(n_valid, sr, self.sr, self.hop_length)

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of a clip of `n_samples` samples at `sr`: (n_mels, n_frames)."""
        return self.n_mels, self.n_frames(n_samples)

    def coordinates(self, n_frames: int) -> tuple[Coordinate, Coordinate]:
        """Centre frequencies of the bands [Hz], and centres of so many frames [s]."""
        mel = Coordinate(
            name="mel",
            unit="Hz",
            long_name="centre frequency of the band",
            values=self.mel_frequencies,
        )
        time = Coordinate(
            name="time",
            unit="s",
            long_name="centre of the frame",
            values=np.arange(n_frames) * self.hop_length / self.sr,
        )
        return mel, time

    def fields(self) -> dict[str, str | int | float]:
        """Parameters as plain values under librosa's names, defaults and all."""
        return {
            "sr": self.sr,
            "n_mels": self.n_mels,
            "hop_length": self.hop_length,
            "n_fft": self.n_fft,
            "fmin": self.fmin,
            "fmax": self._upper_edge,
            "window": self.window,
            "win_length": self.win_length or self.n_fft,
            "htk": self.htk,
            "norm": self.norm or "none",
            "log": self.log,
        }

    def derivation(self, stored: Spec) -> Derivation | None:
        """Derivation of this spec's values from those of `stored`; None if there is none.

        A hop multiple is every k-th frame, exactly. The ``log`` scaling follows from ``db``. The
        other way is not offered: near silence, where 10000 P is far below 1, decibels cannot be
        told from ``log`` values within any useful bound.
        """
        if not isinstance(stored, FeatureSpec):
            return None
        step, rest = divmod(self.hop_length, stored.hop_length)
        if rest or self._filtered != stored._filtered:
            return None
        if self.log == stored.log:
            return Derivation(step=step)
        if (stored.log, self.log) == ("db", "log"):
            gain, rounding = _FROM_DECIBELS
            return Derivation(step=step, convert=to_log, gain=gain, rounding=rounding)
        return None

    @property
    def _filtered(self) -> tuple[object, ...]:
        """All fields that the mel power hangs on, but for the hop."""
        return (
            self.sr, self.n_mels, self.n_fft, self.fmin, self.fmax, self.window, self.win_length,
            self.htk, self.norm, self.condition,
        )  # fmt: skip

    def under(self, condition: Condition) -> Self:
        """The same of audio under another condition."""
        return dataclasses.replace(self, condition=condition)

    @property
    def name(self) -> str:
        """Name that `parse` reads back; it shows fields that are off their default."""
        hop = f"x{self.hop}" if isinstance(self.hop, int) else f"hop{self.hop_length}"
        parts = [f"sr{self.sr}", f"mel{self.n_mels}", hop, self.log]
        if self.n_fft != 512:
            parts.append(f"fft{self.n_fft}")
        if self.fmin != 0:
            parts.append(f"fmin{hertz(self.fmin)}")
        if self.fmax is not None:
            parts.append(f"fmax{hertz(self.fmax)}")
        if self.window == "hann-symmetric":
            parts.append("symmetric")
        if self.win_length is not None:
            parts.append(f"win{self.win_length}")
        if self.htk:
            parts.append("htk")
        if self.norm is None:
            parts.append("nonorm")
        return "-".join(parts) + self.condition.suffix

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
        return read_name(name, _NAME, "sr16000-mel48-x2-db", cls._of_groups)

    @classmethod
    def _of_groups(cls, groups: Mapping[str, str | None], condition: Condition) -> Self:
        return cls(
            sr=int(groups["sr"] or 0),
            n_mels=int(groups["n_mels"] or 0),
            hop=hop_of(groups),
            log=groups["log"],  # type: ignore[arg-type]  # __post_init__ looks
            n_fft=int(groups["n_fft"] or 512),
            fmin=float(groups["fmin"] or 0),
            fmax=float(groups["fmax"]) if groups["fmax"] else None,
            window="hann-symmetric" if groups["symmetric"] else "hann",
            win_length=int(groups["win_length"]) if groups["win_length"] else None,
            htk=groups["htk"] is not None,
            norm=None if groups["nonorm"] else "slaney",
            condition=condition,
        )


def n_valid_frames(n_valid: T, sr: T, to_sr: int, hop_length: int) -> T:
    """Frames at `hop_length` whose centre is within the first `n_valid` samples.

    Parameters
    ----------
    n_valid : int or np.ndarray of int
        [samples at `sr`]
    sr : int or np.ndarray of int
        Rate before resampling [Hz].
    to_sr : int
        Rate at which frames are cut [Hz].
    hop_length : int
        [samples at `to_sr`]
    """
    return 1 + n_valid * to_sr // (sr * hop_length)


def to_log(decibels: npt.NDArray[np.float32]) -> None:
    """Turn values of the ``db`` scaling into those of the ``log`` scaling, in place.

    log10(1 + 10000 P) with P = 10**(dB / 10).
    """
    decibels *= np.float32(0.1)
    np.power(np.float32(10), decibels, out=decibels)
    decibels *= np.float32(1e4)
    decibels += 1
    np.log10(decibels, out=decibels)


def require_mel(spec: Spec, what: str) -> FeatureSpec:
    """Narrow a spec to a mel-spectrogram, for what is made for these alone.

    Raises
    ------
    SpecError
        If it is of another kind; the message begins with `what` takes only mel-spectrograms.
    """
    if not isinstance(spec, FeatureSpec):
        raise SpecError(
            f"{what} only mel-spectrograms, and {spec.name} is of the kind {spec.kind!r}; "
            "choose a spec such as sr16000-mel48-x2-db"
        )
    return spec


def mel_edges(
    n_mels: int, fmin: float, fmax: float, *, htk: bool = False
) -> npt.NDArray[np.float64]:
    """Edges and centres of `n_mels` triangles [Hz], ``(n_mels + 2,)``, even on a mel scale.

    Slaney's is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (27 mels to a factor of
    6.4): Slaney, *Auditory Toolbox*, 1998. HTK's is 2595 log10(1 + f / 700): Young et al., *The
    HTK Book*.
    """
    if htk:
        low, high = (2595 * math.log10(1 + hz / 700) for hz in (fmin, fmax))
        edges: npt.NDArray[np.float64] = 700 * (
            10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1
        )
        return edges
    hz_per_mel, log_step, knee = 200 / 3, np.log(6.4) / 27, 1000.0
    knee_mel = knee / hz_per_mel

    def to_mel(hz: float) -> float:
        return hz / hz_per_mel if hz < knee else knee_mel + float(np.log(hz / knee)) / log_step

    mels = np.linspace(to_mel(fmin), to_mel(fmax), n_mels + 2)
    above = knee * np.exp(log_step * np.maximum(mels - knee_mel, 0))
    return np.where(mels < knee_mel, mels * hz_per_mel, above)
