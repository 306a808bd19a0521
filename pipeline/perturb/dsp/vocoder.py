"""The phase vocoder: audio made faster or slower at the same pitch, as librosa 0.11 does it.

From frame to frame of the STFT, magnitudes are interpolated, and advances of the phase added up.
librosa adds them up in float32: after some seconds a phase is a million radians, and is rounded to
a sixteenth of one. So what librosa makes of float32 samples is not near what it makes of the same
samples in float64: the rms of the difference is 2 to 6 % of the rms of music, and up to 36 % of
that of noise. To equal librosa on float32, sums are rounded here as there, and what they are taken
of is the same to the bit: hence NumPy's arc tangent, quotients as librosa has them, and transforms
in double precision. Rounded to single, those are NumPy's; but for numbers that are next to nothing
beside others of their frame. There the rounding of its own FFT decides on a phase, and NumPy's is
asked: for silence, constants, clicks, and what else no microphone hears.
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
_SYNTHESIS = _WINDOW / np.tile(_SQUARES.sum(axis=0), _OVERLAP)
"""The window over the sum of the squares of those that overlap."""

_FAINT, _NOTHING = 1e-9, 1e-13
"""A frame is left to NumPy's FFT if a magnitude, or a real or imaginary part, is a smaller part of
its largest magnitude."""

_QUIET = np.errstate(over="ignore", invalid="ignore")
"""What is not finite, or overflows, gives what is not finite, without a warning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectra:
    """What the phase vocoder needs of samples, whatever the rate.

    Parameters
    ----------
    magnitudes : np.ndarray [shape=(n_frames + 1, 1028), dtype=float32]
        By frame and bin, of which there are 1025. Zero in the last frame.
    advances : np.ndarray [shape=(n_frames, 1028), dtype=float64]
        How far the phase turns to the next frame [rad].
    phase : np.ndarray [shape=(1028,), dtype=float32]
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
        from pipeline.kernels import vocoder
        from pipeline.kernels.angles import angles

        n_frames = 1 + len(samples) // HOP
        padded = np.zeros((n_frames + _BLOCK - 1) * HOP + N_FFT, np.float32)
        padded[N_FFT // 2 :][: len(samples)] = samples
        shape = _BLOCK, vocoder.COLUMNS
        real, imaginary = np.empty(shape, np.float32), np.empty(shape, np.float32)
        extremes = np.empty((_BLOCK, 3), np.float32)
        magnitudes = np.zeros((n_frames + 1, vocoder.COLUMNS), np.float32)
        advances = np.empty((n_frames, vocoder.COLUMNS))
        phases = np.zeros((_BLOCK + 1, vocoder.COLUMNS), np.float32)
        for first in range(0, n_frames, _BLOCK):
            n = min(_BLOCK, n_frames - first)
            vocoder.spectra(padded[first * HOP :], _WINDOW, real, imaginary)
            block = magnitudes[first : first + n]
            vocoder.magnitudes(real[:n], imaginary[:n], block, extremes[:n])
            largest, faintest, least = extremes[:n].T
            sound = (faintest > _FAINT * largest) & (least > _NOTHING * largest)
            for frame in np.flatnonzero(~sound):  # by NumPy, whose rounding it is that counts
                begin = (first + frame) * HOP
                spectrum = np.fft.rfft(padded[begin : begin + N_FFT] * _WINDOW)
                real[frame, :_BINS] = spectrum.real
                imaginary[frame, :_BINS] = spectrum.imag
                # NumPy's, too, keeps what is too faint to be squared.
                np.abs(spectrum.astype(np.complex64), out=block[frame, :_BINS])
            angles(imaginary[:n], real[:n], phases[1 : n + 1])
            if first == 0:
                start = phases[1].copy()
                vocoder.advances(phases[1 : n + 1], advances[: n - 1])
            else:
                vocoder.advances(phases[: n + 1], advances[first - 1 : first + n - 1])
            phases[0] = phases[n]
        phases[1] = 0
        vocoder.advances(phases[:2], advances[-1:])
        return cls(magnitudes=magnitudes, advances=advances, phase=start, n_samples=len(samples))

    def stretched(self, rate: float) -> Samples:
        """The samples at `rate` times the speed, as `librosa.effects.time_stretch`.

        They are ``n_samples / rate``, rounded; a half to the even number.
        """
        from pipeline.kernels import vocoder

        n_samples = round(self.n_samples / rate)
        n_frames = -(-(n_samples + N_FFT // 2) // HOP)
        steps = np.arange(0, len(self.advances), rate)[:n_frames]
        columns = steps.astype(np.int64)
        overlapping = np.zeros((len(steps) + 2 * _OVERLAP - 2, HOP), np.float32)
        vocoder.frames(
            self.magnitudes,
            self.advances,
            self.phase.copy(),
            columns,
            (steps - columns).astype(np.float32),
            _SYNTHESIS,
            overlapping.reshape(-1),
        )
        _even_out(overlapping, len(steps))
        return overlapping.reshape(-1)[N_FFT // 2 :][:n_samples]


def _even_out(overlapping: Samples, n_frames: int) -> None:
    """Make up for the windows that are missing in the sum at both ends."""
    whole = _SQUARES.sum(axis=0)
    for place in {2, n_frames, n_frames + 1, n_frames + 2}:
        if place < len(overlapping):
            there = _SQUARES[max(0, place - n_frames + 1) : place + 1].sum(axis=0)
            overlapping[place] *= np.divide(
                whole, there, out=np.ones(HOP), where=there > np.finfo(np.float32).tiny
            )
