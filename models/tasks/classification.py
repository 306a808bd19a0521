"""Classification: which one of some classes a clip is of."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featurestore.errors import TrainingError
from models.evaluation.classification import ClassificationScores, evaluate_classes
from models.tasks.task import Scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """Tell the class of a clip.

    Targets are 0 or 1 for each class, one of them 1, or mixtures of such; outputs are logits,
    predictions are probabilities that sum to 1.

    Parameters
    ----------
    tags : tuple of str
        The classes, in the order of the outputs.
    weights : tuple of float, optional
        Of each class in the loss; None is 1 for all.
    """

    scores: ClassVar[type[Scores]] = ClassificationScores
    tags: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    @property
    def n_outputs(self) -> int:
        """One for each class."""
        return len(self.tags)

    def require(self, labels: npt.NDArray[np.float32], clip_ids: Sequence[str]) -> None:
        """Refuse labels that are no classes.

        Parameters
        ----------
        labels : array, shape (n_clips, n_classes)
        clip_ids : sequence of str, n_clips

        Raises
        ------
        TrainingError
            If a clip has none of the classes, or several; it is named.
        """
        counts = (labels > 0).sum(axis=1)
        if not (odd := np.flatnonzero(counts != 1)).size:
            return
        clip = int(odd[0])
        has = [tag for tag, label in zip(self.tags, labels[clip], strict=True) if label > 0]
        raise TrainingError(
            f"clip {clip_ids[clip]!r} has {', '.join(has[:5]) or 'none'} of the {len(self.tags)} "
            f"classes, and {len(odd):,} of {len(labels):,} clips have not exactly one; name tags "
            "that exclude each other with --tags, or take --task tagging"
        )

    def balanced(self, labels: npt.NDArray[np.float32]) -> Self:
        """This task with each class's weight inverse to how many of some clips are of it.

        ``n_clips / (n_classes × clips of the class)``, as scikit-learn's ``balanced``: a class of
        the mean size has weight 1, and all classes weigh the same in sum.

        Parameters
        ----------
        labels : array, shape (n_clips, n_classes)
            Of the training split; of a class without clips, as of one with one.
        """
        counts = np.maximum(1, (labels > 0).sum(axis=0))
        weights = len(labels) / (len(self.tags) * counts)
        return dataclasses.replace(self, weights=tuple(weights.tolist()))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, mean over clips; each clip's is of its class's weight."""
        weights = None if self.weights is None else outputs.new_tensor(self.weights)
        return nn.functional.cross_entropy(outputs, targets, weight=weights)

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probability of each class: the softmax."""
        return torch.softmax(outputs, dim=1)

    def evaluate(
        self, targets: npt.NDArray[np.float32], predictions: npt.NDArray[np.float32]
    ) -> ClassificationScores:
        """Accuracy, F1, confusion and areas, `models.evaluation.classification`."""
        return evaluate_classes(targets, predictions, self.tags)
