"""From a store to what training needs: the only module of this package that touches a store."""

import dataclasses
import errno
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from featurestore.errors import RunError, TrainingError
from featurestore.process.sockets import keep_sockets_short
from featurestore.specs.mel import FeatureSpec
from models.data.sampler import ClipOrder, OrderSampler, Pick
from models.evaluation.metrics import scorable

if TYPE_CHECKING:
    from featurestore.array import FeatureArray
    from featurestore.store import FeatureStore

SPLITS = ("train", "validation", "test")

HOLD_BYTES = 2**30
"""A split of at most this many bytes of float32 is read once and held in memory."""

_WORKERS = 2  # processes that read ahead where a split is not held


class Clip(NamedTuple):
    """A clip or a segment of one, or, from a loader, a batch of them.

    Attributes
    ----------
    values : torch.Tensor [shape=(n_mels, n_frames), dtype=float32]
    labels : torch.Tensor [shape=(n_tags,), dtype=float32]
        0 or 1.
    n_valid : int
        How many of the frames, from the first, are of the track; those that follow are padding,
        where the track was too short for a clip. ``torch.arange(n_frames) < n_valid[:, None]`` is
        a batch's mask.
    """

    values: torch.Tensor
    labels: torch.Tensor
    n_valid: int


class ClipDataset(Dataset[Clip]):
    """Clips of one spec with their labels, fetched in batches. Its items are `Clip`.

    Parameters
    ----------
    array : FeatureArray
        Where the values are.
    rows : array of int, shape (n,)
        The array's rows that are this data set's clips, in order.
    labels : array of float32, shape (n, n_tags)
        0 or 1.
    n_valid : array of int, shape (n,), optional
        Frames of each clip that are no padding; None is all.
    length : int, optional
        Frames of a segment, drawn uniformly at each access from those that lie within the valid
        frames; a clip with fewer valid frames gives its first ones and padding. None is the whole
        clip.

    Notes
    -----
    An item is asked for by its number, and a segment's place is then drawn from torch's generator;
    or by a `sampler.Pick`, which says the place, so that whoever draws it can draw it again.

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
        n_valid: npt.NDArray[np.int64] | None = None,
        length: int | None = None,
    ) -> None:
        n_frames = array.shape[2]
        if length is not None and not 1 <= length <= n_frames:
            raise TrainingError(
                f"length is {length} frames; clips of {array.spec.name} have {n_frames}: "
                f"choose 1 to {n_frames}"
            )
        self.labels = labels
        self.n_valid = np.full(len(rows), n_frames) if n_valid is None else n_valid
        self._array = array
        self._rows = rows
        self._length = length
        self._held: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | Pick) -> Clip:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | Pick]) -> list[Clip]:
        """Items of a batch, in one read; PyTorch's loader calls this where it exists."""
        picks = [i if isinstance(i, tuple) else (i, float(torch.rand(()))) for i in indices]
        numbers = [number for number, _ in picks]
        n_valid = self.n_valid[numbers].tolist()
        length = self._length or self._array.shape[2]
        start = [
            0 if self._length is None else int(place * (max(0, n - length) + 1))
            for (_, place), n in zip(picks, n_valid, strict=True)
        ]
        values: Iterable[torch.Tensor]
        if self._held is None:
            rows = self._rows[numbers]
            values = torch.from_numpy(self._array.read(rows, start=start, length=length))
        else:
            held = self._held
            values = (held[i, :, s : s + length] for i, s in zip(numbers, start, strict=True))
        return [
            Clip(v, torch.from_numpy(self.labels[i]), min(n - s, length))
            for v, i, n, s in zip(values, numbers, n_valid, start, strict=True)
        ]

    def segments(self, length: int | None) -> Self:
        """Make a data set of the same clips that gives segments of `length` frames.

        What is held is shared.
        """
        other = type(self)(
            self._array, self._rows, self.labels, n_valid=self.n_valid, length=length
        )
        other._held = self._held
        return other

    def band_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and spread of each band over the clips' valid frames, float32 ``(n_mels,)`` each.

        The store keeps them by clip; of a view, all values are read.
        """
        statistics = self._array.statistics(self._rows)
        mean, std = torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std)
        return mean.float(), std.float()

    @property
    def spec(self) -> FeatureSpec:
        """What the values are."""
        return self._array.spec

    @property
    def n_frames(self) -> int:
        """Frames of a whole clip."""
        return self._array.shape[2]

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
        splits[split] = ClipDataset(array, rows, labels[rows], n_valid=array.n_valid_frames[rows])
    return TrainingData(
        spec=array.spec,
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


def loader(
    dataset: ClipDataset,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    process: int = 0,
    n_processes: int = 1,
) -> "ClipLoader":
    """Load `dataset` in batches; `sampler.ClipOrder` says which, `ClipLoader` how."""
    order = ClipOrder(
        n_clips=len(dataset),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        process=process,
        n_processes=n_processes,
    )
    return ClipLoader(dataset, order)


class ClipLoader:
    """Batches of `Clip`, in an order that can be taken up again in the middle of an epoch.

    Each iteration is one epoch: values are float32 ``(n, n_mels, n_frames)``, labels
    ``(n, n_tags)``, n_valid int64 ``(n,)``. The order, segments' places included, is the same
    whether processes read ahead or not; two do where the data set is not held in memory.

    `state_dict` and `load_state_dict` are what torchdata's loader has too.
    """

    def __init__(self, dataset: ClipDataset, order: ClipOrder) -> None:
        self._sampler = OrderSampler(order)
        # A daemon, which a Dask worker is, may not start processes.
        n_workers = 0 if dataset.held or current_process().daemon else _WORKERS
        if n_workers:
            keep_sockets_short()
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=n_workers,
            persistent_workers=n_workers > 0,
            generator=torch.Generator(),  # the workers' seeds: else drawn from the caller's
        )
        self._next = 0, 0
        self._taken = 0, 0

    @property
    def order(self) -> ClipOrder:
        """Which clips are in which batch."""
        return self._sampler.order

    def __len__(self) -> int:
        return self.order.n_batches

    def __iter__(self) -> Iterator[Clip]:
        epoch, first = self._next
        self._next = epoch + 1, 0
        self._sampler.epoch, self._sampler.first = epoch, first
        # Workers read ahead, so what the sampler has given is not what was taken.
        try:
            for n_taken, batch in enumerate(self._loader, first + 1):
                self._taken = (epoch, n_taken) if n_taken < len(self) else (epoch + 1, 0)
                yield batch
        except (OSError, RuntimeError) as error:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            if not (full or "shared memory" in str(error)):
                raise
            raise RunError(
                "/dev/shm has no room for the batches that processes read ahead; enlarge it "
                "(docker run --shm-size 1g), or train on fewer clips or a smaller spec, "
                "which memory holds"
            ) from None

    def state_dict(self) -> dict[str, Any]:
        """Where the order stands after the last batch that was taken; JSON can hold it."""
        epoch, batch = self._taken
        return {"epoch": epoch, "batch": batch, "order": self._order_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`: the next iteration begins with the batch that was to come.

        Raises
        ------
        TrainingError
            If it is the state of another order.
        """
        for field, value in self._order_state().items():
            if state["order"].get(field) != value:
                raise TrainingError(
                    f"the order of clips cannot be taken up: its {field} was "
                    f"{state['order'].get(field)}, and is {value} now"
                )
        self._next = self._taken = state["epoch"], state["batch"]

    def _order_state(self) -> dict[str, Any]:
        state = dataclasses.asdict(self.order)
        del state["process"]  # all stand at the same batch
        return state
