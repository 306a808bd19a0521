"""Tagging: which tags a clip has, any number of them."""

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.evaluation.metrics import TaggingScores, evaluate
from models.tasks.task import Scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tagging:
    """Tell of each tag on its own whether a clip has it.

    Targets are 0 or 1 for each tag, outputs are logits, predictions are probabilities.

    Parameters
    ----------
    tags : tuple of str
        What the outputs mean, in order.
    """

    scores: ClassVar[type[Scores]] = TaggingScores
    tags: tuple[str, ...]

    @property
    def n_outputs(self) -> int:
        """One for each tag."""
        return len(self.tags)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy, mean over clips and tags; targets between 0 and 1 are allowed."""
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets)

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probability of each tag: the sigmoid."""
        return torch.sigmoid(outputs)

    def evaluate(
        self, targets: npt.NDArray[np.float32], predictions: npt.NDArray[np.float32]
    ) -> TaggingScores:
        """Macro ROC AUC and PR AUC, `models.evaluation.metrics`."""
        return evaluate(targets, predictions, self.tags)
