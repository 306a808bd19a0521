"""Evaluate a trained network on clips, under each of some conditions.

The weights stay as they were trained, and so do the statistics by which they normalise: those of
the training clips.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from featurestore.errors import TrainingError, TrainingSettingsError
from featurestore.result import table
from models.data import CACHE_LIMIT, SPLITS, ClipDataset, choose_conditions, training_data, under
from models.evaluation.classification import ClassificationScores, evaluate_classes
from models.evaluation.voting import vote
from models.tasks.classification import Classification
from models.tasks.task import Scores
from models.training.checkpoint import Checkpoint, load_checkpoint
from models.training.predict import predict_chunks, timed_predict

if TYPE_CHECKING:
    from featurestore.store import FeatureStore


_SHOWN = 3
"""Metrics that a table has room for at 80 columns."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """How good a network is on a set of clips.

    Attributes
    ----------
    scores : Scores
    seconds_per_clip : float
        To predict [s]; reading the clips is left out.
    predictions : array, shape (n_clips, n_outputs)
    """

    scores: Scores
    seconds_per_clip: float
    predictions: npt.NDArray[np.float32]


def evaluate(
    checkpoint: Checkpoint, dataset: ClipDataset, *, chunks: int | None = None, seed: int = 0
) -> Evaluated:
    """Predict all clips of a data set, and score the predictions.

    A data set of at most `models.data.CACHE_LIMIT` bytes is cached in memory from here on.

    Parameters
    ----------
    checkpoint : Checkpoint
    dataset : ClipDataset
    chunks : int, optional
        Judge each clip by so many windows, drawn at random from it, see
        `models.training.predict.predict_chunks`: predictions are their means, and the class of a
        classification is the one that most of them say. None is by those of the recipe.
    seed : int
        Which windows are drawn.
    """
    if dataset.nbytes <= CACHE_LIMIT:
        dataset.preload()
    task = checkpoint.task
    if chunks is not None:
        found, seconds = predict_chunks(
            checkpoint.network, dataset, task, checkpoint.settings, chunks=chunks, seed=seed
        )
        predictions = np.stack([of_clip.mean(axis=0) for of_clip in found])
        scores: Scores
        if isinstance(task, Classification):
            said = np.array([vote(of_clip).winner for of_clip in found])
            scores = evaluate_classes(dataset.labels, predictions, task.tags, said=said)
        else:
            scores = task.evaluate(dataset.labels, predictions)
        return Evaluated(scores=scores, seconds_per_clip=seconds, predictions=predictions)
    predictions, seconds = timed_predict(checkpoint.network, dataset, task, checkpoint.settings)
    return Evaluated(
        scores=task.evaluate(dataset.labels, predictions),
        seconds_per_clip=seconds,
        predictions=predictions,
    )


def weights_digest(network: nn.Module) -> str:
    """12 hex digits of a network's weights: equal for networks that predict the same."""
    digest = hashlib.sha256()
    for name, values in network.state_dict().items():
        digest.update(name.encode())
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitScores:
    """Scores on a split under a condition.

    Attributes
    ----------
    split, condition : str
    n_clips : int
    scores : Scores
    """

    split: str
    condition: str
    n_clips: int
    scores: Scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a checkpoint by split and condition.

    Attributes
    ----------
    checkpoint, spec, model : str
    fold : int or None
        See `models.data.training_data`.
    scores : tuple of SplitScores
        Of each split, that of the condition that it was trained on first.
    chunks : int or None
        Windows drawn from each clip; None where none were.
    """

    checkpoint: str
    spec: str
    model: str
    fold: int | None
    scores: tuple[SplitScores, ...]
    chunks: int | None = None

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        found = [
            {"split": s.split, "condition": s.condition, "n_clips": s.n_clips, **s.scores.json()}
            for s in self.scores
        ]
        of_checkpoint = {
            f: getattr(self, f) for f in ("checkpoint", "spec", "model", "fold", "chunks")
        }
        return of_checkpoint | {"scores": found}

    def lines(self) -> list[str]:
        """A table: the metrics, and what the first of them loses against the first condition.

        Of a classification, the confusion of each split and condition follows.
        """
        fold = "" if self.fold is None else f", fold {self.fold}"
        fold += "" if self.chunks is None else f", by {self.chunks} random windows a clip"
        rows: list[dict[str, object]] = []
        first: dict[str, dict[str, float]] = {}
        for s in self.scores:
            metrics = s.scores.metrics
            own = first.setdefault(s.split, metrics)
            lead = next(iter(metrics))
            rows.append(
                {
                    "split": s.split,
                    "condition": s.condition,
                    "clips": s.n_clips,
                    **{name: f"{metrics[name]:.3f}" for name in list(metrics)[:_SHOWN]},
                    f"loss of {lead} %": f"{100 * (own[lead] - metrics[lead]) + 0:+.2f}",
                }
            )
        confusions = [
            line
            for s in self.scores
            if isinstance(s.scores, ClassificationScores)
            for line in ("", f"{s.split}, {s.condition}", *s.scores.details())
        ]
        return [f"{self.model} on {self.spec}{fold}, {self.checkpoint}", *table(rows), *confusions]


def evaluate_checkpoint(
    checkpoint: str | os.PathLike[str],
    store: "FeatureStore",
    *,
    model: str | None = None,
    splits: Sequence[str] = ("test",),
    conditions: Sequence[str] = (),
    chunks: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score a checkpoint on splits of a store, as it was trained and under other conditions.

    Parameters
    ----------
    checkpoint : path
    store : FeatureStore
        It holds the checkpoint's spec, or serves it as a view; of the clips that it was trained on,
        or of others with these tags and as long.
    model : str, optional
        As `models.training.checkpoint.load_checkpoint` takes it.
    splits : sequence of str
        Of ``train``, ``validation``, ``test``; by the checkpoint's fold where it has one.
    conditions : sequence of str
        Besides the one that it was trained on; as `models.data.choose_conditions` takes them.
    chunks, seed : int
        As `evaluate` has them.

    Raises
    ------
    TrainingError
        If there is no such checkpoint, or the store lacks a tag, a split or a condition.
    TrainingSettingsError
        If a split is none, or windows cannot be drawn.
    UnknownSpecError
        If the store has not the checkpoint's spec.
    """
    for split in splits:
        if split not in SPLITS:
            raise TrainingSettingsError(
                f"split is {split!r}; it must be one of {', '.join(SPLITS)}"
            )
    trained = load_checkpoint(checkpoint, model=model)
    fold = None if trained.training is None else trained.training.fold
    data = training_data(store, trained.spec, tags=trained.tags, fold=fold)
    if data.n_frames != trained.n_frames:
        raise TrainingError(
            f"{os.fspath(checkpoint)} was trained on clips of {trained.n_frames} frames, those of "
            f"{store.path} have {data.n_frames}; featurize them with the --duration it was "
            "trained on"
        )
    found = []
    for split in dict.fromkeys(splits):
        dataset: ClipDataset = getattr(data, split)
        own = trained.spec.condition
        if isinstance(trained.task, Classification):
            trained.task.require(dataset.labels, dataset.clip_ids)
        chosen = choose_conditions(store, dataset, conditions)
        for condition in (own, *chosen):
            clips = dataset if condition == own else under(store, dataset, condition)
            found.append(
                SplitScores(
                    split=split,
                    condition=condition.name,
                    n_clips=len(clips),
                    scores=evaluate(trained, clips, chunks=chunks, seed=seed).scores,
                )
            )
    return Evaluation(
        checkpoint=os.fspath(checkpoint),
        spec=trained.spec.name,
        model=trained.settings.architecture.name,
        fold=fold,
        scores=tuple(found),
        chunks=chunks,
    )
