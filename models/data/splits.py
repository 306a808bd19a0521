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
from featurestore.format.clips import UNLABELLED
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec
from models.data.dataset import ClipDataset, Perturber
from models.data.draws import draws_of, draws_text, require_perturbable
from models.data.partitions import draw_folds, keep_share, resample
from models.evaluation.metrics import Stratum, scorable

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

SPLITS = ("train", "validation", "test")

DRAWN_FOLDS = range(5)
"""Folds that are drawn where a store has neither splits nor folds of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """One spec of a store, split for training.

    Attributes
    ----------
    spec : Spec
    n_frames : int
        Frames in a clip.
    window : Excerpt
        Which stretch of a track a clip is.
    tags : tuple of str
        What the columns of the labels mean.
    fold : int or None
        The fold that is the test split; None where the store's own splits are used.
    partition : int or None
        Seed of what was drawn: the folds, or the training clips of the store's own splits. None
        where nothing was.
    strata : tuple of Stratum
        How test clips are resampled, see `models.evaluation.metrics.bootstrap`: each among those
        of the store's own fold that it is in, so that a clip is drawn equally often whatever the
        fold, partition or spec that it is tested in.
    train, validation, test : ClipDataset
        Ready rows only.
    encoding : str
        How the values are stored.
    bytes_per_clip : float
        Bytes on disk, shared among the ready rows.
    catalog : str
        Name of the data set that the store was made from.
    digest : str
        12 hex digits of what is learnt from: ids, the store's own splits and folds, readiness and
        labels. Equal digests mean comparable scores; partitions of one store have the same.
    draws : str or None
        Which random draws training clips are read from, as text; None where they are read as they
        are. Validation and test clips always are.
    unlabelled : array of int
        Rows that are ready and without labels: those of the split ``unlabelled``, and training
        clips whose labels are hidden.
    labelled : str or None
        Which training clips kept their labels, as text; None where all did.
    """

    spec: Spec
    n_frames: int
    window: Excerpt
    tags: tuple[str, ...]
    fold: int | None
    partition: int | None
    strata: tuple[Stratum, ...]
    train: ClipDataset
    validation: ClipDataset
    test: ClipDataset
    encoding: str
    bytes_per_clip: float
    catalog: str
    digest: str
    draws: str | None = None
    unlabelled: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64)
    )
    labelled: str | None = None

    @property
    def note(self) -> str | None:
        """What to tell the user of clips without labels, and of training clips without any draw."""
        said = []
        if n := len(self.unlabelled):
            hidden = f", the labels of some hidden: {self.labelled}" if self.labelled else ""
            said.append(
                f"{n:,} clips of {self.spec.name} are unlabelled{hidden}; a student learns from "
                "them (train --teacher)"
            )
        if n := self.train.n_undrawn:
            said.append(
                f"{n:,} of {len(self.train):,} training clips of {self.spec.name} have no draw "
                "that is ready, and are read as they are: featurize --draws makes them"
            )
        return "; ".join(said) or None


def training_data(
    store: "FeatureStore",
    spec: Spec | str,
    *,
    tags: Sequence[str] | None = None,
    fold: int | None = None,
    partition: int | None = None,
    draws: bool | Perturber = False,
    labelled_share: float = 1.0,
    labelled_seed: int = 0,
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
    partition : int, optional
        With a fold, the folds are drawn anew from this seed, as many as the store has, or
        `DRAWN_FOLDS` where it has none: by artist where artists are known, stratified by `tags`.
        Without, the store's training split is drawn with replacement, by artist again. None takes
        what the store has.
    draws : bool or Perturber
        Whether training clips are read from the random draws of them that the store has; or what
        perturbs them, waveforms alone, anew each time.
    labelled_share : float
        Share of the training clips, above 0, that keep their labels; the others count as
        unlabelled: an experiment on few labels.
    labelled_seed : int
        Of which clips these are. Smaller shares of a seed are among the larger ones.

    Raises
    ------
    TrainingError
        If there is nothing to learn or to judge by: no tags, a split without rows, or one in which
        no tag has clips both with and without it; or no draws, where they are asked for.
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
    labelled = (clips["split"] != UNLABELLED).to_numpy()
    known = ready & labelled
    if partition is None or fold is None:
        assigned = clips
    else:
        assigned = _with_drawn_folds(clips, known, labels, seed=partition)
    perturber = None if isinstance(draws, bool) else draws
    if perturber is not None:
        require_perturbable(array.spec, perturber)
    drawn = draws_of(store, array.spec) if draws is True else []
    ids = clips["clip_id"].to_numpy()
    splits, rows_of = {}, {}
    unlabelled = np.flatnonzero(ready & ~labelled)
    for split, rows in split_rows(assigned, fold).items():
        rows = rows[ready[rows]]
        if partition is not None and fold is None and split == "train":
            rows = rows[resample(_artists(clips)[rows], seed=partition)]
        if labelled_share != 1 and split == "train":
            kept = keep_share(len(clips), rows, labelled_share, seed=labelled_seed)
            unlabelled = np.union1d(unlabelled, np.setdiff1d(rows, kept))
            rows = rows[np.isin(rows, kept)]
        rows_of[split] = rows
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
        splits[split] = ClipDataset(
            array,
            rows,
            labels[rows],
            n_valid=array.n_valid_frames[rows],
            draws=drawn if split == "train" else (),
            perturber=perturber if split == "train" else None,
            clip_ids=ids[rows].tolist(),
        )
    # What has no labels is neither learnt from nor judged by here.
    digest = _digest(clips[labelled], ready[labelled], labels[labelled], tags)
    return TrainingData(
        spec=array.spec,
        n_frames=array.shape[2],
        window=store.metadata.window,
        tags=tags,
        fold=fold,
        partition=partition,
        strata=_strata(clips, known, labels, fold, rows_of["test"], digest),
        **splits,
        encoding=array.encoding,
        bytes_per_clip=array.nbytes_stored / int(ready.sum()),
        catalog=store.catalog,
        digest=digest,
        draws=draws_text(drawn, perturber) if draws else None,
        unlabelled=unlabelled,
        labelled=None
        if labelled_share == 1
        else f"{labelled_share:g} of the training clips keep theirs, by seed {labelled_seed}",
    )


def is_split(store: "FeatureStore") -> bool:
    """Return whether the store has splits of its own."""
    return bool(store.clips["split"].isin(SPLITS).any())


def has_folds(store: "FeatureStore") -> bool:
    """Return whether the store has folds of its own."""
    return bool(_folds(store.clips))


def folds_of(store: "FeatureStore") -> list[int | None]:
    """List the choices of `fold` that make splits of `store`.

    ``[None]`` where the store has splits of its own, else its folds, in order.

    Raises
    ------
    TrainingError
        If it has neither.
    """
    if is_split(store):
        return [None]
    folds = _folds(store.clips)
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


def _with_drawn_folds(
    clips: pd.DataFrame,
    ready: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.float32],
    *,
    seed: int,
) -> pd.DataFrame:
    """The clip table with other folds; clips in none of the store's own stay in none."""
    numbers = _folds(clips)
    rows = np.flatnonzero(ready & (clips["fold"] >= 0).to_numpy() if numbers else ready)
    numbers = numbers or list(DRAWN_FOLDS)
    _, groups = np.unique(_artists(clips)[rows], return_inverse=True)
    if groups.max(initial=-1) + 1 < len(numbers):
        raise TrainingError(
            f"the clips are of {groups.max(initial=-1) + 1} artists, too few for {len(numbers)} "
            "folds without an artist in two; take the store's own folds or splits (study --vary "
            "weights), or featurize a table of more artists"
        )
    drawn = draw_folds(labels[rows], groups, n_folds=len(numbers), seed=seed)
    folds = np.full(len(clips), -1)
    folds[rows] = np.array(numbers)[drawn]
    return clips.assign(fold=folds)


def _artists(clips: pd.DataFrame) -> npt.NDArray[np.int64]:
    """A number for each artist; one of its own for each clip whose artist is not known."""
    codes, names = pd.factorize(clips["artist"])
    alone = (clips["artist"] == "").to_numpy()
    return np.where(alone, len(names) + np.arange(len(clips)), codes).astype(np.int64)


def _strata(
    clips: pd.DataFrame,
    ready: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.float32],
    fold: int | None,
    tested: npt.NDArray[np.int64],
    digest: str,
) -> tuple[Stratum, ...]:
    own = clips["fold"].to_numpy()
    pools: list[tuple[int | None, npt.NDArray[np.int64]]]
    if fold is None:
        pools = [(None, tested)]
    elif _folds(clips):
        pools = [(f, np.flatnonzero(ready & (own == f))) for f in _folds(clips)]
    else:
        pools = [(None, np.flatnonzero(ready))]
    place = np.full(len(clips), -1)
    place[tested] = np.arange(len(tested))
    return tuple(
        Stratum(seed=_seed(digest, name), truth=labels[rows], place=place[rows])
        for name, rows in pools
        if (place[rows] >= 0).any()
    )


def _seed(digest: str, fold: int | None) -> int:
    """Of the clips and nothing else, so that all runs that are tested on them draw the same."""
    return int(hashlib.sha256(f"{digest} {fold}".encode()).hexdigest()[:8], 16)


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
