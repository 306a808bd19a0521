"""The order in which clips are trained on: it follows from the seed and the epoch alone."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class Pick(NamedTuple):
    """Which clip, and what of it.

    Attributes
    ----------
    clip : int
    place : float
        Where in it a window begins: from 0, its first place, to below 1, its last.
    draw : float
        Which of its random draws, where it has some: from 0, the first, to below 1, the last.
    """

    clip: int
    place: float
    draw: float = 0.0


def seed_of(*numbers: int) -> int:
    """Make a seed for torch from several numbers, such that near ones give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipOrder:
    """Batches of clips, epoch by epoch.

    Parameters
    ----------
    n_clips : int
    batch_size : int
        Clips in a batch at most, over all processes. Batches are of even sizes (33 clips by 32
        make 17 and 16), so that none is of a single clip, which batch norm cannot take.
    shuffle : bool
        A new order each epoch, each equally likely; else the clips' own.
    seed : int
        Of the orders, of the windows' places and of which random draws are read.
    rank, world_size : int
        Each batch is shared evenly among `world_size` processes; this is the part of the one whose
        number, from 0, is `rank`.
    """

    n_clips: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    rank: int = 0
    world_size: int = 1

    @property
    def n_batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.n_clips // self.batch_size)

    @property
    def smallest(self) -> int:
        """Clips in the smallest part of a batch that a process takes."""
        return self.n_clips // self.n_batches // self.world_size

    def epoch(self, number: int) -> Iterator[list[Pick]]:
        """Batches of epoch `number`, from 0."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, number))
        places = torch.rand(self.n_clips, generator=generator)
        order = torch.arange(self.n_clips)
        if self.shuffle:
            order = torch.randperm(self.n_clips, generator=generator)
        draws = torch.rand(self.n_clips, generator=generator)
        for batch in torch.tensor_split(order, self.n_batches):
            part = torch.tensor_split(batch, self.world_size)[self.rank]
            columns = part.tolist(), places[part].tolist(), draws[part].tolist()
            yield [Pick(*pick) for pick in zip(*columns, strict=True)]


class OrderSampler(Sampler[list[Pick]]):
    """A `ClipOrder` as PyTorch's loader wants it: each iteration is the epoch that was set."""

    def __init__(self, order: ClipOrder) -> None:
        self.order = order
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        return self.order.n_batches

    def __iter__(self) -> Iterator[list[Pick]]:
        batches = list(self.order.epoch(self.epoch))
        return iter([batch for batch in batches[self.first :] if batch])
