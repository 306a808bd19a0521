"""From a store to what training needs: the only module of this package that touches a store."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from featurestore.errors import TrainingError
from featurestore.spec import FeatureSpec
from models.metrics import scorable

if TYPE_CHECKING:
    from featurestore.array import FeatureArray
    from featurestore.store import FeatureStore

SPLITS = ("train", "validation", "test")

HOLD_BYTES = 2**30
"""A split of at most this many bytes of float32 is read once and held in memory."""

_WORKERS = 2  # processes that read ahead where a split is not held


class ClipDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Clips of one spec with their labels, fetched in batches.

    Item i is ``(values, labels)``: float32 ``(n_mels, n_frames)`` and float32 ``(n_tags,)``.

    Parameters
    ----------
    array : FeatureArray
        Where the values are.
    rows : array of int, shape (n,)
        The array's rows that are this data set's clips, in order.
    labels : array of float32, shape (n, n_tags)
        0 or 1.
    length : int, optional
        Frames of a segment, drawn anew and uniformly at each access from torch's generator. None
        is the whole clip.

    Raises
    ------
    TrainingError
        If a segment is longer than the clips.
    """

    def __init__(
        self,
        array: "FeatureArray",
        rows: npt.NDArray[np.int64],
        labels: npt.NDArray[np.float32],
        *,
        length: int | None = None,
    ) -> None:
        n_frames = array.shape[2]
        if length is not None and not 1 <= length <= n_frames:
            raise TrainingError(
                f"length is {length} frames; clips of {array.spec.name} have {n_frames}: "
                f"choose 1 to {n_frames}"
            )
        self.labels = labels
        self._array = array
        self._rows = rows
        self._length = length
        self._held: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Items of a batch, in one read; PyTorch's loader calls this where it exists."""
        if self._length is None:
            start, length = [0] * len(indices), self._array.shape[2]
        else:
            length = self._length
            n_starts = self._array.shape[2] - length + 1
            start = torch.randint(n_starts, (len(indices),)).tolist()
        values: Iterable[torch.Tensor]
        if self._held is None:
            rows = self._rows[list(indices)]
            values = torch.from_numpy(self._array.read(rows, start=start, length=length))
        else:
            held = self._held
            values = (held[i, :, s : s + length] for i, s in zip(indices, start, strict=True))
        return [(v, torch.from_numpy(self.labels[i])) for v, i in zip(values, indices, strict=True)]

    @property
    def nbytes(self) -> int:
        """Size of all whole clips as float32 [bytes]."""
        return 4 * len(self) * self._array.shape[1] * self._array.shape[2]

    @property
    def held(self) -> bool:
        """Whether the values are in memory."""
        return self._held is not None

    def hold(self) -> None:
        """Read all values once and keep them in memory; does nothing the second time."""
        if self._held is None:
            self._held = torch.from_numpy(self._array.read(self._rows))


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
    digest: str


def training_data(
    store: "FeatureStore",
    spec: FeatureSpec | str,
    *,
    tags: Sequence[str] | None = None,
    fold: int | None = None,
) -> TrainingData:
    """Prepare one spec of `store` for training. Reads the clip table, and no values yet.

    Parameters
    ----------
    store : FeatureStore
    spec : FeatureSpec or str
        The spec, or its name.
    tags : sequence of str, optional
        The tags to learn; None is all of the store's.
    fold : int, optional
        Make splits from the folds, see `split_rows`; None uses the store's own splits.

    Raises
    ------
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
        splits[split] = ClipDataset(array, rows, labels[rows])
    return TrainingData(
        spec=array.spec,
        n_frames=array.shape[2],
        tags=tags,
        fold=fold,
        **splits,
        encoding=array.encoding,
        bytes_per_clip=array.nbytes_stored / int(ready.sum()),
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


def loader(
    dataset: ClipDataset, *, batch_size: int, shuffle: bool = False, seed: int = 0
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Batches ``(values, labels)``: float32 ``(n, n_mels, n_frames)`` and ``(n, n_tags)``.

    A data set that is not held in memory is read ahead by two processes.

    Parameters
    ----------
    dataset : ClipDataset
    batch_size : int
        Clips in a batch at most. Batches are of even sizes (33 clips by 32 make 17 and 16), so
        that no batch norm sees a lonely clip.
    shuffle : bool
        A new order each time the loader is iterated.
    seed : int
        Of that order.
    """
    order = torch.Generator().manual_seed(seed) if shuffle else None
    return DataLoader(
        dataset,
        batch_sampler=_EvenBatches(len(dataset), batch_size, order),
        num_workers=0 if dataset.held else _WORKERS,
        persistent_workers=not dataset.held,
        # The workers' own seeds, drawn more often or less: not from the order's generator, so that
        # the order is the same with workers and without.
        generator=torch.Generator().manual_seed(seed),
    )


class _EvenBatches(Sampler[list[int]]):
    def __init__(self, n: int, batch_size: int, generator: torch.Generator | None) -> None:
        self._n = n
        self._generator = generator
        self._n_batches = -(-n // batch_size)

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[list[int]]:
        if self._generator is None:
            order = torch.arange(self._n)
        else:
            order = torch.randperm(self._n, generator=self._generator)
        for batch in torch.tensor_split(order, self._n_batches):
            yield batch.tolist()
