"""Mel maths that all backends share: what is asked of them, filter banks, amplitude laws."""

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import FeatureSpec, Log, Window, mel_edges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bank:
    """Triangular filters on Slaney's mel scale: `n_mels` from `fmin` to `fmax` [Hz]."""

    n_mels: int
    fmin: float
    fmax: float

    @classmethod
    def of(cls, spec: FeatureSpec) -> Self:
        """The bank that a spec asks for."""
        fmax = spec.sr / 2 if spec.fmax is None else spec.fmax
        return cls(n_mels=spec.n_mels, fmin=spec.fmin, fmax=fmax)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """One spectrogram, and the banks to apply to it.

    Parameters
    ----------
    sr : int
        [Hz]
    n_fft, hop_length : int
        [samples]
    window : {'hann', 'hann-symmetric'}
    banks : tuple of Bank
        Stacked in this order in what a backend returns.
    """

    sr: int
    n_fft: int
    hop_length: int
    window: Window
    banks: tuple[Bank, ...]

    @classmethod
    def of(cls, spec: FeatureSpec) -> Self:
        """What a spec alone is cut from."""
        return cls(
            sr=spec.sr,
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            window=spec.window,
            banks=(Bank.of(spec),),
        )

    def n_frames(self, n_samples: int) -> int:
        """Whole frames in `n_samples` samples, overhang among them."""
        return 1 + (n_samples - self.n_fft) // self.hop_length

    def rows(self, bank: Bank) -> slice:
        """Where a bank's bands lie among all banks'."""
        start = sum(b.n_mels for b in self.banks[: self.banks.index(bank)])
        return slice(start, start + bank.n_mels)

    def window_values(self) -> npt.NDArray[np.float64]:
        """The window, ``(n_fft,)``."""
        if self.window == "hann-symmetric":
            return np.hanning(self.n_fft)
        return np.hanning(self.n_fft + 1)[:-1]

    def filters(self) -> npt.NDArray[np.float64]:
        """All banks' filters, ``(sum of n_mels, 1 + n_fft // 2)``, as `librosa.filters.mel`.

        Triangles between neighbouring edges, of the same area: scaled by 2 over their width
        (Slaney, *Auditory Toolbox*, 1998).
        """
        bins = np.fft.rfftfreq(self.n_fft, 1 / self.sr).astype(np.float64)
        return np.concatenate([_triangles(bank, bins) for bank in self.banks])


def amplitude(power: npt.NDArray[np.float32], log: Log) -> npt.NDArray[np.float32]:
    """Amplitude law of mel power P: ``10 log10(max(P, 1e-10))`` or ``log10(1 + 10000 P)``."""
    if log == "db":
        values = np.maximum(power, np.float32(1e-10))
        np.log10(values, out=values)
        values *= 10
    else:
        values = power * np.float32(1e4)
        values += 1
        np.log10(values, out=values)
    return values


def power(values: npt.NDArray[np.float32], log: Log) -> npt.NDArray[np.float64]:
    """Mel power of `amplitude`'s values: its inverse, but for what lay below 1e-10 in ``db``."""
    exponent = values * np.float64(np.log(10) / (10 if log == "db" else 1))
    if log == "db":
        return np.exp(exponent)
    return np.maximum(np.expm1(exponent) / 1e4, 0)  # encodings round a little below 0, too


def _triangles(bank: Bank, bins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    edges = mel_edges(bank.n_mels, bank.fmin, bank.fmax)
    lower, centre, upper = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
