"""Clips without labels: what a teacher hears of them, and what a student does."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError
from featurestore.format.clips import UNLABELLED
from featurestore.specs.spec import Spec
from models.data.dataset import Clip, ClipDataset, Perturber
from models.data.draws import draws_text, require_perturbable, stored_draws
from models.data.loader import loader
from models.data.sampler import seed_of
from models.data.splits import TrainingData

if TYPE_CHECKING:
    from featurestore.array import FeatureArray
    from featurestore.store import FeatureStore


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unlabelled:
    """Clips of a store without labels, those that are ready both for a teacher and for a student.

    Attributes
    ----------
    store : str
        Where it is.
    catalog : str
        Name of the data set that it was made from.
    clip_id, audio : tuple of str
        Of each clip: its id, and the digest of the audio's bytes.
    computed : mapping of str to str
        How the values that the teacher hears were computed and are stored.
    draws : str or None
        Which random draws of them the student is given, as text; None where it is given the clips
        as they are.
    """

    store: str
    catalog: str
    clip_id: tuple[str, ...]
    audio: tuple[str, ...]
    computed: Mapping[str, str]
    draws: str | None
    _rows: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    _heard: "FeatureArray" = dataclasses.field(repr=False)
    _array: "FeatureArray" = dataclasses.field(repr=False)
    _drawn: "list[FeatureArray]" = dataclasses.field(repr=False)
    _perturber: Perturber | None = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.clip_id)

    def heard(self, part: slice) -> ClipDataset:
        """What the teacher hears of some of them: its own spec, of clean audio, without labels."""
        rows = self._rows[part]
        return ClipDataset(
            self._heard,
            rows,
            np.zeros((len(rows), 0), np.float32),
            n_valid=self._heard.n_valid_frames[rows],
        )

    def taught(self, labels: npt.NDArray[np.float32]) -> ClipDataset:
        """What the student is given: its own spec, with noise, and a teacher's labels.

        Parameters
        ----------
        labels : array of float32, shape (n_clips, n_tags)
            From 0 to 1.
        """
        return ClipDataset(
            self._array,
            self._rows,
            labels,
            n_valid=self._array.n_valid_frames[self._rows],
            draws=self._drawn,
            perturber=self._perturber,
        )


def unlabelled_clips(
    data: TrainingData,
    heard: Spec,
    store: "FeatureStore",
    *,
    elsewhere: bool = False,
    perturber: Perturber | None = None,
) -> Unlabelled:
    """Find clips without labels.

    Parameters
    ----------
    data : TrainingData
        Those with labels.
    heard : Spec
        What the teacher takes.
    store : FeatureStore
        That of `data`, of which the rows are taken that it calls unlabelled; or another one.
    elsewhere : bool
        Whether it is another one. Its rows of the split ``unlabelled`` are taken then, and those in
        no split and no fold, as all are of a store that was made of a folder.
    perturber : Perturber, optional
        Perturbs what the student is given, waveforms alone. Without one, the student is given the
        random draws that the store has of its clips, and the clips themselves where it has none.

    Raises
    ------
    TrainingError
        If there is no such clip, or clips are longer or shorter than those of `data`.
    UnknownSpecError
        If the store has not both specs.
    """
    array, of_teacher = store[data.spec], store[heard]
    if array.shape[2] != data.n_frames:
        raise TrainingError(
            f"clips of {data.spec.name} in {store.path} have {array.shape[2]} frames, and those "
            f"with labels have {data.n_frames}; featurize both with one --duration"
        )
    table = store.clips
    if elsewhere:
        split = table["split"]
        free = (split == UNLABELLED) | ((split == "") & (table["fold"] < 0))
        rows = np.flatnonzero(free.to_numpy())
    else:
        rows = data.unlabelled
    rows = rows[np.asarray(array.ready)[rows] & np.asarray(of_teacher.ready)[rows]]
    if not len(rows):
        raise TrainingError(
            f"{store.path} has no unlabelled clip that is ready; give rows the split 'unlabelled' "
            "in its table and run featurize again, name another store with --unlabelled, or hide "
            "labels with --labelled-share"
        )
    drawn: list[FeatureArray] = []
    if perturber is not None:
        require_perturbable(data.spec, perturber)
    else:
        drawn = stored_draws(store, data.spec)
    clips = table.iloc[rows]
    return Unlabelled(
        store=store.path,
        catalog=store.catalog,
        clip_id=tuple(clips["clip_id"]),
        audio=tuple(clips["digest"]),
        computed={"encoding": of_teacher.encoding, **of_teacher.layout.settings},
        draws=draws_text(drawn, perturber) if drawn or perturber is not None else None,
        _rows=rows,
        _heard=of_teacher,
        _array=array,
        _drawn=drawn,
        _perturber=perturber,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SoftLabelled:
    """The second half of a student's batches: clips with a teacher's labels.

    Attributes
    ----------
    dataset : ClipDataset
        Labels are from 0 to 1.
    mixing : float
        Weight of their loss beside that of the clips with labels of their own.
    provenance : mapping of str to plain values
        Whose labels of what, as JSON: for the checkpoint.

    Raises
    ------
    TrainingError
        If `mixing` is not above 0.
    """

    dataset: ClipDataset
    mixing: float
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_mixing(self.mixing)
        if self.mixing == 0:
            raise TrainingError("mixing is 0: train without clips that have no labels")

    @property
    def identity(self) -> str:
        """What must agree for a training to be gone on with."""
        digest = hashlib.sha256(json.dumps(dict(self.provenance), sort_keys=True).encode())
        return f"{digest.hexdigest()[:12]} of {len(self.dataset)} clips, mixing {self.mixing:g}"

    def batches(
        self,
        first: int,
        *,
        batch_size: int,
        length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[Clip]:
        """Batches without an end, from number `first` on, of windows of `length` frames.

        All clips come once, in random order, then again, in another; which follows from the seed
        and a batch's number alone.

        Raises
        ------
        TrainingError
            If there are too few clips for each of the processes to have some.
        """
        batches = loader(
            self.dataset.windows(length),
            batch_size=batch_size,
            shuffle=True,
            seed=seed_of(seed, _SECOND),
            rank=rank,
            world_size=world_size,
        )
        if batches.order.smallest < 1:
            raise TrainingError(
                f"{len(self.dataset)} unlabelled clips in batches of at most {batch_size} leave "
                f"none for some of {world_size} processes; use more clips or fewer processes"
            )
        epoch, batch = divmod(first, len(batches))
        batches.load_state_dict(batches.state_dict() | {"epoch": epoch, "batch": batch})
        while True:
            yield from batches


_SECOND = 2021
"""Tells the order of the second half from that of the first, whose seed is the same."""


def check_mixing(mixing: float) -> None:
    """Refuse a weight that is none.

    Raises
    ------
    TrainingError
    """
    if isinstance(mixing, bool) or not 0 <= mixing < float("inf"):
        raise TrainingError(f"mixing is {mixing!r}; it must be a number from 0")
