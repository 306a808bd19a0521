"""Scores of a classifier: accuracy, macro F1, recall by class, and what is taken for what.

Conventions
-----------
`truth` is ``(n_clips, n_classes)`` of 0 and 1, exactly one 1 a clip; `probabilities` is of the same
shape. A clip is said to be of its most probable class, the first of equals, unless a vote of its
windows says another.

Metrics
-------
* `accuracy`: share of clips whose class is said rightly.
* `f1`: mean over classes of the harmonic mean of precision and recall; over the classes that a clip
  is of or is said to be of, as scikit-learn has it.
* `roc_auc`, `pr_auc`: each class against the rest, mean over classes, as of tags.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError
from featurestore.result import table
from models.evaluation.metrics import evaluate

_LEAST = np.exp(-100)  # as torch bounds the logarithm

_MOST_SHOWN = 12
"""Classes that a confusion matrix has room for at 80 columns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationScores:
    """Scores of a classifier on a set of clips. Accuracy chooses the best epoch.

    Attributes
    ----------
    accuracy, f1 : float
        0 to 1.
    roc_auc, pr_auc : float
        Each class against the rest, mean over the classes that were scored.
    loss : float
        Mean cross-entropy over clips, each of the same weight.
    confusion : tuple of tuple of int
        Clips by their class, a row each, and by what they were said to be, a column each.
    classes : tuple of str
        Of rows and columns.
    recall_per_class : dict of str to float
        Share of a class's clips that were said rightly; of classes with clips.
    n_tags_scored : int
        Classes in `roc_auc` and `pr_auc`.
    tags_left_out : tuple of str
        Classes without clips, or that all clips are of.
    roc_auc_per_tag, pr_auc_per_tag : dict of str to float
        Of each class scored.
    """

    monitored: ClassVar[str] = "accuracy"

    accuracy: float
    f1: float
    roc_auc: float
    pr_auc: float
    loss: float
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    recall_per_class: dict[str, float]
    n_tags_scored: int
    tags_left_out: tuple[str, ...]
    roc_auc_per_tag: dict[str, float]
    pr_auc_per_tag: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """The means, those that tell most first."""
        names = ("accuracy", "f1", "roc_auc", "pr_auc", "loss")
        return {name: getattr(self, name) for name in names}

    @property
    def n_clips(self) -> int:
        """How many were classified."""
        return sum(map(sum, self.confusion))

    def line(self) -> str:
        """Write the means for a person, accuracy with its 95 % interval."""
        low, high = wilson(self.accuracy, self.n_clips)
        return (
            f"accuracy {self.accuracy:.3f} ({low:.3f} to {high:.3f})  F1 {self.f1:.3f}  "
            f"ROC AUC {self.roc_auc:.3f}"
        )

    def details(self) -> list[str]:
        """The confusion matrix, a row a class, and its recall.

        Of more classes than a terminal has columns for, what is taken for what most often instead.
        """
        low, high = wilson(self.accuracy, self.n_clips)
        first = (
            f"accuracy {self.accuracy:.3f}, 95 % of {self.n_clips:,} clips {low:.3f} to {high:.3f}"
        )
        if len(self.classes) > _MOST_SHOWN:
            return [first, *self._mistakes()]
        recalls = [self.recall_per_class.get(name) for name in self.classes]
        rows: list[dict[str, object]] = [
            {
                "is, said": f"{number} {name}",
                **{str(said): n for said, n in enumerate(self.confusion[number])},
                "recall": "-" if recall is None else f"{recall:.2f}",
            }
            for number, (name, recall) in enumerate(zip(self.classes, recalls, strict=True))
        ]
        return [first, *table(rows)]

    def _mistakes(self) -> list[str]:
        counts = np.array(self.confusion)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_SHOWN]
        pairs = [divmod(int(place), len(self.classes)) for place in order]
        rows: list[dict[str, object]] = [
            {"is": self.classes[a], "said": self.classes[b], "clips": int(counts[a, b])}
            for a, b in pairs
            if counts[a, b]
        ]
        return table(rows) if rows else []

    def json(self) -> dict[str, Any]:
        """Give all fields, for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `json` gave."""
        texts = {name: tuple(fields[name]) for name in ("classes", "tags_left_out")}
        confusion = tuple(tuple(row) for row in fields["confusion"])
        return cls(**fields | texts | {"confusion": confusion})


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `n` clips [1]_, by SciPy; nan of none.

    A share that is a mean over runs is taken as that of the nearest number of clips.

    References
    ----------
    .. [1] Wilson: Probable inference, the law of succession, and statistical inference. Journal of
       the American Statistical Association 22, 1927.
    """
    from scipy.stats import binomtest

    if n < 1:
        return math.nan, math.nan
    found = binomtest(round(share * n), n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def classes_of(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Number of the class of each clip, ``(n_clips,)``, of labels with one 1 a row."""
    return np.asarray(np.argmax(labels, axis=1))


def evaluate_classes(
    truth: npt.NDArray[np.generic],
    probabilities: npt.NDArray[np.generic],
    classes: Sequence[str],
    *,
    said: npt.NDArray[np.int64] | None = None,
) -> ClassificationScores:
    """All scores; `classes` names the columns.

    Parameters
    ----------
    truth, probabilities : array, shape (n_clips, n_classes)
    classes : sequence of str
    said : array of int, shape (n_clips,), optional
        Which class each clip was said to be of, where that is not the most probable one.

    Raises
    ------
    TrainingError
        If a clip has not exactly one class, or the arrays do not follow the conventions.
    """
    areas = evaluate(truth, probabilities, classes)
    if (odd := np.flatnonzero((truth == 1).sum(axis=1) != 1)).size:
        raise TrainingError(
            f"clip {odd[0]} has {(truth[odd[0]] == 1).sum()} of the {len(classes)} classes; each "
            "must have one"
        )
    of_truth = classes_of(truth)
    of_clip = np.argmax(probabilities, axis=1) if said is None else said
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (of_truth, of_clip), 1)
    hits, n_has, n_said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    there = n_has + n_said > 0
    f1 = 2 * hits[there] / (n_has + n_said)[there]
    right = probabilities[np.arange(len(truth)), of_truth].astype(np.float64)
    return ClassificationScores(
        accuracy=float(hits.sum() / len(truth)),
        f1=float(f1.mean()),
        roc_auc=areas.roc_auc,
        pr_auc=areas.pr_auc,
        loss=float(-np.log(np.maximum(right, _LEAST)).mean()),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        classes=tuple(classes),
        recall_per_class={
            name: float(hits[i] / n_has[i]) for i, name in enumerate(classes) if n_has[i]
        },
        n_tags_scored=areas.n_tags_scored,
        tags_left_out=areas.tags_left_out,
        roc_auc_per_tag=areas.roc_auc_per_tag,
        pr_auc_per_tag=areas.pr_auc_per_tag,
    )
