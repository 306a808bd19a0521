"""Batches, in an order that can be taken up again."""

import dataclasses
import errno
from collections.abc import Iterator
from multiprocessing import current_process
from typing import Any

import torch
from torch.utils.data import DataLoader

from featurestore.errors import RunError, TrainingError
from featurestore.process.sockets import keep_sockets_short
from models.data.dataset import Clip, ClipDataset
from models.data.sampler import ClipOrder, OrderSampler

_WORKERS = 2  # processes that read ahead where a split is not cached


def loader(
    dataset: ClipDataset,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> "ClipLoader":
    """Load `dataset` in batches; `sampler.ClipOrder` says which, `ClipLoader` how."""
    order = ClipOrder(
        n_clips=len(dataset),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    return ClipLoader(dataset, order)


class ClipLoader:
    """Batches of `Clip`, in an order that can be taken up again in the middle of an epoch.

    Each iteration is one epoch: values are float32 ``(n, n_bands, n_frames)``, labels
    ``(n, n_tags)``, n_valid int64 ``(n,)``. The order, windows' places included, is the same
    whether processes read ahead or not; two do where the data set is not cached.

    `state_dict` and `load_state_dict` are what torchdata's loader has too.
    """

    def __init__(self, dataset: ClipDataset, order: ClipOrder) -> None:
        self._sampler = OrderSampler(order)
        # A daemon, which a Dask worker is, may not start processes.
        n_workers = 0 if dataset.cached or current_process().daemon else _WORKERS
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
        """State of the order after the last batch that was taken, as JSON values."""
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
                    f"cannot continue the order of clips: its {field} was "
                    f"{state['order'].get(field)}, and is {value} now"
                )
        self._next = self._taken = state["epoch"], state["batch"]

    def _order_state(self) -> dict[str, Any]:
        state = dataclasses.asdict(self.order)
        del state["rank"]  # all stand at the same batch
        return state
