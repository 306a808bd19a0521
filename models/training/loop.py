"""Train a network on one spec.

The task says what the loss is, the recipe how weights are changed. The epoch with the best score of
those that the task monitors on the validation split is kept (the first of equals); it alone is
evaluated on the test split.

A network that takes windows is trained on random ones, a new one of each clip in each epoch; a
clip's prediction is the mean over its consecutive windows (`models.training.predict`). Where
training clips have random draws in the store, and these are asked for, each epoch reads one of
them, and batches are augmented after that.

A student (`models.student`) learns from halves of batches: clips with labels, and clips with what a
teacher says of them. The loss is the sum of both halves' means, the second one weighted.

All randomness of an epoch follows from the seed and the epoch's number, so that a training which
goes on from a state between two epochs gives what it would have given in one go: on a CPU, bit for
bit.
"""

import copy
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featurestore.errors import TrainingError, TrainingSettingsError
from featurestore.process.progress import Progress
from models.data import CACHE_LIMIT, Clip, SoftLabelled, TrainingData, loader
from models.data.augment import augmented
from models.data.sampler import seed_of
from models.networks.adapters import attach, hold_norms, learnt, merge, unfrozen
from models.networks.own import user_errors
from models.tasks.task import Scores
from models.training import distributed
from models.training.checkpoint import Checkpoint, Training, new_network, save_checkpoint
from models.training.log import Epoch, EpochLog
from models.training.predict import predict, timed_predict
from models.training.settings import TrainSettings
from models.training.state import load_state, save_state

if TYPE_CHECKING:
    from models.transfer.initial import Initial


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained network, and what it says of the test split.

    Attributes
    ----------
    checkpoint : Checkpoint
    training : Training
        That of the checkpoint.
    targets, predictions : array
        The test split's labels, and what the network predicted ``(n_test, n_outputs)``, float32.
    learnt : dict of str to torch.Tensor, or None
        Where it was trained by an adapter, whose changes the checkpoint's network has: the
        adapter's weights and the head's.
    """

    checkpoint: Checkpoint
    training: Training
    targets: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.float32]
    learnt: dict[str, torch.Tensor] | None = None


def train_to_checkpoint(
    checkpoint: str | os.PathLike[str],
    data: TrainingData,
    settings: TrainSettings,
    *,
    initial: "Initial | None" = None,
    adapter_only: bool = False,
    unlabelled: SoftLabelled | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Trained | None:
    """Train as `train` does, and write a checkpoint; run again, it resumes after a kill.

    With `adapter_only`, of what an adapter learnt alone, to be merged into what it started from
    (`models.transfer.merging`).

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
    if initial is not None and initial.path.resolve() == path.resolve():
        raise TrainingError(
            f"the checkpoint {path} would replace what it starts from; name another"
        )
    if adapter_only and (settings.adapter is None or initial is None):
        raise TrainingSettingsError(
            "what an adapter learnt can be saved alone where there are an adapter and a checkpoint "
            "that it started from: give both"
        )
    with distributed.process_group(settings.device):
        trained = train(
            data,
            settings,
            initial=initial,
            unlabelled=unlabelled,
            state=path.with_name(f"{path.name}.state"),
            log=path.with_name(f"{path.name}.jsonl"),
            tensorboard=None if tensorboard is None else Path(tensorboard),
            progress=progress,
        )
        if distributed.rank() != 0:
            return None
        save_checkpoint(path, trained.checkpoint, trained.learnt if adapter_only else None)
        path.with_name(f"{path.name}.state").unlink(missing_ok=True)
        return trained


@user_errors()
def train(
    data: TrainingData,
    settings: TrainSettings,
    *,
    initial: "Initial | None" = None,
    unlabelled: SoftLabelled | None = None,
    state: Path | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    progress: bool = True,
    after_epoch: Callable[[Epoch], object] | None = None,
) -> Trained:
    """Train a network on `data`, choose the best epoch, evaluate it.

    Parameters
    ----------
    data : TrainingData
        Splits of at most `models.data.CACHE_LIMIT` bytes are cached in memory from here on.
    settings : TrainSettings
    initial : models.transfer.initial.Initial or None
        A checkpoint whose weights it starts from; None is random ones.
    unlabelled : SoftLabelled, optional
        Clips with a teacher's labels, which are half of each batch then.
    state : Path or None
        File to write the state to after each epoch, and to go on from if it is there.
    log : Path or None
        File for a JSON line an epoch.
    tensorboard : Path or None
        Folder for TensorBoard's files.
    progress : bool
        Show a bar on stderr.
    after_epoch : callable, optional
        Is told of each epoch; what it raises ends the training.

    Raises
    ------
    TrainingError
        If the loss is no longer finite, if there are too few clips for batch norm, or if a file
        cannot be written or is not this training's.
    """
    more = [] if unlabelled is None else [unlabelled.dataset]
    for dataset in (data.train, data.validation, data.test, *more):
        if dataset.nbytes <= CACHE_LIMIT:
            dataset.preload()
    device = settings.torch_device()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    is_first = distributed.rank() == 0
    with torch.random.fork_rng(devices):  # the caller's random numbers stay as they were
        training = _Training(data, settings, unlabelled, initial=initial)
        saved = None if state is None else load_state(state, training.identity)
        if saved is not None:
            training.load_state_dict(saved)
        with (
            EpochLog(*(log, tensorboard) if is_first else (None, None), training.epochs) as journal,
            Progress(
                settings.epochs * len(training.batches),
                done=len(training.epochs) * len(training.batches),
                what=data.spec.name,
                unit="batches",
                quiet=not (progress and is_first),
                stays=False,
            ) as bar,
        ):
            while not training.done:
                epoch = training.run_epoch(bar.update)
                journal.add(epoch)
                if state is not None and is_first:
                    save_state(state, training.identity, training.state_dict())
                monitored = training.task.scores.monitored
                shown = {"loss": epoch["loss"], monitored: epoch[f"validation_{monitored}"]}
                bar.show({name: f"{value:.3f}" for name, value in shown.items()})
                if after_epoch is not None:
                    after_epoch(epoch)
        return training.finish()


class _Training:
    """A network in training, and all that changes with the epochs."""

    def __init__(
        self,
        data: TrainingData,
        settings: TrainSettings,
        unlabelled: SoftLabelled | None = None,
        *,
        initial: "Initial | None" = None,
    ) -> None:
        self.epochs: list[Epoch] = []
        self._unlabelled = unlabelled
        self._second_halves: Iterator[Clip] | None = None
        half = 0 if unlabelled is None else settings.batch_size // 2
        self.task = settings.new_task(data.tags, data.train.labels)
        self._data, self._settings, self._initial = data, settings, initial
        if settings.draws != (data.draws is not None):
            raise TrainingError(
                f"draws is {settings.draws} in the settings, and the data were prepared otherwise: "
                f"give training_data(draws={settings.draws})"
            )
        settings.require_learnable(data)
        self._recipe = settings.schedule
        self._device, self._bf16 = settings.torch_device(), settings.autocast()
        torch.manual_seed(settings.seed)
        self._network = new_network(
            settings,
            data.spec,
            n_frames=data.n_frames,
            n_outputs=self.task.n_outputs,
            statistics=data.train.band_statistics() if settings.normalises else None,
        )
        architecture = settings.architecture
        if initial is not None:
            initial.give(self._network, architecture, data.spec, data.tags)
        if settings.adapter is not None:
            attach(
                self._network,
                settings.adapter,
                modules=architecture.adapts,
                head=architecture.head,
            )
        self._network.to(self._device)
        self._parallel = distributed.parallel(self._network)
        self.batches = loader(
            data.train.windows(architecture.window_frames(data.spec, data.n_frames)),
            batch_size=settings.batch_size - half,
            shuffle=True,
            seed=settings.seed,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        has_norms = any(isinstance(layer, _BatchNorm) for layer in self._network.modules())
        if self.batches.order.smallest < (2 if has_norms else 1):
            raise TrainingError(
                f"{len(data.train)} training clips in batches of at most {settings.batch_size}, "
                f"for {distributed.world_size()} process(es), leave a batch of "
                f"{self.batches.order.smallest}, and batch norm needs 2; choose another batch_size"
                " or use more clips"
            )
        self._n_steps = settings.epochs * self._recipe.steps(len(self.batches))
        self._stage = 0
        self._optimizer = self._recipe.optimizer(self._network, settings.learning_rate)
        self._ema = self._recipe.new_ema(self._network, self._n_steps)
        self._evaluated = self._network if self._ema is None else self._ema.module
        self._best_epoch = 0
        self._best_weights: dict[str, torch.Tensor] = {}
        self._best_predictions = torch.zeros(0)
        self._best_scores: Scores | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a state to be this training's."""
        settings = self._settings.json()
        del settings["device"]
        return settings | {
            "spec": self._data.spec.name,
            "encoding": self._data.encoding,
            "data": self._data.digest,
            "fold": self._data.fold,
            "draws": self._data.draws,
            "labelled": self._data.labelled,
            "teacher": None if self._unlabelled is None else self._unlabelled.identity,
            "world_size": distributed.world_size(),
            "initial": None if self._initial is None else self._initial.sha256,
        }

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or enough since the best one."""
        patience = self._recipe.patience
        n = len(self.epochs)
        return n == self._settings.epochs or (
            patience is not None and n - self._best_epoch >= patience
        )

    def run_epoch(self, step_done: Callable[[], object]) -> Epoch:
        """Train for an epoch and evaluate it on the validation split."""
        began = time.perf_counter()
        number = len(self.epochs)
        torch.manual_seed(seed_of(self._settings.seed, number, 1 + distributed.rank()))
        self._enter_stage(number)
        self._network.train()
        if self._settings.adapter is not None:
            hold_norms(self._network)
        total = torch.zeros((), device=self._device)
        if self._unlabelled is not None and self._second_halves is None:
            self._second_halves = self._unlabelled.batches(
                number * len(self.batches),
                batch_size=self._settings.batch_size // 2,
                length=self._settings.architecture.window_frames(
                    self._data.spec, self._data.n_frames
                ),
                seed=self._settings.seed,
                rank=distributed.rank(),
                world_size=distributed.world_size(),
            )
        for step, clips in enumerate(self.batches, number * len(self.batches)):
            total += self._step(step, clips) * len(clips.labels)
            step_done()
        loss = distributed.all_reduce(total).item() / len(self._data.train)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {number + 1} of {self._data.spec.name}; train "
                f"with a learning_rate below {self._settings.learning_rate:g}"
            )
        distributed.broadcast_buffers(self._evaluated)
        validation = self._data.validation
        predictions = predict(self._evaluated, validation, self.task, self._settings)
        scores = self.task.evaluate(validation.labels, predictions)
        if self._best_scores is None or self._value(scores) > self._value(self._best_scores):
            self._best_epoch, self._best_scores = number + 1, scores
            self._best_weights = copy.deepcopy(self._weights_of(self._evaluated))
            self._best_predictions = torch.from_numpy(predictions)
        epoch: Epoch = {
            "epoch": number + 1,
            "loss": loss,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            **{f"validation_{name}": value for name, value in scores.metrics.items()},
            "seconds": round(time.perf_counter() - began, 3),
        }
        self.epochs.append(epoch)
        return epoch

    def _enter_stage(self, epoch: int) -> None:
        """Go on from the best weights, with another optimiser or rate, where a stage begins."""
        stage = self._recipe.stage(epoch, self._settings.epochs)
        if stage == self._stage:
            return
        before, self._stage = self._recipe.stages[self._stage], stage
        self._load_weights(self._network, self._best_weights)
        if self._recipe.stages[stage].optimizer != before.optimizer:
            rate = self._settings.learning_rate
            self._optimizer = self._recipe.optimizer(self._network, rate, stage)

    def _weights_of(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """Its state dict, without what an adapter leaves as it is: nearly all."""
        return network.state_dict() if self._settings.adapter is None else unfrozen(network)

    def _load_weights(self, network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
        network.load_state_dict(weights, strict=self._settings.adapter is None)

    def _value(self, scores: Scores) -> float:
        """What is monitored: more is better."""
        if self._recipe.monitor == "loss":
            return -scores.metrics["loss"]
        return scores.metrics[scores.monitored]

    def _step(self, number: int, clips: Clip) -> torch.Tensor:
        """Learn from batch `number` of all epochs'; its mean loss before that."""
        epoch, batch = divmod(number, len(self.batches))
        first, share = self._recipe.share(batch, len(self.batches))
        values, labels = augmented(
            clips.values.to(self._device), clips.labels.to(self._device), self._settings.augment
        )
        n = len(labels)
        if self._second_halves is not None:
            clips = next(self._second_halves)
            more, soft_labels = augmented(
                clips.values.to(self._device), clips.labels.to(self._device), self._settings.augment
            )
            values = torch.cat([values, more])
        with torch.autocast(self._device.type, torch.bfloat16, self._bf16):
            outputs = self._parallel(values)
        loss = self.task.loss(outputs[:n].float(), labels)
        if self._unlabelled is not None:
            of_teacher = self.task.loss(outputs[n:].float(), soft_labels)
            loss = loss + self._unlabelled.mixing * of_teacher
        if batch == first:
            self._optimizer.zero_grad()
        (loss / share).backward()  # type: ignore[no-untyped-call]
        if batch == first + share - 1:
            self._change_weights(
                epoch * self._recipe.steps(len(self.batches)) + batch // self._recipe.accumulate
            )
        return loss.detach()

    def _change_weights(self, step: int) -> None:
        """Take step `step` of the optimiser, from 0, by the gradients that there are."""
        if self._recipe.grad_clip_norm is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.grad_clip_norm)
        rate = self._settings.learning_rate * self._recipe.rate(step, self._n_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * self._recipe.stages[self._stage].rate
        self._optimizer.step()
        if self._ema is not None:
            self._ema.update_parameters(self._network)

    def finish(self) -> Trained:
        """Evaluate the best epoch's network on the test split."""
        assert self._best_scores is not None
        self._load_weights(self._evaluated, self._best_weights)
        by_adapter = None
        if self._settings.adapter is not None:
            by_adapter = learnt(self._evaluated)
            merge(self._evaluated)
        data = self._data
        predictions, seconds = timed_predict(self._evaluated, data.test, self.task, self._settings)
        training = Training(
            fold=data.fold,
            best_epoch=self._best_epoch,
            losses=tuple(epoch["loss"] for epoch in self.epochs),
            validation=self._best_scores,
            test=self.task.evaluate(data.test.labels, predictions),
            seconds=sum(epoch["seconds"] for epoch in self.epochs),
            inference_seconds_per_clip=seconds,
        )
        checkpoint = Checkpoint(
            network=self._evaluated.cpu().eval(),
            spec=data.spec,
            n_frames=data.n_frames,
            window=data.window,
            tags=data.tags,
            settings=self._settings,
            training=training,
            source="" if self._initial is None else self._initial.source,
            teacher=None if self._unlabelled is None else dict(self._unlabelled.provenance),
        )
        return Trained(
            checkpoint=checkpoint,
            training=training,
            targets=data.test.labels,
            predictions=predictions,
            learnt=by_adapter,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "batches": self.batches.state_dict(),
            "network": self._weights_of(self._network),
            "optimizer": self._optimizer.state_dict(),
            "ema": None if self._ema is None else self._weights_of(self._ema),
            "best_epoch": self._best_epoch,
            "best_weights": self._best_weights,
            "best_predictions": self._best_predictions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]
        self.batches.load_state_dict(state["batches"])
        self._load_weights(self._network, state["network"])
        self._stage = self._recipe.stage(max(0, len(self.epochs) - 1), self._settings.epochs)
        self._optimizer = self._recipe.optimizer(
            self._network, self._settings.learning_rate, self._stage
        )
        self._optimizer.load_state_dict(state["optimizer"])
        if self._ema is not None:
            self._load_weights(self._ema, state["ema"])
        self._best_epoch = state["best_epoch"]
        self._best_weights = state["best_weights"]
        self._best_predictions = state["best_predictions"]
        self._best_scores = self.task.evaluate(
            self._data.validation.labels, self._best_predictions.numpy()
        )
