"""What backends are asked for: an STFT, and the mel filter banks to apply to it."""

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import FeatureSpec, Norm, Window, mel_edges


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterBank:
    """Triangular filters: `n_mels` from `fmin` to `fmax` [Hz]; the rest as in `FeatureSpec`."""

    n_mels: int
    fmin: float
    fmax: float
    htk: bool = False
    norm: Norm = "slaney"

    @classmethod
    def of(cls, spec: FeatureSpec) -> Self:
        """Filter bank of a spec."""
        fmax = spec.sr / 2 if spec.fmax is None else spec.fmax
        return cls(n_mels=spec.n_mels, fmin=spec.fmin, fmax=fmax, htk=spec.htk, norm=spec.norm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedStft:
    """One STFT, and the filter banks of all the specs that share it.

    Parameters
    ----------
    sr : int
        [Hz]
    n_fft, hop_length : int
        [samples]
    window : {'hann', 'hann-symmetric'}
    banks : tuple of FilterBank
        Stacked in this order in what a backend returns.
    win_length : int, optional
        Length of the window, which zeros fill up to `n_fft` [samples]. None is `n_fft`.
    bins : bool
        Whether the power of all bins is asked for, too.
    """

    sr: int
    n_fft: int
    hop_length: int
    window: Window
    banks: tuple[FilterBank, ...]
    win_length: int | None = None
    bins: bool = False

    @classmethod
    def of(cls, spec: FeatureSpec) -> Self:
        """The STFT of one spec alone."""
        return cls(
            sr=spec.sr,
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            window=spec.window,
            win_length=spec.win_length,
            banks=(FilterBank.of(spec),),
        )

    def n_frames(self, n_samples: int) -> int:
        """Whole frames in `n_samples` samples, overhang among them."""
        return 1 + (n_samples - self.n_fft) // self.hop_length

    def rows(self, bank: FilterBank) -> slice:
        """Rows of a bank's bands among those of all banks."""
        start = sum(b.n_mels for b in self.banks[: self.banks.index(bank)])
        return slice(start, start + bank.n_mels)

    def window_values(self) -> npt.NDArray[np.float64]:
        """The window, centred among zeros, ``(n_fft,)``."""
        length = self.win_length or self.n_fft
        if self.window == "hann-symmetric":
            window = np.hanning(length)
        else:
            window = np.hanning(length + 1)[:-1]
        before = (self.n_fft - length) // 2  # the shorter half, as librosa and PyTorch have it
        return np.pad(window, (before, self.n_fft - length - before))

    def filters(self) -> npt.NDArray[np.float64]:
        """All banks' filters, ``(sum of n_mels, 1 + n_fft // 2)``, as `librosa.filters.mel`.

        Triangles between neighbouring edges, 1 high; or of the same area: scaled by 2 over their
        width (Slaney, *Auditory Toolbox*, 1998).
        """
        bins = np.fft.rfftfreq(self.n_fft, 1 / self.sr).astype(np.float64)
        return np.concatenate(
            [np.empty((0, len(bins))), *(_triangles(bank, bins) for bank in self.banks)]
        )


def _triangles(bank: FilterBank, bins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    edges = mel_edges(bank.n_mels, bank.fmin, bank.fmax, htk=bank.htk)
    lower, centre, upper = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return triangles if bank.norm is None else triangles * 2 / (upper - lower)
