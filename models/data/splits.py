"""One spec of a store, split for training: by the store's own splits, or by folds."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from featurestore.errors import TrainingError
from featurestore.specs.mel import FeatureSpec, require_mel
from featurestore.specs.spec import Spec
from models.data.dataset import ClipDataset
from models.evaluation.metrics import scorable

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """One spec of a store, split for training.

    Attributes
    ----------
    spec : FeatureSpec
    n_frames : int
        Frames in a clip.
    tags : tuple of str
        What the columns of the labels mean.
    fold : int or None
        The fold that is the test split; None where the store's own splits are used.
    train, validation, test : ClipDataset
        Ready rows only.
    encoding : str
        How the values are stored.
    bytes_per_clip : float
        Bytes on disk, shared among the ready rows.
    catalog : str
        Name of the data set that the store was made from.
    digest : str
        12 hex digits of what is learnt from: ids, splits, folds, readiness and labels. Equal
        digests mean comparable scores.
    """

    spec: FeatureSpec
    n_frames: int
    tags: tuple[str, ...]
    fold: int | None
    train: ClipDataset
    validation: ClipDataset
    test: ClipDataset
    encoding: str
    bytes_per_clip: float
    catalog: str
    digest: str


def training_data(
    store: "FeatureStore",
    spec: Spec | str,
    *,
    tags: Sequence[str] | None = None,
    fold: int | None = None,
) -> TrainingData:
    """Prepare one spec of `store` for training. Reads the clip table, and no values yet.

    Parameters
    ----------
    store : FeatureStore
    spec : Spec or str
        The spec, or its name.
    tags : sequence of str, optional
        The tags to learn; None is all of the store's.
    fold : int, optional
        Make splits from the folds, see `split_rows`; None uses the store's own splits.

    Raises
    ------
    SpecError
        If the spec is no mel-spectrogram, which is what networks take.
    TrainingError
        If there is nothing to learn or to judge by: no tags, a split without rows, or one in which
        no tag has clips both with and without it.
    """
    tags = tuple(store.tags if tags is None else dict.fromkeys(tags))
    if not tags:
        raise TrainingError(
            "there are no tags to learn; featurize a CSV with tag columns of 0 and 1, or a folder "
            "whose sub-folders are the tags"
        )
    unknown = [tag for tag in tags if tag not in store.tags]
    if unknown:
        raise TrainingError(
            f"the store has no tag {', '.join(unknown)}; it has {', '.join(store.tags) or 'none'}"
        )
    array, clips = store[spec], store.clips
    ready = np.asarray(array.ready)
    if not ready.any():
        raise TrainingError(
            f"no clip of {array.spec.name} is ready; run featurize again to compute it"
        )
    labels = clips[list(tags)].to_numpy(np.float32)
    splits = {}
    for split, rows in split_rows(clips, fold).items():
        rows = rows[ready[rows]]
        if not len(rows):
            raise TrainingError(
                f"the {split} split has no ready clips of {array.spec.name}; give the CSV's "
                "'split' column rows of train, validation and test, or use folds"
            )
        if not scorable(labels[rows]).any():
            raise TrainingError(
                f"in the {split} split no tag ({', '.join(tags)}) has clips both with and without "
                "it; use more clips, other tags or another split"
            )
        splits[split] = ClipDataset(array, rows, labels[rows], n_valid=array.n_valid_frames[rows])
    return TrainingData(
        spec=require_mel(array.spec, "networks take"),
        n_frames=array.shape[2],
        tags=tags,
        fold=fold,
        **splits,
        encoding=array.encoding,
        bytes_per_clip=array.nbytes_stored / int(ready.sum()),
        catalog=store.catalog,
        digest=_digest(clips, ready, labels, tags),
    )


def folds_of(store: "FeatureStore") -> list[int | None]:
    """List the choices of `fold` that make splits of `store`.

    ``[None]`` where the store has splits of its own, else its folds, in order.

    Raises
    ------
    TrainingError
        If it has neither.
    """
    clips = store.clips
    if clips["split"].isin(SPLITS).any():
        return [None]
    folds = _folds(clips)
    if not folds:
        raise TrainingError(
            "the store has neither splits nor folds; give the CSV a column 'split' of train, "
            "validation and test, or a column 'fold' of whole numbers from 0, and run featurize "
            "again"
        )
    return list(folds)


def split_rows(clips: pd.DataFrame, fold: int | None = None) -> dict[str, npt.NDArray[np.int64]]:
    """Row numbers of train, validation and test.

    Parameters
    ----------
    clips : DataFrame
        The store's clip table; row numbers are positions in it.
    fold : int, optional
        None reads the column ``split``. A number makes splits from the column ``fold``: that fold
        is test, the next one (after the last, the first) validation, the others train.

    Raises
    ------
    TrainingError
        If there are no such splits, or too few folds, or no such fold.
    """
    folds = _folds(clips)
    if fold is None:
        split = clips["split"]
        if not split.isin(SPLITS).any():
            raise TrainingError(
                "the store has no splits; "
                + (
                    f"it has folds: choose the one to test on, {', '.join(map(str, folds))}"
                    if folds
                    else "give the CSV a column 'split' of train, validation and test, or 'fold'"
                )
            )
        return {name: np.flatnonzero(split == name) for name in SPLITS}
    if len(folds) < 3:
        raise TrainingError(
            f"the store has {len(folds)} folds; train, validation and test need at least 3"
            + ("; leave fold out to use its splits" if clips["split"].isin(SPLITS).any() else "")
        )
    if fold not in folds:
        raise TrainingError(f"fold is {fold}; it must be one of {', '.join(map(str, folds))}")
    column = clips["fold"]
    following = folds[(folds.index(fold) + 1) % len(folds)]
    return {
        "train": np.flatnonzero((column >= 0) & (column != fold) & (column != following)),
        "validation": np.flatnonzero(column == following),
        "test": np.flatnonzero(column == fold),
    }


def _folds(clips: pd.DataFrame) -> list[int]:
    return sorted(int(fold) for fold in clips["fold"].unique() if fold >= 0)


def _digest(
    clips: pd.DataFrame,
    ready: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.float32],
    tags: tuple[str, ...],
) -> str:
    columns = [list(tags), *(clips[c].tolist() for c in ("clip_id", "split", "fold"))]
    digest = hashlib.sha256(json.dumps(columns).encode())
    digest.update(np.packbits(ready).tobytes())
    digest.update(np.packbits(labels > 0).tobytes())
    return digest.hexdigest()[:12]
