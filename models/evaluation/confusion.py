"""What is taken for what: clips by their class and by what they were said to be."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from models.evaluation.classification import wilson


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confusion:
    """A confusion matrix, over one or several runs on the same clips.

    Attributes
    ----------
    classes : tuple of str
    counts : tuple of tuple of int
        Clips by their class, a row each, and by what they were said to be, a column each; a clip
        counts once a run.
    n_runs : int
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    n_runs: int = 1

    @classmethod
    def summed(
        cls, classes: Sequence[str], parts: Sequence[Sequence[Sequence[int]]], *, n_runs: int
    ) -> "Confusion":
        """That of several tests: all runs, and all folds of each."""
        counts = np.sum([np.array(part, np.int64) for part in parts], axis=0)
        rows = tuple(tuple(row) for row in counts.tolist())
        return cls(classes=tuple(classes), counts=rows, n_runs=n_runs)

    @property
    def n_clips(self) -> int:
        """How many different clips there are."""
        return round(sum(map(sum, self.counts)) / self.n_runs)

    @property
    def accuracy(self) -> float:
        """Share of clips whose class is said rightly, over all runs."""
        hits = sum(self.counts[i][i] for i in range(len(self.classes)))
        return hits / sum(map(sum, self.counts))

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy, over clips: runs do not add to these."""
        return wilson(self.accuracy, self.n_clips)

    @property
    def recalls(self) -> tuple[float, ...]:
        """Share of each class's clips that were said rightly; nan of a class without clips."""
        with np.errstate(invalid="ignore"):
            counts = np.array(self.counts)
            return tuple((np.diag(counts) / counts.sum(axis=1)).tolist())

    def share(self, is_class: int, said: int) -> float:
        """Share of a class's clips that were said to be of another, or of itself."""
        total = sum(self.counts[is_class])
        return self.counts[is_class][said] / total if total else 0.0
