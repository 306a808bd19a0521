"""Augmentations: what random draws of a clip are made by, for training.

A draw is a clip under perturbations that are drawn for it: `Condition.draw`.
"""

import dataclasses
import math
import re
from typing import Self

import numpy as np

from featurestore.errors import SpecError
from featurestore.specs.perturbation import (
    PERTURBATIONS,
    Condition,
    Perturbation,
    number_text,
    perturbation_name,
)

_RANGE = re.compile(r"(-?\d+(?:\.\d+)?):(-?\d+(?:\.\d+)?)", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A perturbation whose amounts may be drawn from ranges: ``stretch0.8:1.2``, ``gauss0.005``.

    Parameters
    ----------
    lowest, highest : Perturbation
        With the lower and the upper ends of the ranges; an amount that both have is not drawn.

    Raises
    ------
    SpecError
        If a range is empty, or of an amount of which only some numbers can be.
    """

    lowest: Perturbation
    highest: Perturbation

    def __post_init__(self) -> None:
        amounts = PERTURBATIONS[self.lowest.word].amounts
        for low, high, amount in zip(
            self.lowest.amounts, self.highest.amounts, amounts, strict=True
        ):
            if low > high:
                raise SpecError(
                    f"{self.name!r}: the {amount.text} is from {low:g} to {high:g}; "
                    "give the smaller one first"
                )
            if low < high and not amount.is_continuous:
                raise SpecError(f"{self.name!r}: the {amount.text} is not drawn; give one number")

    @property
    def name(self) -> str:
        """The perturbation's name, with ranges ``low:high``."""
        pairs = zip(self.lowest.amounts, self.highest.amounts, strict=True)
        numbers = [
            number_text(low) if low == high else f"{number_text(low)}:{number_text(high)}"
            for low, high in pairs
        ]
        return perturbation_name(self.lowest.word, numbers)

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a step from its `name`.

        Raises
        ------
        SpecError
            If it is none.
        """
        return cls(
            lowest=Perturbation.parse(_RANGE.sub(r"\1", name)),
            highest=Perturbation.parse(_RANGE.sub(r"\2", name)),
        )

    def draw(self, generator: np.random.Generator) -> Perturbation:
        """Draw each amount uniformly from its range."""
        pairs = zip(self.lowest.amounts, self.highest.amounts, strict=True)
        amounts = tuple(float(generator.uniform(low, high)) for low, high in pairs)
        return Perturbation(word=self.lowest.word, amounts=amounts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Perturbations one after the other, each of them with a probability, independently.

    Parameters
    ----------
    steps : tuple of Step
    probability : float
        Of each step, above 0 and at most 1.

    Raises
    ------
    SpecError
        If there is no step, or if the probability is out of range.
    """

    steps: tuple[Step, ...]
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not self.steps:
            raise SpecError(f"draws are made of perturbations: give some, such as {MTAT}")
        object.__setattr__(self, "probability", round(float(self.probability), 6))
        if not 0 < self.probability <= 1:
            raise SpecError(
                f"the probability of a perturbation is {self.probability:g}; "
                "it must be above 0 and at most 1"
            )

    @property
    def name(self) -> str:
        """``gauss0.005,stretch0.8:1.2 p0.5``: the steps, then the probability."""
        steps = ",".join(step.name for step in self.steps)
        return f"{steps} p{number_text(self.probability)}"

    @classmethod
    def parse(cls, text: str, probability: float = 0.5) -> Self:
        """Read the steps of `text`, separated by commas.

        Raises
        ------
        SpecError
            If one of them is none.
        """
        steps = tuple(Step.parse(part.strip()) for part in text.split(","))
        return cls(steps=steps, probability=probability)

    @property
    def speed(self) -> float:
        """How many times faster the fastest draw is; 1 where none is faster."""
        return math.prod(max(1.0, step.highest.speed) for step in self.steps)

    @property
    def extremes(self) -> tuple[Condition, Condition]:
        """All steps with the lower ends of their ranges, and with the upper ones."""
        return (
            Condition(tuple(step.lowest for step in self.steps)),
            Condition(tuple(step.highest for step in self.steps)),
        )

    def draw(self, generator: np.random.Generator) -> Condition:
        """Draw a condition; `CLEAN` where no step was drawn."""
        return Condition(
            tuple(
                step.draw(generator) for step in self.steps if generator.random() < self.probability
            )
        )

    def __str__(self) -> str:
        return self.name


MTAT = "gauss0.005,stretch0.8:1.2,pitch-5:5"
"""The steps of a study of tagging on MagnaTagATune; 0.5 was its best probability."""
