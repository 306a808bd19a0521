"""A decoded track to the stretch of it that becomes a row, at a sample rate."""

import dataclasses

import numpy as np
import numpy.typing as npt
import soxr

from featurestore.errors import AudioError
from featurestore.window import ClipWindow

RESAMPLER = f"soxr {soxr.__version__} HQ"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A stretch of a decoded track, at the track's own rate.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_valid,), dtype=float32]
    sr : int
        Sample rate [Hz].
    start : int
        Where it begins in the track [samples].
    window : ClipWindow
    """

    samples: npt.NDArray[np.float32]
    sr: int
    start: int
    window: ClipWindow

    def at(self, sr: int) -> npt.NDArray[np.float32]:
        """The clip at another rate, padded with silence to ``window.n_samples(sr)``."""
        samples = self.samples
        if sr != self.sr:
            samples = soxr.resample(samples, self.sr, sr, quality="HQ")
        n_samples = self.window.n_samples(sr)
        # soxr rounds lengths its own way: a sample more or less at the end.
        return np.pad(samples[:n_samples], (0, max(0, n_samples - len(samples))))


def crop(samples: npt.NDArray[np.float32], sr: int, window: ClipWindow) -> Clip:
    """Cut the clip out of a track.

    Raises
    ------
    AudioError
        ``TooShort``, if the track is shorter than the window and the window says to skip such.
    """
    n_samples = window.n_samples(sr)
    if len(samples) < n_samples and window.short == "skip":
        raise AudioError("TooShort", f"{len(samples) / sr:.2f} s of {window.duration:g} s")
    surplus = max(0, len(samples) - n_samples)
    start = surplus // 2 if window.take == "center" else 0
    return Clip(samples=samples[start : start + n_samples], sr=sr, start=start, window=window)
