"""Apply a network to clips: a clip's prediction is the mean over its windows."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.data import Clip, ClipDataset, loader
from models.networks.own import user_errors
from models.tasks.task import Task
from models.training import distributed
from models.training.recipes import RECIPES, Recipe
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
        Of which network, recipe, batch size, device and bfloat16 are used.
    """
    return timed_predict(network, dataset, task, settings)[0]


def timed_predict(
    network: nn.Module, dataset: ClipDataset, task: Task, settings: TrainSettings
) -> tuple[npt.NDArray[np.float32], float]:
    """`predict`, and the time it took [s] per clip, without that for reading the clips."""
    device = settings.torch_device()
    network = network.to(device).eval()
    window = settings.architecture.window_frames(dataset.spec, dataset.n_frames)
    recipe = RECIPES[settings.recipe]
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
            clips = clips._replace(values=clips.values.to(device))
            predicted = predict_batch(network, clips, task=task, recipe=recipe, window=window)
            rows = mine[done : done + len(predicted)]
            predictions[rows] = predicted.cpu()  # waits for a GPU to be done
            seconds += time.perf_counter() - began
            done += len(rows)
    predictions = distributed.all_reduce(predictions.to(device)).cpu()
    return predictions.numpy(), seconds / max(1, done)


def predict_batch(
    network: nn.Module, clips: Clip, *, task: Task, recipe: Recipe, window: int
) -> torch.Tensor:
    """Predictions for a batch of clips, ``(n, task.n_outputs)``, on the network's device.

    Of each clip, the mean over the windows by which `recipe` judges its valid frames.

    Parameters
    ----------
    network : nn.Module
        Ready to evaluate.
    clips : Clip
        A batch; its labels are not looked at.
    task : Task
    recipe : Recipe
    window : int
        Frames that the network takes at a time, `Architecture.window_frames`.
    """
    windows = [recipe.windows(n, window) for n in torch.as_tensor(clips.n_valid).tolist()]
    predicted = predict_windows(
        network, clips.values, [list(of_clip) for of_clip in windows], task=task, window=window
    )
    means = []
    with torch.autocast(clips.values.device.type, enabled=False):  # which would round the mean
        for part, of_clip in zip(predicted, windows, strict=True):
            weights = torch.tensor([*of_clip.values()], dtype=part.dtype, device=part.device)
            means.append(weights @ part / weights.sum() if len(part) > 1 else part[0])
    return torch.stack(means)


@user_errors()
def predict_windows(
    network: nn.Module,
    values: torch.Tensor,
    starts: Sequence[Sequence[int]],
    *,
    task: Task,
    window: int,
) -> list[torch.Tensor]:
    """Predictions for windows of a batch of clips: of each clip, ``(n_windows, task.n_outputs)``.

    Parameters
    ----------
    values : torch.Tensor [shape=(n, n_bands, n_frames)]
    starts : sequence of sequence of int
        First frames of the windows of each clip.
    """
    counts = [len(of_clip) for of_clip in starts]
    windows = torch.stack(
        [
            clip[:, start : start + window]
            for clip, of_clip in zip(values, starts, strict=True)
            for start in of_clip
        ]
    )
    # As many at a time as there are clips in a batch, so that they fit where training did.
    predicted = [task.predict(network(part).float()) for part in torch.split(windows, len(values))]
    return list(torch.split(torch.cat(predicted), counts))
