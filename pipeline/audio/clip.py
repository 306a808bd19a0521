"""A decoded track to the stretch of it that becomes a row, at a sample rate."""

import dataclasses
import math

import numpy as np
import soxr

from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
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
    n_track : int
        Samples of the whole track [samples at its rate].
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
    n_track: int
    peak: float
    n_clipped: int
    source: "Source"
    tile: int = 0

    @property
    def n_following(self) -> int:
        """Samples of the track that follow the clip [samples at the track's rate]."""
        return max(0, self.n_track - self.start - self.n_valid)

    def padded(self, sr: int, n_fft: int) -> Samples:
        """The clip's samples at a rate, with half a frame before and after.

        What lies beyond the source is silence, be it the rest of a short clip or the frames'
        overhang; a tile's overhang is its neighbours' audio.

        Returns
        -------
        samples : np.ndarray [shape=(window.n_samples(sr) + n_fft,), dtype=float32]
        """
        return self.samples(sr, -(n_fft // 2), self.source.window.n_samples(sr) + n_fft)

    def samples(self, sr: int, first: int, length: int) -> Samples:
        """So many samples at a rate from the clip's own `first` on; see `padded`."""
        source = self.source.at(sr)
        first += self.tile * self.source.window.stride(sr)
        there = source[max(0, first) : first + length]
        before = max(0, -first)
        padded = np.zeros(length, np.float32)
        padded[before : before + len(there)] = there
        return padded

    def audio(self, sr: int, n_samples: int) -> Samples:
        """The clip's audio at a rate, without padding: so many samples, fewer at the track's end.

        What follows the clip is there as far as it was read, see `Cropper`.
        """
        if n_samples > self.source.window.stride(sr) and self.source.has_following:
            return self.source.first(sr, n_samples)
        first = self.tile * self.source.window.stride(sr)
        return self.source.at(sr)[first : first + n_samples]


class Source:
    """Samples that are resampled as a whole, and cut into clips after that.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
    sr : int
        Their rate [Hz].
    window : Excerpt
    following : np.ndarray [shape=(n_following,), dtype=float32]
        What is known of the track after them.
    """

    def __init__(self, samples: Samples, sr: int, window: Excerpt, following: Samples) -> None:
        self.window = window
        self._samples = samples
        self._following = following
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

    @property
    def has_following(self) -> bool:
        """Return whether something is known of the track after the samples."""
        return len(self._following) > 0

    def first(self, sr: int, n_samples: int) -> Samples:
        """The first `n_samples`, of the samples and of what follows them, at another rate.

        Resampled apart, so that the samples' own are the same bits whatever follows, and these
        are the same however much is known.
        """
        longer = np.concatenate([self._samples, self._following])
        longer = longer[: math.ceil(n_samples * self.sr / sr)]
        if sr != self.sr:
            longer = soxr.resample(longer, self.sr, sr, quality="HQ")
        return longer[:n_samples]


class Cropper:
    """Cuts clips out of one track.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        The track, or what the window wants of it, and what follows.
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
        begin = self._first - first
        self._samples = samples[begin : begin + length]
        self._source = Source(self._samples, sr, window, samples[begin + length :])

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
            n_track=self._n_samples,
            peak=peak,
            n_clipped=int(np.count_nonzero(beyond)),
            source=self._source,
            tile=tile,
        )
