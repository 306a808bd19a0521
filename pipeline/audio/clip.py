"""A decoded track to the stretch of it that becomes a row, at a sample rate."""

import dataclasses

import numpy as np
import soxr

from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import n_valid_frames
from pipeline.audio.stream import Samples

RESAMPLER = f"soxr {soxr.__version__} HQ"

FULL_SCALE = 1 - 2**-15
"""The largest sample of 16 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A stretch of a decoded track.

    Parameters
    ----------
    start : int
        Where it begins in the track [samples at the track's rate].
    n_valid : int
        Samples that are audio and not padding [samples at the track's rate].
    peak : float
        Largest magnitude of its samples; 1 is full scale.
    n_clipped : int
        Samples at full scale or beyond.
    source : Source
        What it is cut from.
    tile : int
        Which of the consecutive clips of its source it is, from 0.
    """

    start: int
    n_valid: int
    peak: float
    n_clipped: int
    source: "Source"
    tile: int = 0

    def n_valid_frames(self, sr: int, hop_length: int) -> int:
        """Frames at that rate and hop whose centre is audio; those of the overhang count too."""
        return n_valid_frames(self.n_valid, self.source.sr, sr, hop_length)

    def padded(self, sr: int, n_fft: int) -> Samples:
        """The clip's samples at a rate, with half a frame before and after.

        What lies beyond the source is silence, be it the rest of a short clip or the frames'
        overhang; a tile's overhang is its neighbours' audio.

        Returns
        -------
        samples : np.ndarray [shape=(window.n_samples(sr) + n_fft,), dtype=float32]
        """
        source, window = self.source.at(sr), self.source.window
        first = self.tile * window.stride(sr) - n_fft // 2
        length = window.n_samples(sr) + n_fft
        there = source[max(0, first) : first + length]
        before = max(0, -first)
        padded = np.zeros(length, np.float32)
        padded[before : before + len(there)] = there
        return padded


class Source:
    """Samples that are resampled as a whole, and cut into clips after that.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
    sr : int
        Their rate [Hz].
    window : Excerpt
    """

    def __init__(self, samples: Samples, sr: int, window: Excerpt) -> None:
        self.window = window
        self._samples = samples
        self.sr = sr
        self._resampled: dict[int, Samples] = {}

    def at(self, sr: int) -> Samples:
        """The samples at another rate."""
        if sr == self.sr:
            return self._samples
        if sr not in self._resampled:
            resampled = soxr.resample(self._samples, self.sr, sr, quality="HQ")
            if self.window.take != "all":
                # soxr rounds lengths its own way: a sample more or less at the end.
                resampled = resampled[: self.window.n_samples(sr)]
            self._resampled[sr] = resampled
        return self._resampled[sr]


class Cropper:
    """Cuts clips out of one track.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        The track, or what the window wants of it.
    sr : int
        Their rate [Hz].
    window : Excerpt
    first : int
        Where they begin in the track [samples].
    n_samples : int
        Length of the whole track; None if `samples` are all of it.
    """

    def __init__(
        self,
        samples: Samples,
        sr: int,
        window: Excerpt,
        *,
        first: int = 0,
        n_samples: int | None = None,
    ) -> None:
        self._window = window
        self._stride = window.stride(sr)
        self._n_samples = len(samples) if n_samples is None else n_samples
        self._seconds = self._n_samples / sr
        self._first, length = window.stretch(self._n_samples, sr)
        self._samples = samples[self._first - first : self._first - first + length]
        self._source = Source(self._samples, sr, window)

    def clip(self, tile: int = 0) -> Clip:
        """One of the track's clips.

        Raises
        ------
        AudioError
            ``TooShort``, if the track is shorter than the window and the window says to skip
            such, or if it ends before the tile begins.
        """
        start = tile * self._stride
        n_valid = min(self._stride, len(self._samples) - start)
        if n_valid < 1 or (n_valid < self._stride and self._window.short == "skip"):
            needed = (tile + 1) * self._window.duration
            raise AudioError("TooShort", f"{self._seconds:.2f} s of {needed:g} s")
        samples = self._samples[start : start + n_valid]
        peak = float(max(samples.max(), -samples.min()))
        beyond = np.abs(samples) >= FULL_SCALE if peak >= FULL_SCALE else ()
        return Clip(
            start=self._first + start,
            n_valid=n_valid,
            peak=peak,
            n_clipped=int(np.count_nonzero(beyond)),
            source=self._source,
            tile=tile,
        )
