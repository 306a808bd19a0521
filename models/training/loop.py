"""Train a network on one spec.

Binary cross-entropy on logits, weights moved as a recipe says. Kept is the epoch with the best
macro PR AUC on the validation split (the first of equals); it alone is judged on the test split.

A network that takes segments is trained on random ones, a new one of each clip in each epoch, and
judges a clip by the mean of what it gives, after the sigmoid, for the clip's consecutive segments.

All randomness of an epoch follows from the seed and the epoch's number, so that a training which
goes on from a state between two epochs gives what it would have given in one go: on a CPU, bit for
bit.
"""

import copy
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from featurestore.errors import TrainingError
from models.data import HOLD_BYTES, Clip, ClipDataset, TrainingData, loader
from models.data.augment import augmented
from models.data.sampler import seed_of
from models.evaluation.metrics import Scores, evaluate
from models.networks import segment_frames
from models.networks.norm import BandNorm
from models.training import distributed
from models.training.checkpoint import Trained, new_network, save_checkpoint
from models.training.log import Epoch, EpochLog
from models.training.recipes import RECIPES
from models.training.settings import TrainSettings
from models.training.state import load_state, save_state


def train_to_checkpoint(
    checkpoint: str | os.PathLike[str],
    data: TrainingData,
    settings: TrainSettings,
    *,
    tensorboard: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Trained | None:
    """Train as `train` does, and write a checkpoint; run again, go on where a kill has ended it.

    Beside the checkpoint lie its log, ``<checkpoint>.jsonl``, and until it is written the state
    after the last whole epoch, ``<checkpoint>.state``. Under torchrun, all processes train, and the
    first one writes and returns what was trained; the others return None.

    Raises
    ------
    TrainingError
        Also if the state is that of other settings or data, and if the checkpoint's place is a
        folder's: before anything is trained.
    """
    path = Path(checkpoint)
    if path.is_dir():
        raise TrainingError(f"the checkpoint {path} is a folder; name a file")
    with distributed.process_group(settings.device):
        trained = train(
            data,
            settings,
            state=path.with_name(f"{path.name}.state"),
            log=path.with_name(f"{path.name}.jsonl"),
            tensorboard=None if tensorboard is None else Path(tensorboard),
            progress=progress,
        )
        if distributed.rank() != 0:
            return None
        save_checkpoint(path, trained)
        path.with_name(f"{path.name}.state").unlink(missing_ok=True)
        return trained


def train(
    data: TrainingData,
    settings: TrainSettings,
    *,
    state: Path | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    progress: bool = True,
) -> Trained:
    """Train a network on `data`, choose the best epoch, judge it.

    Parameters
    ----------
    data : TrainingData
        Splits of at most `models.data.HOLD_BYTES` are held in memory from here on.
    settings : TrainSettings
    state : Path or None
        File to write the state to after each epoch, and to go on from if it is there.
    log : Path or None
        File for a JSON line an epoch.
    tensorboard : Path or None
        Folder for TensorBoard's files.
    progress : bool
        Show a bar on stderr.

    Raises
    ------
    TrainingError
        If the loss is no longer finite, if there are too few clips for batch norm, or if a file
        cannot be written or is not this training's.
    """
    for dataset in (data.train, data.validation, data.test):
        if dataset.nbytes <= HOLD_BYTES:
            dataset.hold()
    device = settings.torch_device()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    is_first = distributed.rank() == 0
    with torch.random.fork_rng(devices):  # the caller's random numbers stay as they were
        training = _Training(data, settings)
        saved = None if state is None else load_state(state, training.identity)
        if saved is not None:
            training.load_state_dict(saved)
        with (
            EpochLog(*(log, tensorboard) if is_first else (None, None), training.epochs) as journal,
            tqdm(
                total=settings.epochs * len(training.batches),
                initial=len(training.epochs) * len(training.batches),
                desc=data.spec.name,
                unit="batch",
                disable=not (progress and is_first),
                file=sys.stderr,
                leave=False,
            ) as bar,
        ):
            while not training.done:
                epoch = training.run_epoch(bar.update)
                journal.add(epoch)
                if state is not None and is_first:
                    save_state(state, training.identity, training.state_dict())
                loss, pr_auc = epoch["loss"], epoch["validation_pr_auc"]
                bar.set_postfix(loss=f"{loss:.3f}", pr_auc=f"{pr_auc:.3f}")
        return training.judge()


class _Training:
    """A network in training, and all that changes with the epochs."""

    def __init__(self, data: TrainingData, settings: TrainSettings) -> None:
        self.epochs: list[Epoch] = []
        self._data, self._settings = data, settings
        self._recipe = RECIPES[settings.recipe]
        self._device, self._bf16 = settings.torch_device(), settings.autocast()
        segment = segment_frames(settings.model, data.spec, data.n_frames)
        torch.manual_seed(settings.seed)
        self._network = new_network(
            settings, data.spec, n_frames=data.n_frames, n_tags=len(data.tags)
        )
        for part in self._network.children():
            if isinstance(part, BandNorm):
                part.measure(*data.train.band_statistics())
        self._network.to(self._device)
        self._parallel = distributed.parallel(self._network)
        self.batches = loader(
            data.train.segments(segment),
            batch_size=settings.batch_size,
            shuffle=True,
            seed=settings.seed,
            process=distributed.rank(),
            n_processes=distributed.world_size(),
        )
        if self.batches.order.smallest < 2:
            raise TrainingError(
                f"{len(data.train)} training clips in batches of at most {settings.batch_size}, "
                f"for {distributed.world_size()} process(es), leave a batch of "
                f"{self.batches.order.smallest}, and batch norm needs 2; choose another batch_size"
                " or use more clips"
            )
        self._n_steps = settings.epochs * len(self.batches)
        self._optimizer = self._recipe.optimizer(self._network, settings.learning_rate)
        self._average = self._recipe.averaged(self._network, self._n_steps)
        self._judged = self._network if self._average is None else self._average.module
        self._best_epoch = 0
        self._best_weights: dict[str, torch.Tensor] = {}
        self._best_probabilities = torch.zeros(0)
        self._best_scores: Scores | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a state to be this training's."""
        settings = dataclasses.asdict(self._settings)
        del settings["device"]
        return settings | {
            "spec": self._data.spec.name,
            "encoding": self._data.encoding,
            "data": self._data.digest,
            "fold": self._data.fold,
            "processes": distributed.world_size(),
        }

    @property
    def done(self) -> bool:
        """Whether all epochs were, or enough in which validation did not rise."""
        patience = self._recipe.patience
        n = len(self.epochs)
        return n == self._settings.epochs or (
            patience is not None and n - self._best_epoch >= patience
        )

    def run_epoch(self, step_done: Callable[[], object]) -> Epoch:
        """Train for an epoch and judge it by the validation split."""
        began = time.perf_counter()
        number = len(self.epochs)
        torch.manual_seed(seed_of(self._settings.seed, number, 1 + distributed.rank()))
        self._network.train()
        total = torch.zeros((), device=self._device)
        for step, clips in enumerate(self.batches, number * len(self.batches)):
            total += self._step(step, clips) * len(clips.labels)
            step_done()
        loss = distributed.all_reduce(total).item() / len(self._data.train)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {number + 1} of {self._data.spec.name}; train "
                f"with a learning_rate below {self._settings.learning_rate:g}"
            )
        distributed.broadcast_buffers(self._judged)
        probabilities = predict(self._judged, self._data.validation, self._settings)
        scores = evaluate(self._data.validation.labels, probabilities, self._data.tags)
        if self._best_scores is None or scores.pr_auc > self._best_scores.pr_auc:
            self._best_epoch, self._best_scores = number + 1, scores
            self._best_weights = copy.deepcopy(self._judged.state_dict())
            self._best_probabilities = torch.from_numpy(probabilities)
        epoch: Epoch = {
            "epoch": number + 1,
            "loss": loss,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "validation_roc_auc": scores.roc_auc,
            "validation_pr_auc": scores.pr_auc,
            "seconds": round(time.perf_counter() - began, 3),
        }
        self.epochs.append(epoch)
        return epoch

    def _step(self, step: int, clips: Clip) -> torch.Tensor:
        """Move the weights by one batch; its mean loss before that."""
        values, labels = augmented(
            clips.values.to(self._device), clips.labels.to(self._device), self._settings.augment
        )
        with torch.autocast(self._device.type, torch.bfloat16, self._bf16):
            logits = self._parallel(values)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * self._recipe.rate(step, self._n_steps)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self._network)
        return loss.detach()

    def judge(self) -> Trained:
        """Judge the best epoch's network by the test split."""
        assert self._best_scores is not None
        self._judged.load_state_dict(self._best_weights)
        data = self._data
        probabilities, seconds = _timed_predict(self._judged, data.test, self._settings)
        return Trained(
            network=self._judged.cpu().eval(),
            spec=data.spec,
            n_frames=data.n_frames,
            tags=data.tags,
            fold=data.fold,
            settings=self._settings,
            best_epoch=self._best_epoch,
            losses=tuple(epoch["loss"] for epoch in self.epochs),
            validation=self._best_scores,
            test=evaluate(data.test.labels, probabilities, data.tags),
            seconds=sum(epoch["seconds"] for epoch in self.epochs),
            inference_seconds_per_clip=seconds,
            truth=data.test.labels,
            scores=probabilities,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "batches": self.batches.state_dict(),
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "best_epoch": self._best_epoch,
            "best_weights": self._best_weights,
            "best_probabilities": self._best_probabilities,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]
        self.batches.load_state_dict(state["batches"])
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._best_epoch = state["best_epoch"]
        self._best_weights = state["best_weights"]
        self._best_probabilities = state["best_probabilities"]
        data = self._data
        self._best_scores = evaluate(
            data.validation.labels, self._best_probabilities.numpy(), data.tags
        )


def predict(
    network: nn.Module, dataset: ClipDataset, settings: TrainSettings
) -> npt.NDArray[np.float32]:
    """Probability of each tag for each clip, ``(n_clips, n_tags)``, clips in their order.

    Parameters
    ----------
    network : nn.Module
        `settings.model`, as `models.networks.build` makes it.
    dataset : ClipDataset
        Whole clips. Padding is left out where the network takes segments, unless a clip is shorter
        than one.
    settings : TrainSettings
    """
    return _timed_predict(network, dataset, settings)[0]


def _timed_predict(
    network: nn.Module, dataset: ClipDataset, settings: TrainSettings
) -> tuple[npt.NDArray[np.float32], float]:
    """Probabilities, and the time they took [s] a clip, without that for reading the clips."""
    device = settings.torch_device()
    network = network.to(device).eval()
    segment = segment_frames(settings.model, dataset.spec, dataset.n_frames)
    batches = loader(
        dataset,
        batch_size=settings.batch_size,
        process=distributed.rank(),
        n_processes=distributed.world_size(),
    )
    mine = [clip for batch in batches.order.epoch(0) for clip, _ in batch]
    probabilities = torch.zeros(dataset.labels.shape)
    done, seconds = 0, 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, settings.autocast()):
        for clips in batches:
            began = time.perf_counter()
            activations = _activations(network, clips, segment, device)
            rows = mine[done : done + len(activations)]
            probabilities[rows] = activations.cpu()  # waits for a GPU to be done
            seconds += time.perf_counter() - began
            done += len(rows)
    probabilities = distributed.all_reduce(probabilities.to(device)).cpu()
    return probabilities.numpy(), seconds / max(1, done)


def _activations(
    network: nn.Module, clips: Clip, segment: int | None, device: torch.device
) -> torch.Tensor:
    values = clips.values.to(device)
    if segment is None:
        return torch.sigmoid(network(values).float())
    counts = [max(1, n // segment) for n in torch.as_tensor(clips.n_valid).tolist()]
    segments = torch.cat(
        [
            clip[:, : n * segment].unflatten(1, (n, segment)).transpose(0, 1)
            for clip, n in zip(values, counts, strict=True)
        ]
    )
    # As many at a time as there are clips in a batch, so that they fit where training did.
    outputs = [torch.sigmoid(network(part).float()) for part in torch.split(segments, len(values))]
    return torch.stack([part.mean(0) for part in torch.split(torch.cat(outputs), counts)])
