"""Perturbations of audio: a module each, of its word in `featurestore.specs.perturbation`."""

import importlib
from typing import TYPE_CHECKING, Protocol

from featurestore.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    from featurestore.specs.augmentation import Augmentation
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

    def require(self, sr: int, amounts: tuple[float, ...]) -> None:
        """Refuse a sample rate [Hz], or amounts at that rate, that audio cannot be perturbed with.

        Raises
        ------
        SpecError
        """


def load_perturbation(perturbation: "Perturbation") -> Perturb:
    """Import the module of a perturbation, and with it what it computes with."""
    module = perturbation.word.replace("-", "_")
    found: Perturb = importlib.import_module(f"{__name__}.{module}")
    return found


def require(condition: "Condition", sr: int, augmentation: "Augmentation | None" = None) -> None:
    """Refuse a condition that audio of that sample rate [Hz] cannot be brought into.

    Parameters
    ----------
    condition : Condition
    sr : int
    augmentation : Augmentation, optional
        What draws are made by.

    Raises
    ------
    SpecError
        Also for a draw where it is not said what draws are made by.
    """
    if condition.is_draw:
        if augmentation is None:
            raise SpecError(
                f"{condition.name!r} is a random draw: --draws N makes N of each training clip"
            )
        for extreme in augmentation.extremes:
            require(extreme, sr)
    for perturbation in condition.perturbations:
        load_perturbation(perturbation).require(sr, perturbation.amounts)


def apply(audio: "Audio", condition: "Condition", generator: "np.random.Generator") -> "Samples":
    """Samples under a condition: its perturbations one after the other."""
    from pipeline.perturb.audio import Audio

    for perturbation in condition.perturbations:
        module = load_perturbation(perturbation)
        samples = module.perturb(audio, perturbation.amounts, generator)
        audio = Audio(samples=samples, sr=audio.sr)
    return audio.samples
