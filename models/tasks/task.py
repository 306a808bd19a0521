"""What a task is to a training: how far outputs are off, what they mean, how good they are."""

from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch


class Scores(Protocol):
    """Scores of a network on a set of clips: a frozen dataclass of what its task measures.

    Attributes
    ----------
    monitored : str
        The metric by which the best epoch is chosen and training stopped early.
    """

    monitored: ClassVar[str]

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers for logs, by name, those that tell most first, and ``loss`` among them.

        Of the monitored one, more is better.
        """

    def line(self) -> str:
        """Write the metrics for a person."""

    def json(self) -> dict[str, Any]:
        """Give all fields, for a checkpoint."""

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `json` gave."""


class Task(Protocol):
    """What is learnt of clips. Made of the tags that it is about, by name.

    Attributes
    ----------
    scores : type
        What `evaluate` returns, to read it back from a checkpoint.
    """

    scores: ClassVar[type[Scores]]

    @property
    def n_outputs(self) -> int:
        """Values that a network gives for a clip."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch, a scalar to be made small.

        Parameters
        ----------
        outputs : torch.Tensor [shape=(n, n_outputs), dtype=float32]
            What the network gave.
        targets : torch.Tensor [shape=(n, n_targets), dtype=float32]
            The clips' labels, or mixtures of them.
        """

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Predictions of outputs, ``(n, n_outputs)``; a clip's is the mean over its windows."""

    def evaluate(
        self, targets: npt.NDArray[np.float32], predictions: npt.NDArray[np.float32]
    ) -> Scores:
        """Score the predictions of clips.

        Parameters
        ----------
        targets : array, shape (n_clips, n_targets)
        predictions : array, shape (n_clips, n_outputs)
        """


class MakeTask(Protocol):
    """A task's class, or whatever else makes a task."""

    def __call__(self, *, tags: tuple[str, ...]) -> Task:
        """Make the task for these tags, the columns of the labels in order."""
