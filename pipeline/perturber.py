"""Random perturbations of waveforms while a network trains on them, by an augmentation's steps."""

import dataclasses

import numpy as np

from featurestore.specs.augmentation import Augmentation
from pipeline.audio.stream import Samples
from pipeline.perturb import apply, require
from pipeline.perturb.audio import Audio, n_needed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturber:
    """What `models.data.dataset.Perturber` asks for: it perturbs stretches of waveforms.

    Parameters
    ----------
    augmentation : Augmentation
    """

    augmentation: Augmentation

    @property
    def name(self) -> str:
        """The augmentation's."""
        return self.augmentation.name

    def require(self, sr: int) -> None:
        """Refuse a sample rate [Hz] that one of the steps cannot be made at.

        Raises
        ------
        SpecError
        """
        for extreme in self.augmentation.extremes:
            require(extreme, sr)

    def n_needed(self, n_samples: int) -> int:
        """Samples to give for `n_samples`, however fast the draw."""
        return n_needed(n_samples, self.augmentation.speed)

    def perturb(self, samples: Samples, n_samples: int, *, sr: int, seed: int) -> Samples:
        """Draw a condition, and bring `samples` into it.

        The same seed, the same draw. As with draws that are stored, what is too long is cut, and
        what is too short is filled with silence.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,), dtype=float32]
            Not changed; they may be fewer than `n_needed` where there are no more.
        n_samples : int
            How many to return.
        sr : int
            [Hz]
        seed : int
        """
        generator = np.random.default_rng(seed)
        condition = self.augmentation.draw(generator)
        if len(samples) and condition:
            n_given = n_needed(n_samples, self.augmentation.speed if condition.speed > 1 else 1.0)
            samples = apply(Audio(samples=samples[:n_given], sr=sr), condition, generator)
        filled = np.zeros(n_samples, np.float32)
        kept = samples[:n_samples]
        filled[: len(kept)] = kept
        return filled
