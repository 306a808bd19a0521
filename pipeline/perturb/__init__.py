"""Perturbations of audio, a module each, called as `featurestore.specs.perturbation` does."""

import importlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from featurestore.specs.perturbation import Condition, Perturbation
    from pipeline.audio.stream import Samples
    from pipeline.perturb.audio import Audio


class Perturb(Protocol):
    """A module that perturbs audio."""

    def perturb(
        self, audio: "Audio", amounts: tuple[float, ...], generator: "np.random.Generator"
    ) -> "Samples":
        """The perturbed samples, ``(n,)`` float32; as many as there were, divided by the speed.

        The samples given are not changed. What is drawn comes from `generator` alone.
        """


def load_perturbation(perturbation: "Perturbation") -> Perturb:
    """Import the module of a perturbation, and with it what it computes with."""
    module = perturbation.word.replace("-", "_")
    found: Perturb = importlib.import_module(f"{__name__}.{module}")
    return found


def apply(audio: "Audio", condition: "Condition", generator: "np.random.Generator") -> "Samples":
    """Samples under a condition: its perturbations one after the other."""
    from pipeline.perturb.audio import Audio

    for perturbation in condition.perturbations:
        module = load_perturbation(perturbation)
        samples = module.perturb(audio, perturbation.amounts, generator)
        audio = Audio(samples=samples, sr=audio.sr)
    return audio.samples
