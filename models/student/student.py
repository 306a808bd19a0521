"""Noisy students: a network learns from labels, and from a teacher where there are none.

After Won, Choi and Serra 2021 (*Semi-supervised music tagging transformer*) and their public code.
The teacher, which was trained on labels alone, hears clips without labels as they are; the student
hears random windows of them with noise, and learns to say what the teacher said. Half of each batch
are clips with labels, half clips without::

    loss = L(student, labels) + mixing L(student of noisy clips, teacher of clean ones)

Both are the task's loss, of tagging binary cross-entropy, whose minimum is at the teacher's own
probability. It differs from theirs where their code says nothing, or does not matter:

- Theirs calls a ``skeptical_loss`` for clips with labels, which is not released. Here it is the
  plain one.
- Theirs has the teacher hear the very window that the student hears. Here its labels are computed
  once, from the whole clip, and are kept.
- The noise is the random draws of a store (``featurize --draws``), perturbations of waveforms while
  they are read, the settings' ``augment``, and the network's own dropout.

A student is the next student's teacher.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError
from models.data import (
    Perturber,
    SoftLabelled,
    TrainingData,
    Unlabelled,
    check_mixing,
    unlabelled_clips,
)
from models.student.soft_labels import labels_digest, provenance, soft_labels
from models.training import distributed
from models.training.checkpoint import Checkpoint, load_checkpoint
from models.training.loop import Trained, train_to_checkpoint
from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from featurestore.store import FeatureStore
    from models.transfer.initial import Initial


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Whom a student learns from, and what of.

    Parameters
    ----------
    checkpoint : path
        The teacher: any checkpoint that knows the student's tags, of any network and any spec that
        the store holds.
    model : str, optional
        The teacher's network, if it is from a file of one's own, as
        `models.training.checkpoint.load_checkpoint` takes it.
    unlabelled : FeatureStore, optional
        Where clips without labels are, in place of those of the store with labels, see
        `models.data.unlabelled_clips`.
    mixing : float
        Weight of what the teacher says, from 0. At 0 there is no teacher, and training is as it is
        without, bit for bit.

    Raises
    ------
    TrainingError
        If `mixing` is not a number from 0.
    """

    checkpoint: str | os.PathLike[str]
    model: str | None = None
    unlabelled: "FeatureStore | None" = None
    mixing: float = 1.0

    def __post_init__(self) -> None:
        check_mixing(self.mixing)


def train_student(
    checkpoint: str | os.PathLike[str],
    data: TrainingData,
    settings: TrainSettings,
    *,
    teacher: TeacherSettings,
    store: "FeatureStore",
    initial: "Initial | None" = None,
    adapter_only: bool = False,
    perturber: Perturber | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    say: Callable[[str], object] = lambda text: None,
    progress: bool = True,
) -> Trained | None:
    """Train a student, and write a checkpoint; run again, it resumes after a kill.

    Beside what `models.training.loop.train_to_checkpoint` writes lie the teacher's labels, in
    ``<checkpoint>.labels`` (`models.student.soft_labels`). The checkpoint says who its teacher was.

    Parameters
    ----------
    checkpoint : path
    data : TrainingData
        Clips with labels, of `store`.
    settings : TrainSettings
    teacher : TeacherSettings
    store : FeatureStore
    initial, adapter_only
        As `models.training.loop.train_to_checkpoint` has them.
    perturber : Perturber, optional
        What perturbs clips without labels while they are read, waveforms alone.
    tensorboard : path, optional
    say : callable (text)
        Is told how many clips there are, and of the noise.
    progress : bool

    Raises
    ------
    TrainingError
        If the teacher does not fit the student, or there is nothing to learn from it.
    """
    known = load_checkpoint(teacher.checkpoint, model=teacher.model)
    _require_fitting(known, teacher, data, settings, Path(checkpoint))
    if teacher.mixing == 0:
        return train_to_checkpoint(
            checkpoint,
            data,
            settings,
            initial=initial,
            adapter_only=adapter_only,
            tensorboard=tensorboard,
            progress=progress,
        )
    clips = unlabelled_clips(
        data,
        known.spec,
        store if teacher.unlabelled is None else teacher.unlabelled,
        elsewhere=teacher.unlabelled is not None,
        perturber=perturber,
    )
    with distributed.process_group(settings.device):
        if distributed.rank() == 0:
            say(_summary(clips, data, settings))
        labels = soft_labels(
            Path(checkpoint).with_name(f"{Path(checkpoint).name}.labels"),
            known,
            clips,
            device=settings.device,
            progress=progress,
        )
        columns = [known.tags.index(tag) for tag in data.tags]
        return train_to_checkpoint(
            checkpoint,
            data,
            settings,
            initial=initial,
            adapter_only=adapter_only,
            unlabelled=_taught(known, clips, labels[:, columns], teacher.mixing),
            tensorboard=tensorboard,
            progress=progress,
        )


def _require_fitting(
    known: Checkpoint,
    teacher: TeacherSettings,
    data: TrainingData,
    settings: TrainSettings,
    checkpoint: Path,
) -> None:
    path = Path(teacher.checkpoint)
    if path.resolve() == checkpoint.resolve():
        raise TrainingError(
            f"the student {checkpoint} would replace its teacher; name another checkpoint"
        )
    missing = [tag for tag in data.tags if tag not in known.tags]
    if missing:
        raise TrainingError(
            f"the teacher {path} knows no {', '.join(missing)}; choose --tags that it knows: "
            f"{', '.join(known.tags)}"
        )
    if known.settings.task != settings.task:
        raise TrainingError(
            f"the teacher {path} learnt {known.settings.task}, and the student is to learn "
            f"{settings.task}; choose a teacher of the same"
        )


def _summary(clips: Unlabelled, data: TrainingData, settings: TrainSettings) -> str:
    noise = [] if clips.draws is None else [clips.draws]
    if settings.augment != "none":
        noise.append(settings.augment)
    heard = ", ".join(noise) or "none but dropout (featurize --draws, or --augment, gives some)"
    return (
        f"{len(clips):,} unlabelled clips of {clips.store}, {len(data.train):,} labelled ones; "
        f"noise: {heard}"
    )


def _taught(
    known: Checkpoint, clips: Unlabelled, labels: npt.NDArray[np.float32], mixing: float
) -> SoftLabelled:
    said = provenance(known, clips) | {
        "catalog": clips.catalog,
        "n_clips": len(clips),
        "labels": labels_digest(clips, labels),
        "draws": clips.draws,
        "mixing": float(mixing),
    }
    return SoftLabelled(dataset=clips.taught(labels), mixing=mixing, provenance=said)
