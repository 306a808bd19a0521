"""The phase vocoder: audio made faster or slower at the same pitch, as librosa 0.11 does it.

From frame to frame of the STFT, magnitudes are interpolated, and advances of the phase added up.
librosa adds them up in float32: after some seconds a phase is a million radians, and is rounded to
a sixteenth of one. So what librosa makes of float32 samples is not near what it makes of the same
samples in float64: the rms of the difference is 2 to 6 % of the rms of music, and up to 36 % of
that of noise. To equal librosa on float32, sums are rounded here as there, and what they are taken
of is the same to the bit: hence NumPy's FFT, in double precision, and quotients as librosa has
them.
"""

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.audio.stream import Samples

N_FFT = 2048
HOP = N_FFT // 4
_BINS = N_FFT // 2 + 1
_OVERLAP = N_FFT // HOP

_BLOCK = 48
"""Frames done at a time: what is computed of them stays in the cache."""

_WINDOW = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, N_FFT + 1)[:-1])
"""Hann's, periodic; as SciPy computes it, to the bit."""

_SQUARES = (_WINDOW**2).reshape(_OVERLAP, HOP)
_SYNTHESIS = (_WINDOW / np.tile(_SQUARES.sum(axis=0), _OVERLAP)).astype(np.float32)
"""The window over the sum of the squares of those that overlap."""

_ADVANCE = HOP * np.fft.rfftfreq(N_FFT, 1 / (2 * np.pi))
"""How far a bin's own frequency turns from frame to frame [rad], ``(1025,)``."""

_TURN = 2 * np.pi

_QUIET = np.errstate(over="ignore", invalid="ignore")
"""What is not finite, or overflows, gives what is not finite, without a warning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectra:
    """What the phase vocoder needs of samples, whatever the rate.

    Parameters
    ----------
    magnitudes : np.ndarray [shape=(n_frames + 1, 1025), dtype=float32]
        Zero in the last one.
    advances : np.ndarray [shape=(n_frames, 1025), dtype=float64]
        How far the phase turns to the next frame [rad].
    phase : np.ndarray [shape=(1025,), dtype=float32]
        Of the first frame [rad].
    n_samples : int
        Length of what they were computed of.
    """

    magnitudes: npt.NDArray[np.float32]
    advances: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float32]
    n_samples: int

    @classmethod
    @_QUIET
    def of(cls, samples: Samples) -> Self:
        """Those of samples, with silence before and after: 1.5 times the size of their STFT."""
        n_frames = 1 + len(samples) // HOP
        magnitudes = np.zeros((n_frames + 1, _BINS), np.float32)
        advances = np.empty((n_frames, _BINS))
        phases = np.zeros((_BLOCK + 1, _BINS), np.float32)
        framed = np.empty((_BLOCK, N_FFT))
        for first in range(0, n_frames, _BLOCK):
            n = min(_BLOCK, n_frames - first)
            _frame(samples, first * HOP - N_FFT // 2, framed[:n])
            # In double precision, then rounded: librosa's values to the bit.
            spectra = np.fft.rfft(framed[:n]).astype(np.complex64)
            np.abs(spectra, out=magnitudes[first : first + n])
            # Copied, since NumPy is thrice as fast where numbers lie side by side.
            np.arctan2(spectra.imag.copy(), spectra.real.copy(), out=phases[1 : n + 1])
            if first == 0:
                start = phases[1].copy()
                _advance(phases[1 : n + 1], advances[: n - 1])
            else:
                _advance(phases[: n + 1], advances[first - 1 : first + n - 1])
            phases[0] = phases[n]
        phases[1] = 0
        _advance(phases[:2], advances[-1:])
        return cls(magnitudes=magnitudes, advances=advances, phase=start, n_samples=len(samples))

    @_QUIET
    def stretched(self, rate: float) -> Samples:
        """The samples at `rate` times the speed, as `librosa.effects.time_stretch`.

        They are ``n_samples / rate``, rounded; a half to the even number.
        """
        n_samples = round(self.n_samples / rate)
        n_frames = -(-(n_samples + N_FFT // 2) // HOP)
        steps = np.arange(0, len(self.advances), rate)[:n_frames]
        overlapping = np.zeros((len(steps) + _OVERLAP - 1, HOP), np.float32)
        phases = np.empty((_BLOCK + 1, _BINS), np.float32)
        phases[0] = self.phase
        for first in range(0, len(steps), _BLOCK):
            block = steps[first : first + _BLOCK]
            n = len(block)
            columns = block.astype(np.int64)
            for before, advance, after in zip(
                phases, self.advances[columns], phases[1:], strict=False
            ):
                advance += before
                after[...] = advance
            spectra = _phasors(self._magnitudes(columns, block - columns), phases[:n])
            phases[0] = phases[n]
            frames = np.fft.irfft(spectra).astype(np.float32, copy=False)
            frames *= _SYNTHESIS
            for part in range(_OVERLAP):
                overlapping[first + part :][:n] += frames[:, part * HOP : (part + 1) * HOP]
        _even_out(overlapping, len(steps))
        return overlapping.reshape(-1)[N_FFT // 2 :][:n_samples]

    def _magnitudes(
        self, columns: npt.NDArray[np.int64], parts: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """Magnitudes so far on the way from a frame to the next."""
        magnitudes = self.magnitudes[columns]
        further = self.magnitudes[columns + 1]
        further -= magnitudes
        further *= parts.astype(np.float32)[:, None]
        magnitudes += further
        return magnitudes


def _frame(samples: Samples, start: int, out: npt.NDArray[np.float64]) -> None:
    """Windowed frames ``(n_frames, 2048)`` from a place on, with silence before and after."""
    n_blocks = len(out) + _OVERLAP - 1
    blocks = np.zeros((n_blocks, HOP))
    reached = samples[max(0, start) : max(0, start + n_blocks * HOP)]
    blocks.reshape(-1)[max(0, -start) :][: len(reached)] = reached
    for part, window in enumerate(_WINDOW.reshape(_OVERLAP, HOP)):
        np.multiply(
            blocks[part : part + len(out)], window, out=out[:, part * HOP : (part + 1) * HOP]
        )


def _advance(phases: npt.NDArray[np.float32], out: npt.NDArray[np.float64]) -> None:
    """From each frame's phase to the next one's, the way nearest to the bin's own frequency."""
    np.subtract(phases[1:], phases[:-1], out=out)
    turns = out - _ADVANCE
    # Divided, and not multiplied by the inverse: after silence, it is often half a turn to the bit.
    turns /= _TURN
    np.rint(turns, out=turns)
    turns *= _TURN
    out -= turns


def _phasors(
    magnitudes: npt.NDArray[np.float32], phases: npt.NDArray[np.float32]
) -> npt.NDArray[np.complex64]:
    # Whole turns are taken off in double precision: NumPy's cosine is slow at large angles.
    turns = phases.astype(np.float64)
    turns *= 1 / _TURN
    turns -= np.rint(turns)
    turns *= _TURN
    angles = turns.astype(np.float32)
    phasors = np.empty(phases.shape, np.complex64)
    np.multiply(magnitudes, np.cos(angles), out=phasors.real)
    np.multiply(magnitudes, np.sin(angles), out=phasors.imag)
    return phasors


def _even_out(overlapping: Samples, n_frames: int) -> None:
    """Make up for the windows that are missing in the sum at both ends."""
    whole = _SQUARES.sum(axis=0)
    for place in {2, n_frames, n_frames + 1, n_frames + 2}:
        if place < len(overlapping):
            there = _SQUARES[max(0, place - n_frames + 1) : place + 1].sum(axis=0)
            overlapping[place] *= np.divide(
                whole, there, out=np.ones(HOP), where=there > np.finfo(np.float32).tiny
            )
