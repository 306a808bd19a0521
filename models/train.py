"""Train a network on one spec: a short loop to be read from top to bottom.

Binary cross-entropy on logits, weights moved as a recipe says. Kept is the epoch with the best
macro PR AUC on the validation split (the first of equals); it alone is judged on the test split.
"""

import copy
import math
import sys
import time

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from featurestore.errors import TrainingError
from models.augment import augmented
from models.checkpoint import Trained, channels_last
from models.data import HOLD_BYTES, ClipDataset, TrainingData, loader
from models.metrics import evaluate
from models.networks import build
from models.recipes import RECIPES
from models.settings import TrainSettings


def train(data: TrainingData, settings: TrainSettings, *, progress: bool = True) -> Trained:
    """Train a network on `data`, choose the best epoch, judge it.

    Parameters
    ----------
    data : TrainingData
        Splits of at most `models.data.HOLD_BYTES` are held in memory from here on.
    settings : TrainSettings
    progress : bool
        Show a bar on stderr.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    """
    for dataset in (data.train, data.validation, data.test):
        if dataset.nbytes <= HOLD_BYTES:
            dataset.hold()
    recipe = RECIPES[settings.recipe]
    device = settings.torch_device()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # the caller's random numbers stay as they were
        torch.manual_seed(settings.seed)
        network = build(
            settings.model,
            data.spec,
            n_frames=data.n_frames,
            n_tags=len(data.tags),
            width=settings.width,
        )
        network = channels_last(network.to(device))
        batches = loader(
            data.train, batch_size=settings.batch_size, shuffle=True, seed=settings.seed
        )
        n_steps = settings.epochs * len(batches)
        optimizer = recipe.optimizer(network, settings.learning_rate)
        average = recipe.averaged(network, n_steps)
        judged = network if average is None else average.module
        began = time.perf_counter()
        losses: list[float] = []
        best_epoch, best_scores, best_weights = 0, None, judged.state_dict()
        with tqdm(
            total=n_steps,
            desc=data.spec.name,
            unit="batch",
            disable=not progress,
            file=sys.stderr,
            leave=False,
        ) as bar:
            for epoch in range(1, settings.epochs + 1):
                network.train()
                total = torch.zeros((), device=device)
                for number, (values, labels) in enumerate(batches, (epoch - 1) * len(batches)):
                    values, labels = augmented(
                        values.to(device), labels.to(device), settings.augment
                    )
                    with torch.autocast(device.type, torch.bfloat16, settings.autocast()):
                        logits = network(values)
                    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    if recipe.clip_norm is not None:
                        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
                    for group in optimizer.param_groups:
                        group["lr"] = settings.learning_rate * recipe.rate(number, n_steps)
                    optimizer.step()
                    if average is not None:
                        average.update_parameters(network)
                    total += loss.detach() * len(labels)
                    bar.update()
                losses.append(total.item() / len(data.train))
                if not math.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the loss is {losses[-1]} in epoch {epoch} of {data.spec.name}; train "
                        f"with a learning_rate below {settings.learning_rate:g}"
                    )
                probabilities = predict(judged, data.validation, settings)
                scores = evaluate(data.validation.labels, probabilities, data.tags)
                if best_scores is None or scores.pr_auc > best_scores.pr_auc:
                    best_epoch, best_scores = epoch, scores
                    best_weights = copy.deepcopy(judged.state_dict())
                bar.set_postfix(loss=f"{losses[-1]:.3f}", pr_auc=f"{scores.pr_auc:.3f}")
                if recipe.patience is not None and epoch - best_epoch >= recipe.patience:
                    break
        seconds = time.perf_counter() - began
        network.load_state_dict(best_weights)
        probabilities, inference_seconds = _timed_predict(network, data.test, settings)
    assert best_scores is not None
    return Trained(
        network=network.cpu().eval(),
        spec=data.spec,
        n_frames=data.n_frames,
        tags=data.tags,
        fold=data.fold,
        settings=settings,
        best_epoch=best_epoch,
        losses=tuple(losses),
        validation=best_scores,
        test=evaluate(data.test.labels, probabilities, data.tags),
        seconds=seconds,
        inference_seconds_per_clip=inference_seconds / len(data.test),
        truth=data.test.labels,
        scores=probabilities,
    )


def predict(
    network: nn.Module, dataset: ClipDataset, settings: TrainSettings
) -> npt.NDArray[np.float32]:
    """Probability of each tag for each clip, ``(n_clips, n_tags)``, clips in their order."""
    return _timed_predict(network, dataset, settings)[0]


def _timed_predict(
    network: nn.Module, dataset: ClipDataset, settings: TrainSettings
) -> tuple[npt.NDArray[np.float32], float]:
    """Probabilities, and the time that computing them took [s], without reading the clips."""
    device = settings.torch_device()
    network = network.to(device).eval()
    outputs, seconds = [], 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, settings.autocast()):
        for values, _ in loader(dataset, batch_size=settings.batch_size):
            began = time.perf_counter()
            # Copying to the CPU waits for a GPU to be done.
            outputs.append(network(values.to(device)).float().sigmoid().cpu())
            seconds += time.perf_counter() - began
    return torch.cat(outputs).numpy(), seconds
