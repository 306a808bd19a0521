"""Checkpoints: a trained network, what it is for and how good it is, in a file without code."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.mel import FeatureSpec
from featurestore.storage.atomic import atomic_write
from models.data import BandStatistics
from models.networks.norm import BandNorm
from models.tasks.task import Scores, Task
from models.training.recipes import RECIPES
from models.training.settings import TrainSettings

_FORMAT = "melgrid-checkpoint-2"
_NOT_JSON = ("network", "targets", "predictions")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network and how good it is.

    Attributes
    ----------
    network : nn.Module
        Of the best epoch, on the CPU, ready to evaluate: windows of clips, as long as
        `models.networks.architecture.Architecture.window_frames` says, to ``(batch, n_outputs)``.
        `models.training.predict.predict` applies it to whole clips.
    spec : FeatureSpec
        What its input is.
    n_frames : int
        Frames in a clip.
    tags : tuple of str
        What its task is about.
    fold : int or None
        The fold it was tested on.
    settings : TrainSettings
    best_epoch : int
        From 1.
    losses : tuple of float
        Mean training loss of each epoch.
    validation, test : Scores
        Of the best epoch.
    seconds : float
        Time the epochs took [s], validation included.
    inference_seconds_per_clip : float
        Time the network took to predict the test split [s], shared among its clips; reading them
        is left out.
    targets, predictions : array
        The test split's labels, and what the network predicted ``(n_test, n_outputs)``, float32.
        A checkpoint does not keep them: they have no rows in what `load_checkpoint` returns.
    """

    network: nn.Module
    spec: FeatureSpec
    n_frames: int
    tags: tuple[str, ...]
    fold: int | None
    settings: TrainSettings
    best_epoch: int
    losses: tuple[float, ...]
    validation: Scores
    test: Scores
    seconds: float
    inference_seconds_per_clip: float
    targets: npt.NDArray[np.float32] = dataclasses.field(compare=False)
    predictions: npt.NDArray[np.float32] = dataclasses.field(compare=False)

    @property
    def task(self) -> Task:
        """Task that the network was trained for."""
        return self.settings.new_task(self.tags)


def new_network(
    settings: TrainSettings,
    spec: FeatureSpec,
    *,
    n_frames: int,
    n_outputs: int,
    statistics: BandStatistics | None = None,
) -> nn.Module:
    """Make the network to be trained on clips of ``(spec.n_mels, n_frames)``, or loaded.

    Parameters
    ----------
    settings : TrainSettings
    spec : FeatureSpec
    n_frames : int
        Frames of a clip.
    n_outputs : int
    statistics : BandStatistics or None
        Of the training split: the network begins with a `BandNorm` of them where the recipe
        normalises. None where weights are to be loaded, which bring their own.
    """
    network = settings.architecture.new(
        spec, n_frames=n_frames, n_outputs=n_outputs, width=settings.width
    )
    if RECIPES[settings.recipe].normalise:
        norm = BandNorm.identity(spec.n_mels) if statistics is None else BandNorm(*statistics)
        network = nn.Sequential(norm, network)
    # Weights that lie as convolutions like them: a step was measured 1.7 times as fast on a CPU.
    # The layout shows in the last bits of the outputs.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def save_checkpoint(path: str | os.PathLike[str], trained: Trained) -> None:
    """Write `trained` to a file of tensors and JSON text; nothing in it is code.

    Written beside its place and moved there, so that the file is whole or is not.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    path = Path(path)
    metadata = {
        field.name: getattr(trained, field.name)
        for field in dataclasses.fields(trained)
        if field.name not in _NOT_JSON
    }
    metadata |= {
        "spec": trained.spec.name,
        "settings": dataclasses.asdict(trained.settings),
        "validation": trained.validation.json(),
        "test": trained.test.json(),
    }
    weights = {name: v.contiguous() for name, v in trained.network.state_dict().items()}
    saved = {"format": _FORMAT, "metadata": json.dumps(metadata), "weights": weights}
    with atomic_write(path, what="the checkpoint") as partial, partial.open("wb") as file:
        torch.save(saved, file)


def load_checkpoint(path: str | os.PathLike[str]) -> Trained:
    """Rebuild what `save_checkpoint` wrote.

    Raises
    ------
    TrainingError
        If there is no such file, or if it is not a checkpoint of this version; code in it is not
        run.
    """
    path = Path(path)
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint at {path}; melgrid train writes one")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != _FORMAT:
            raise TrainingError(
                f"{path} is a checkpoint of format {saved['format']!r}, this melgrid reads "
                f"{_FORMAT!r}; train again"
            )
        fields = json.loads(saved["metadata"])
        fields["spec"] = FeatureSpec.parse(fields["spec"])
        fields["settings"] = TrainSettings.from_json(fields["settings"] | {"device": "auto"})
        for name in ("tags", "losses"):
            fields[name] = tuple(fields[name])
        task = fields["settings"].new_task(fields["tags"])
        for split in ("validation", "test"):
            fields[split] = task.scores.from_json(fields[split])
        network = new_network(
            fields["settings"],
            fields["spec"],
            n_frames=fields["n_frames"],
            n_outputs=task.n_outputs,
        )
        network.load_state_dict(saved["weights"])
        no_rows = np.zeros((0, task.n_outputs), np.float32)
        return Trained(network=network.eval(), targets=no_rows, predictions=no_rows, **fields)
    except TrainingError:
        raise
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise TrainingError(
            f"{path} is not a melgrid checkpoint, or is damaged: {error}"
        ) from error
