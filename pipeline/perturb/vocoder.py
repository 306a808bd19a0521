"""The phase vocoder: audio made faster or slower at the same pitch, as librosa 0.11 does it.

Of the STFT's frames, magnitudes are interpolated and phase advances added up. librosa adds them up
in single precision, where a phase soon counts millions of radians and is rounded to a sixteenth:
what it returns for float32 is as far from what it returns for float64 as two strangers, though
they sound alike. To equal it, sums are rounded here as there, and the analysis is by NumPy's FFT,
bit for bit.
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

_BLOCK = 32
"""Frames done at a time: what is computed of them stays in the cache."""

_WINDOW = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, N_FFT + 1)[:-1])
"""Hann's, periodic; as SciPy computes it, to the bit."""

_SQUARES = (_WINDOW**2).reshape(_OVERLAP, HOP)
_SYNTHESIS = (_WINDOW / np.tile(_SQUARES.sum(axis=0), _OVERLAP)).astype(np.float32)
"""The window over the sum of the squares of those that overlap."""

_ADVANCE = HOP * np.fft.rfftfreq(N_FFT, 1 / (2 * np.pi))
"""How far a bin's own frequency turns from frame to frame [rad], ``(1025,)``."""

_TURN = 2 * np.pi


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
    """

    magnitudes: npt.NDArray[np.float32]
    advances: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float32]

    @classmethod
    def of(cls, samples: Samples) -> Self:
        """Those of samples, with silence before and after: 1.5 times the size of their STFT."""
        n_frames = 1 + len(samples) // HOP
        padded = np.zeros((n_frames - 1) * HOP + N_FFT, np.float32)
        reached = samples[: len(padded) - N_FFT // 2]
        padded[N_FFT // 2 :][: len(reached)] = reached
        frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
        magnitudes = np.empty((n_frames + 1, _BINS), np.float32)
        magnitudes[-1] = 0
        advances = np.empty((n_frames, _BINS))
        first_phase = None
        phases = np.zeros((_BLOCK + 1, _BINS), np.float32)
        for first in range(0, n_frames, _BLOCK):
            spectra = np.fft.rfft(frames[first : first + _BLOCK] * _WINDOW)
            # Apart, in single precision as librosa has them: arctan2 is thrice as fast.
            real, imag = spectra.real.astype(np.float32), spectra.imag.astype(np.float32)
            last = len(real)
            np.arctan2(imag, real, out=phases[1 : last + 1])
            if first:
                _advance(phases[: last + 1], advances[first - 1 : first + last - 1])
            else:
                start = phases[1].copy()
                _advance(phases[1 : last + 1], advances[: last - 1])
            phases[0] = phases[last]
            real *= real
            imag *= imag
            real += imag
            np.sqrt(real, out=magnitudes[first : first + last])
        phases[1] = 0
        _advance(phases[:2], advances[-1:])
        return cls(magnitudes=magnitudes, advances=advances, phase=start)

    def stretched(self, rate: float, n_samples: int) -> Samples:
        """So many samples at `rate` times the speed, as `librosa.effects.time_stretch`."""
        steps = np.arange(0, len(self.advances), rate)[: -(-(n_samples + N_FFT // 2) // HOP)]
        overlapping = np.zeros((len(steps) + _OVERLAP - 1, HOP), np.float32)
        phases = np.empty((_BLOCK + 1, _BINS), np.float32)
        phases[0] = self.phase
        for first in range(0, len(steps), _BLOCK):
            block = steps[first : first + _BLOCK]
            columns = block.astype(np.int64)
            for place, column in enumerate(columns.tolist()):
                np.add(
                    phases[place], self.advances[column], out=phases[place + 1], casting="same_kind"
                )
            spectra = self._interpolated(columns, block - columns, phases[: len(block)])
            frames = np.fft.irfft(spectra).astype(np.float32, copy=False)
            frames *= _SYNTHESIS
            for part in range(_OVERLAP):
                place = first + part
                overlapping[place : place + len(block)] += frames[:, part * HOP : (part + 1) * HOP]
            phases[0] = phases[len(block)]
        _even_out(overlapping, len(steps))
        return overlapping.reshape(-1)[N_FFT // 2 :][:n_samples]

    def _interpolated(
        self,
        columns: npt.NDArray[np.int64],
        parts: npt.NDArray[np.float64],
        phases: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.complex64]:
        magnitudes = self.magnitudes[columns]
        further = self.magnitudes[columns + 1]
        further -= magnitudes
        further *= parts.astype(np.float32)[:, None]
        magnitudes += further
        # NumPy is fast at small angles only.
        turns = phases.astype(np.float64)
        turns *= 1 / _TURN
        turns -= np.rint(turns)
        turns *= _TURN
        angles = turns.astype(np.float32)
        spectra = np.empty(phases.shape, np.complex64)
        np.multiply(magnitudes, np.cos(angles), out=spectra.real)
        np.multiply(magnitudes, np.sin(angles), out=spectra.imag)
        return spectra


def _advance(phases: npt.NDArray[np.float32], out: npt.NDArray[np.float64]) -> None:
    """Advances between successive frames' phases, the nearest to that of the bin's own frequency."""
    np.subtract(phases[1:], phases[:-1], out=out)
    out -= _ADVANCE
    turns = out / _TURN
    np.rint(turns, out=turns)
    turns *= _TURN
    out -= turns
    out += _ADVANCE


def _even_out(overlapping: Samples, n_frames: int) -> None:
    """Make up for the windows that are missing in the sum at both ends."""
    whole = _SQUARES.sum(axis=0)
    for place in {2, n_frames, n_frames + 1, n_frames + 2}:
        if place < len(overlapping):
            there = _SQUARES[max(0, place - n_frames + 1) : place + 1].sum(axis=0)
            overlapping[place] *= np.divide(
                whole, there, out=np.ones(HOP), where=there > np.finfo(np.float32).tiny
            )
