"""Sounds to perturb: music, and what is awkward for a phase vocoder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from pipeline.demo.synth import pluck

REALMUSIC = Path(__file__).parents[4] / "shared" / "data" / "realmusic" / "audio"

Signal = npt.NDArray[np.float32]


def _noise(n: int) -> Signal:
    return np.random.default_rng(1).uniform(-1, 1, n).astype(np.float32)


def _plucked(sr: int) -> Signal:
    strings = [pluck(hz, 0.25, sr, np.random.default_rng(2)) for hz in (110, 311, 98, 659)]
    return np.concatenate(strings).astype(np.float32)


def _quarter_tone(n: int) -> Signal:
    """Zero in all bins but few, then noise: the phases of the zeros count."""
    tone: Signal = np.tile(np.float32([0, 1, 0, -1]), n // 8)
    return np.concatenate([tone, 0.3 * _noise(n // 2)])


SIGNALS: dict[str, Callable[[int], Signal]] = {
    "plucked strings": _plucked,
    "noise": _noise,
    "faint noise": lambda sr: np.float32(1e-5) * _noise(sr),
    "silence": lambda sr: np.zeros(sr, np.float32),
    "silence, then noise": lambda sr: np.pad(_noise(sr // 2), (sr // 2, 0)),
    "full-scale sine": lambda sr: np.sin(2 * np.pi * 997 / sr * np.arange(sr)).astype(np.float32),
    "a quarter of the rate, then noise": _quarter_tone,
    "square": lambda sr: np.sign(np.sin(2 * np.pi * 440 / sr * np.arange(sr))).astype(np.float32),
    "DC": lambda sr: np.ones(sr, np.float32),
    "click": lambda sr: np.eye(1, sr, sr // 2 + 77, dtype=np.float32)[0],
    "shorter than a frame": lambda sr: _noise(700),
    "shorter than a hop": lambda sr: _noise(100),
    "two samples": lambda sr: np.float32([0.5, -1]),
    "one sample": lambda sr: np.ones(1, np.float32),
}
"""A second of each at a sample rate, or less."""


@pytest.fixture(params=SIGNALS)
def signal(request: pytest.FixtureRequest) -> Callable[[int], Signal]:
    """Of a sample rate, the signal's float32 samples."""
    return SIGNALS[request.param]


@pytest.fixture(scope="session")
def music() -> Signal:
    """29.1 s of real music at 16 kHz."""
    if not REALMUSIC.is_dir():
        pytest.skip(f"there is no {REALMUSIC}")
    samples, sr = soundfile.read(min(REALMUSIC.glob("*.mp3")), dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), sr, 16000)[:465_600]


@pytest.fixture(scope="session")
def noise() -> Signal:
    """29.1 s of white noise at 16 kHz."""
    return _noise(465_600)
