"""Apply a network to clips: a clip's prediction is the mean over its windows."""

import time

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.data import Clip, ClipDataset, loader
from models.tasks.task import Task
from models.training import distributed
from models.training.settings import TrainSettings


def predict(
    network: nn.Module, dataset: ClipDataset, task: Task, settings: TrainSettings
) -> npt.NDArray[np.float32]:
    """Predictions for each clip, ``(n_clips, task.n_outputs)``, clips in their order.

    Parameters
    ----------
    network : nn.Module
        `settings.model`, as `models.training.checkpoint.new_network` makes it.
    dataset : ClipDataset
        Whole clips. Padding is left out where the network takes windows, unless a clip is shorter
        than one.
    task : Task
    settings : TrainSettings
        Of which network, batch size, device and bfloat16 are used.
    """
    return timed_predict(network, dataset, task, settings)[0]


def timed_predict(
    network: nn.Module, dataset: ClipDataset, task: Task, settings: TrainSettings
) -> tuple[npt.NDArray[np.float32], float]:
    """`predict`, and the time it took [s] per clip, without that for reading the clips."""
    device = settings.torch_device()
    network = network.to(device).eval()
    window = settings.architecture.window_frames(dataset.spec, dataset.n_frames)
    batches = loader(
        dataset,
        batch_size=settings.batch_size,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    mine = [pick.clip for batch in batches.order.epoch(0) for pick in batch]
    predictions = torch.zeros(len(dataset), task.n_outputs)
    done, seconds = 0, 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, settings.autocast()):
        for clips in batches:
            began = time.perf_counter()
            predicted = _predict_batch(network, clips, task, window, device)
            rows = mine[done : done + len(predicted)]
            predictions[rows] = predicted.cpu()  # waits for a GPU to be done
            seconds += time.perf_counter() - began
            done += len(rows)
    predictions = distributed.all_reduce(predictions.to(device)).cpu()
    return predictions.numpy(), seconds / max(1, done)


def _predict_batch(
    network: nn.Module, clips: Clip, task: Task, window: int, device: torch.device
) -> torch.Tensor:
    """Mean prediction over the consecutive windows that are valid; of each clip, at least one."""
    values = clips.values.to(device)
    counts = [max(1, n // window) for n in torch.as_tensor(clips.n_valid).tolist()]
    windows = torch.cat(
        [
            clip[:, : n * window].unflatten(1, (n, window)).transpose(0, 1)
            for clip, n in zip(values, counts, strict=True)
        ]
    )
    # As many at a time as there are clips in a batch, so that they fit where training did.
    predicted = [task.predict(network(part).float()) for part in torch.split(windows, len(values))]
    return torch.stack([part.mean(0) for part in torch.split(torch.cat(predicted), counts)])
