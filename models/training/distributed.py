"""Processes that train one network together, a GPU each, as ``torchrun`` starts them.

Alone, a process is the first of one, and all of this does nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes that torchrun started with this one, for as long as the context lasts.

    Within such a context another one changes nothing: to leave the group and join it again is not
    sound, as what processes tell each other the first time is still there the second time.

    Parameters
    ----------
    device : str
        As in `models.training.settings.TrainSettings`. Each process takes a GPU of its own where
        that is ``auto`` or ``cuda`` and there are GPUs.
    """
    if not distributed.is_torchelastic_launched() or distributed.is_initialized():
        yield
        return
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def world_size() -> int:
    """Count the processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def parallel(network: nn.Module) -> nn.Module:
    """Wrap `network` so that all processes' gradients are averaged in each backward pass."""
    return DistributedDataParallel(network) if world_size() > 1 else network


def broadcast_buffers(network: nn.Module) -> None:
    """Take over the batch norm statistics of rank 0: each process has those of its own batches."""
    if world_size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)


def all_reduce(values: torch.Tensor) -> torch.Tensor:
    """Sum `values` over the processes."""
    if world_size() > 1:
        distributed.all_reduce(values)
    return values
