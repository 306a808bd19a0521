"""Apply a network to clips: a clip's prediction is the mean over its windows."""

import hashlib
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featurestore.errors import TrainingSettingsError
from models.data import Clip, ClipDataset, loader
from models.networks.own import user_errors
from models.tasks.task import Task
from models.training import distributed
from models.training.recipes import Recipe
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
    recipe = settings.schedule
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


def predict_chunks(
    network: nn.Module,
    dataset: ClipDataset,
    task: Task,
    settings: TrainSettings,
    *,
    chunks: int,
    seed: int = 0,
) -> tuple[list[npt.NDArray[np.float32]], float]:
    """Predictions for windows drawn from each clip, and the time that took [s] per clip.

    Which windows are drawn follows from the seed and the clip's id, whatever other clips there
    are. Every valid frame that can be a window's first is as likely to be; of a clip that is no
    longer than a window there is one.

    Parameters
    ----------
    network, dataset, task, settings
        As `predict` has them.
    chunks : int
        Windows of a clip.
    seed : int

    Returns
    -------
    predictions : list of array, each of shape (n_windows, task.n_outputs)
        By clip, in their order.
    seconds : float

    Raises
    ------
    TrainingSettingsError
        If there is less than one, or the network takes whole clips, of which there is one window.
    """
    if chunks < 1 or seed < 0:
        name, value, least = ("chunks", chunks, 1) if chunks < 1 else ("seed", seed, 0)
        raise TrainingSettingsError(f"{name} is {value}; it must be at least {least}")
    device = settings.torch_device()
    network = network.to(device).eval()
    window = settings.architecture.window_frames(dataset.spec, dataset.n_frames)
    if window >= dataset.n_frames:
        raise TrainingSettingsError(
            f"{settings.architecture.name} takes whole clips, of {dataset.n_frames} frames, from "
            "which no windows can be drawn: leave --chunks out"
        )
    found: list[npt.NDArray[np.float32]] = []
    seconds = 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, settings.autocast()):
        for clips in loader(dataset, batch_size=settings.batch_size):
            began = time.perf_counter()
            starts = [
                _places(dataset.clip_ids[len(found) + i], n, window, chunks, seed)
                for i, n in enumerate(torch.as_tensor(clips.n_valid).tolist())
            ]
            values = clips.values.to(device)
            predicted = predict_windows(network, values, starts, task=task, window=window)
            found += [of_clip.cpu().numpy() for of_clip in predicted]
            seconds += time.perf_counter() - began
    return found, seconds / max(1, len(found))


def _places(clip_id: str, n_valid: int, window: int, chunks: int, seed: int) -> list[int]:
    """First frames of the windows of a clip, in order."""
    n_places = n_valid - window + 1
    if n_places <= 1:
        return [0]
    of_clip = int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big")
    generator = np.random.default_rng([seed, of_clip])
    return sorted(generator.integers(n_places, size=chunks).tolist())


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
