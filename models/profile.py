"""Where training's time and memory go: the stages of a step, measured on the real loop."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

import models.training.loop
from featurestore.errors import TrainingSettingsError
from featurestore.process.profile import Profile, StageCost
from featurestore.process.stages import (
    OTHER,
    Clock,
    Memory,
    Profiler,
    instrumented,
    patched,
    process_memory,
    trim_at_once,
)
from models.data import TrainingData
from models.data.sampler import OrderSampler
from models.training.loop import train
from models.training.settings import TrainSettings

WAIT, OPTIMIZER = "wait for data", "optimizer"

STAGES: dict[str, tuple[tuple[Any, str], ...]] = {
    WAIT: (),  # each step of the loader
    "to device": ((torch.Tensor, "to"),),
    "augment": ((models.training.loop, "augmented"),),
    "forward": ((nn.Module, "__call__"),),  # and the task's loss
    "backward": ((torch.Tensor, "backward"),),
    OPTIMIZER: (  # and its hooks
        (torch.optim.Optimizer, "zero_grad"),
        (nn.utils, "clip_grad_norm_"),
        (AveragedModel, "update_parameters"),
    ),
}
"""PyTorch's functions that a training step calls, whatever the loop around them looks like."""

_WARM_UP = 1
"""Batches before any is counted: the loader's processes start, PyTorch makes its plans."""

_MEMORY_BATCHES = 2


class _EnoughError(Exception):
    """Ends the training."""


class DeviceMemory:
    """Memory of tensors on a GPU.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> int:
        """Memory in use [bytes]."""
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """The most since the last `reset` [bytes]."""
        return torch.cuda.max_memory_allocated(self._device)

    def reset(self) -> None:
        """Begin a new peak."""
        torch.cuda.reset_peak_memory_stats(self._device)


def profile(
    data: TrainingData, settings: TrainSettings, *, n_batches: int = 10, from_store: bool = False
) -> Profile:
    """Train for some batches, and say what the stages of a step take.

    `models.training.loop.train` itself is run, twice: for the time, then for the memory. On a GPU,
    which works on its own, each stage waits until it is done; that costs a step a little.

    Parameters
    ----------
    data : TrainingData
    settings : TrainSettings
    n_batches : int
        How many steps to time. Where an epoch has fewer, the next one follows without validation.
    from_store : bool
        Read every batch from the store, even if `models.data.CACHE_LIMIT` would let them be cached.

    Raises
    ------
    TrainingSettingsError
        If `n_batches` is below 1, or as `train` says.
    """
    if n_batches < 1:
        raise TrainingSettingsError(f"batches is {n_batches}; it must be at least 1")
    device = settings.torch_device()
    on_gpu = device.type == "cuda"
    clock = Clock(STAGES, synchronize=torch.cuda.synchronize) if on_gpu else Clock(STAGES)
    n_clips, n_frames = _train(data, settings, clock, n_batches, from_store)
    most: dict[str, int] = {}
    peak = device_peak = None
    of_process = process_memory()
    probe = DeviceMemory(device) if on_gpu else of_process
    if probe is not None:
        with trim_at_once():
            memory = Memory(STAGES, probe)
            _train(data, settings, memory, _MEMORY_BATCHES, from_store)
        most, peak = memory.most, memory.peak
    if on_gpu:
        device_peak, peak = peak, None if of_process is None else of_process.peak()
    return Profile(
        work=f"{data.spec.name}, {settings.architecture.name}",
        settings={
            "width": settings.width,
            "recipe": settings.recipe,
            "augment": settings.augment,
            "batch_size": settings.batch_size,
            "encoding": data.encoding,
            "device": str(device),
            "amp": "bf16" if settings.autocast() else "off",
            "data": "cached in memory" if data.train.cached else "read from the store",
        },
        round="batch",
        n_rounds=n_batches,
        n_clips=n_clips,
        audio_seconds=n_frames * float(data.spec.frame_step),
        stages=tuple(
            StageCost(stage=stage, seconds=clock.wall[stage], nbytes=most.get(stage))
            for stage in (*STAGES, OTHER)
        ),
        peak_nbytes=peak,
        device_peak_nbytes=device_peak,
    )


def _train(
    data: TrainingData,
    settings: TrainSettings,
    profiler: Profiler,
    n_batches: int,
    from_store: bool,
) -> tuple[int, int]:
    """Train for so many batches after the warm-up; their clips, and frames in all."""
    count = {"clips": 0, "frames": 0}
    iterate = DataLoader.__iter__

    def endless(loader: DataLoader[Any]) -> Iterator[Any]:
        """The loader's batches, epoch after epoch; of any other loader, its own."""
        order = loader.batch_sampler
        if not (isinstance(order, OrderSampler) and order.order.shuffle):  # not the training split
            yield from iterate(loader)
            return
        n = 0
        while True:
            for batch in profiler.steps(WAIT, iterate(loader)):
                n += 1
                if n > _WARM_UP:
                    count["clips"] += len(batch[0])
                    count["frames"] += len(batch[0]) * batch[0].shape[-1]
                yield batch
                if n == _WARM_UP:
                    profiler.restart()
                if n == _WARM_UP + n_batches:
                    raise _EnoughError

    n_epochs = 1 + math.ceil((_WARM_UP + n_batches) * settings.batch_size / len(data.train))
    settings = dataclasses.replace(settings, epochs=n_epochs)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(_EnoughError))
        if from_store:
            stack.enter_context(patched(models.training.loop, "CACHE_LIMIT", 0))
        stack.enter_context(patched(DataLoader, "__iter__", endless))
        for hook in (
            register_optimizer_step_pre_hook(lambda *_: profiler.begin(OPTIMIZER)),
            register_optimizer_step_post_hook(lambda *_: profiler.end()),
        ):
            stack.callback(hook.remove)
        loss = (type(settings.new_task(data.tags)), "loss")
        stages = STAGES | {"forward": (*STAGES["forward"], loss)}
        stack.enter_context(instrumented(stages, profiler))
        train(data, settings, progress=False)
    return count["clips"], count["frames"]
