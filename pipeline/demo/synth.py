"""Instruments made of arithmetic, for a corpus whose truth is known.

Each function plays one note, stroke or line: mono float32, ``(n,)``, finite, its peak at most 1.
Chance comes only from the generator that is passed in, so that the same generator plays the same
note. Nothing here calls BLAS or an FFT: it runs in one thread, whatever the process allows.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

Audio = npt.NDArray[np.float32]

VOWELS = {"a": (730, 1090, 2440), "e": (530, 1840, 2480), "o": (570, 840, 2410)}
"""Formants [Hz] of a man's vowels: Peterson and Barney, *JASA* 24, 1952."""

BELL = (
    *((0.56, 1.0), (0.92, 1.8), (1.19, 2.67), (1.7, 1.67), (2.0, 1.46)),
    *((2.74, 1.33), (3.0, 1.33), (3.76, 1.0), (4.07, 1.33)),
)
"""Frequency ratios and amplitudes of a bell's partials, the stronger one of those that come in
pairs: Risset, *An Introductory Catalogue of Computer Synthesized Sounds*, 1969."""

_TABLE = 4096  # points in a period: the error of taking the nearest one is 60 dB down


def midi_to_hz(note: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequency [Hz] of MIDI note numbers, equal temperament, A4 (69) at 440 Hz."""
    return np.asarray(440.0 * 2.0 ** ((np.asarray(note, np.float64) - 69) / 12))


def oscillator(
    frequency: npt.NDArray[np.floating[Any]], harmonics: Sequence[float], sr: int, phase: float = 0
) -> Audio:
    """Read a waveform from a table at a frequency that may move.

    Parameters
    ----------
    frequency : np.ndarray [shape=(n,)]
        Fundamental at each sample [Hz].
    harmonics : sequence of float
        Amplitude of each harmonic from the fundamental up; those that would pass ``sr / 2`` at
        the highest frequency are left out.
    sr : int
        Sample rate [Hz].
    phase : float
        Where in the period to begin, 0 to 1.

    Returns
    -------
    np.ndarray [shape=(n,), dtype=float32]
        Its peak is at most 1.
    """
    below_nyquist = harmonics[: int(sr / 2 / frequency.max())]
    position = (phase + np.cumsum(frequency / sr)) * _TABLE
    return _period(tuple(below_nyquist))[position.astype(np.int64) % _TABLE]


@functools.lru_cache(maxsize=64)
def _period(harmonics: tuple[float, ...]) -> Audio:
    cycle = np.arange(_TABLE) * (2 * np.pi / _TABLE)
    table = np.zeros(_TABLE)
    for number, amplitude in enumerate(harmonics, 1):
        table += amplitude * np.sin(number * cycle)
    return _to_peak_1(table)


def unison(
    frequency: npt.NDArray[np.floating[Any]],
    harmonics: Sequence[float],
    cents: Sequence[float],
    sr: int,
    rng: np.random.Generator,
) -> Audio:
    """Play one line with several players, each off by its own `cents`.

    Two players beat at the difference of their frequencies. See `oscillator` for the rest.
    """
    players = [
        oscillator(frequency * 2 ** (off / 1200), harmonics, sr, rng.random()) for off in cents
    ]
    return np.asarray(np.mean(players, axis=0, dtype=np.float32))


def tremolo(n: int, rate: float, depth: float, sr: int) -> Audio:
    """Gain that swings between 1 and ``1 - depth``, `rate` times a second, ``(n,)``."""
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * rate / sr * np.arange(n))
    return np.asarray(1 - depth * swing, np.float32)


def pluck(frequency: float, seconds: float, sr: int, rng: np.random.Generator) -> Audio:
    """Pluck a string of `frequency` [Hz], as Karplus and Strong did.

    A burst of noise runs round a delay line through a two-point mean and an all-pass that makes
    up the fraction of a sample by which the period misses a whole number: Jaffe and Smith,
    *Computer Music Journal* 7(2), 1983. The loop is one recursive filter.
    """
    period = sr / frequency - 0.5  # the mean delays by half a sample
    whole = int(period - 0.1)  # leaves the all-pass 0.1 to 1.1 samples, where it is well-behaved
    c = (1 - (period - whole)) / (1 + (period - whole))
    loss = 0.5 * 0.001 ** (1 / (frequency * 3.0))  # 60 dB down after 3 s, were there no mean
    feedback = np.zeros(whole + 3)
    feedback[:2] = 1, c
    feedback[whole:] -= np.convolve((loss, loss), (c, 1))
    burst = np.zeros(round(seconds * sr))
    burst[: whole + 1] = rng.uniform(-1, 1, whole + 1)
    return _note(lfilter((1, c), feedback, burst), sr)


def bell(frequency: float, seconds: float, sr: int) -> Audio:
    """Strike a bell; high partials die first."""
    t = np.arange(round(seconds * sr)) / sr
    partials = [
        amplitude * np.exp(-t * 3 * ratio**0.5) * np.sin(2 * np.pi * ratio * frequency * t)
        for ratio, amplitude in BELL
        if ratio * frequency < sr / 2
    ]
    return _note(np.sum(partials, axis=0), sr)


def sing(frequency: float, seconds: float, vowel: str, sr: int, rng: np.random.Generator) -> Audio:
    """Sing one of `VOWELS` with a vibrato of about 40 cents, five to six times a second."""
    n = round(seconds * sr)
    t = np.arange(n) / sr
    vibrato = 40 * np.sin(2 * np.pi * (rng.uniform(5, 6) * t + rng.random()))
    glottis = oscillator(frequency * 2 ** (vibrato / 1200), [1 / h for h in range(1, 40)], sr)
    sung = np.zeros(n)
    for formant, gain in zip(VOWELS[vowel], (1, 0.6, 0.3), strict=True):
        radius = np.exp(-np.pi * 90 / sr)  # 90 Hz wide
        poles = (1, -2 * radius * np.cos(2 * np.pi * formant / sr), radius**2)
        sung += gain * lfilter((1 - radius, 0, radius - 1), poles, glottis)
    return _note(sung * np.minimum(1, t / 0.06), sr)


def bass(frequency: float, seconds: float, sr: int) -> Audio:
    """Play a bass note: a few low harmonics that fade in half a second."""
    n = round(seconds * sr)
    tone = oscillator(np.full(n, frequency), (1, 0.6, 0.3, 0.15), sr)
    return _note(tone * np.exp(-np.arange(n) / (0.5 * sr)), sr)


def kick(sr: int) -> Audio:
    """Beat a bass drum: a sine that falls from 170 Hz to 50 Hz."""
    t = np.arange(round(0.3 * sr)) / sr
    sweep = oscillator(50 + 120 * np.exp(-t / 0.03), (1,), sr)
    return _note(sweep * np.exp(-t / 0.09), sr)


def snare(sr: int, rng: np.random.Generator) -> Audio:
    """Beat a snare drum: noise and a tone at 190 Hz."""
    t = np.arange(round(0.25 * sr)) / sr
    noise = rng.uniform(-1, 1, len(t)) * np.exp(-t / 0.06)
    return _note(noise + 0.7 * np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.04), sr)


def shake(n: int, rate: float, depth: float, sr: int, rng: np.random.Generator) -> Audio:
    """Swing a shaker: bright noise with a `tremolo`, ``(n,)``."""
    return _to_peak_1(np.diff(rng.uniform(-1, 1, n + 1)) * tremolo(n, rate, depth, sr))


def _note(audio: npt.NDArray[np.floating[Any]], sr: int) -> Audio:
    """Bring the peak to 1, with the last 5 ms faded out so that the end does not click."""
    return _to_peak_1(audio * np.minimum(1, np.arange(len(audio), 0, -1) / (0.005 * sr)))


def _to_peak_1(audio: npt.NDArray[np.floating[Any]]) -> Audio:
    return np.asarray(audio / max(np.abs(audio).max(), 1e-12), np.float32)
