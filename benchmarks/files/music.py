"""Seeded material that behaves like music: notes with overtones, noise, rests, quiet ends."""

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Music:
    """What is encoded.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples, n_channels), dtype=float64]
        Within ±0.9.
    sr : int
        [Hz]
    """

    samples: npt.NDArray[np.float64]
    sr: int

    @property
    def n_samples(self) -> int:
        """Length [samples]."""
        return len(self.samples)

    @property
    def n_channels(self) -> int:
        """Channels."""
        return self.samples.shape[1]

    @property
    def seconds(self) -> float:
        """Length [s]."""
        return self.n_samples / self.sr


def compose(
    rng: np.random.Generator, seconds: float, sr: int, n_channels: int, *, quiet_end: bool = False
) -> Music:
    """Compose some music.

    Parameters
    ----------
    rng : np.random.Generator
    seconds : float
        Length [s]; the number of samples is drawn near it, so that it is odd as often as even.
    sr : int
        [Hz]
    n_channels : int
        Each differs from the others.
    quiet_end : bool
        Whether the last two fifths fade away, where VBR encoders spend few bits: a guess of the
        length from the first frames is then far off.
    """
    n_samples = round(seconds * sr) + int(rng.integers(-50, 50))
    time = np.arange(n_samples) / sr
    samples = np.zeros((n_samples, n_channels))
    for _ in range(max(3, round(4 * seconds))):
        first = int(rng.integers(0, max(1, n_samples - sr // 10)))
        length = min(n_samples - first, int(sr * rng.uniform(0.15, 1.5)))
        pitch = 55 * 2 ** rng.uniform(0, 5)
        note = np.zeros(length)
        for overtone in range(1, 9):
            if pitch * overtone < 0.45 * sr:
                phase = 2 * np.pi * (pitch * overtone * time[:length] + rng.uniform())
                note += np.sin(phase) / overtone**1.5
        attack = np.minimum(1, time[:length] / 0.01)
        note *= attack * np.exp(-time[:length] * rng.uniform(1, 6))
        samples[first : first + length] += note[:, None] * rng.uniform(0.1, 1, n_channels)
    beat = np.exp(-12 * (time % rng.uniform(0.3, 0.7)))
    samples += 0.15 * rng.standard_normal((n_samples, n_channels)) * beat[:, None]
    samples += 1e-3 * rng.standard_normal((n_samples, n_channels))
    samples *= rng.uniform(0.4, 0.9) / np.abs(samples).max()
    if quiet_end:
        samples *= np.exp(-9 * np.maximum(0, time / seconds - 0.6) / 0.4)[:, None]
    return Music(samples=samples, sr=sr)


def integers(samples: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.int32]:
    """Samples as whole numbers of so many bits."""
    return np.round(samples * (2 ** (bits - 1) - 1)).astype(np.int32)
