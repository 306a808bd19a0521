"""Checkpoints: a network, what it is for and how good it is, in a file without code."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.kinds import parse_spec
from featurestore.specs.spec import Spec
from featurestore.storage.atomic import atomic_write
from models.data import BandStatistics
from models.networks.norm import BandNorm
from models.tasks.task import Scores, Task
from models.training.settings import TrainSettings

_FORMAT = "melgrid-checkpoint-3"
_ADAPTER = "melgrid-adapter-1"
_ZIPPED = "melgrid-checkpoint-2"  # an earlier melgrid's, which torch.save wrote


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a network was trained, and how good it is.

    Attributes
    ----------
    fold : int or None
        The fold it was tested on.
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
    """

    fold: int | None
    best_epoch: int
    losses: tuple[float, ...]
    validation: Scores
    test: Scores
    seconds: float
    inference_seconds_per_clip: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A network with all that it takes to predict.

    Attributes
    ----------
    network : nn.Module
        Of the best epoch, on the CPU, ready to evaluate: windows of clips, as long as
        `models.networks.architecture.Architecture.window_frames` says, to ``(batch, n_outputs)``.
        `models.training.predict.predict` applies it to whole clips.
    spec : Spec
        What its input is.
    n_frames : int
        Frames in a clip.
    window : Excerpt or None
        Which stretch of a track such a clip was; None where that is not known.
    tags : tuple of str
        What its task is about.
    settings : TrainSettings
        With which it was trained, or is judged.
    training : Training or None
        None where it was not trained here.
    source : str
        Where weights that were not trained here are from, or what training started from; with its
        sha256.
    teacher : dict or None
        What a student learnt from a teacher, and from which, as JSON; None of one that had none.
    """

    network: nn.Module
    spec: Spec
    n_frames: int
    tags: tuple[str, ...]
    settings: TrainSettings
    training: Training | None
    window: Excerpt | None = None
    source: str = ""
    teacher: dict[str, Any] | None = None

    @property
    def task(self) -> Task:
        """Task that the network was trained for."""
        return self.settings.new_task(self.tags)


def new_network(
    settings: TrainSettings,
    spec: Spec,
    *,
    n_frames: int,
    n_outputs: int,
    statistics: BandStatistics | None = None,
) -> nn.Module:
    """Make the network to be trained on clips of ``(spec.n_bands, n_frames)``, or loaded.

    Parameters
    ----------
    settings : TrainSettings
    spec : Spec
    n_frames : int
        Frames of a clip.
    n_outputs : int
    statistics : BandStatistics or None
        Of the training split: the network begins with a `BandNorm` of them if
        `TrainSettings.normalises`. None where weights are to be loaded, which bring their own.
    """
    network = settings.architecture.new(
        spec, n_frames=n_frames, n_outputs=n_outputs, width=settings.width
    )
    if settings.normalises:
        norm = BandNorm.identity(spec.n_bands) if statistics is None else BandNorm(*statistics)
        network = nn.Sequential(norm, network)
    # Weights that lie as convolutions like them: a step was measured 1.7 times as fast on a CPU.
    # The layout shows in the last bits of the outputs.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def save_checkpoint(
    path: str | os.PathLike[str],
    checkpoint: Checkpoint,
    learnt: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint: weights and JSON text, as safetensors; nothing in it is code.

    Written beside its place and moved there, so that the file is whole or is not.

    Parameters
    ----------
    path : path
    checkpoint : Checkpoint
    learnt : dict of str to torch.Tensor, optional
        Write these weights in place of the network's: what an adapter has learnt, for
        `models.transfer.merging` to read.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    training = checkpoint.training
    metadata = {
        "spec": checkpoint.spec.name,
        "n_frames": checkpoint.n_frames,
        "window": checkpoint.window and dataclasses.asdict(checkpoint.window),
        "tags": checkpoint.tags,
        "settings": checkpoint.settings.json(),
        "source": checkpoint.source,
        "teacher": checkpoint.teacher,
        "training": training
        and {field.name: getattr(training, field.name) for field in dataclasses.fields(training)}
        | {"validation": training.validation.json(), "test": training.test.json()},
    }
    weights = checkpoint.network.state_dict() if learnt is None else learnt
    form = _FORMAT if learnt is None else _ADAPTER
    written = save(
        {name: values.contiguous() for name, values in weights.items()},
        {"format": form, "metadata": json.dumps(metadata)},
    )
    with atomic_write(Path(path), what="the checkpoint") as partial:
        partial.write_bytes(written)


def load_checkpoint(path: str | os.PathLike[str], *, model: str | None = None) -> Checkpoint:
    """Read what `save_checkpoint` wrote, of this melgrid or an earlier one.

    Parameters
    ----------
    path : path
    model : str, optional
        The network that it is of; needed where that is from a file of one's own,
        ``my_net.py:MyNet``: a checkpoint never says what file to run.

    Raises
    ------
    TrainingError
        If there is no such file, or if it is not a checkpoint of these versions; code in it is not
        run. If it is of another network than `model`, or of one from a file which `model` does not
        say, or is now another version of.
    """
    checkpoint, weights = _load(Path(path), (_FORMAT, _ZIPPED), model)
    try:
        checkpoint.network.load_state_dict(weights)
    except RuntimeError as error:
        raise _damaged(Path(path), error) from error
    return checkpoint


def load_learnt(
    path: str | os.PathLike[str], *, model: str | None = None
) -> tuple[Checkpoint, dict[str, torch.Tensor]]:
    """Read what `save_checkpoint` wrote of an adapter: a checkpoint, and the weights.

    The checkpoint's network is one of random weights, without the adapter that `settings` say.

    Raises
    ------
    TrainingError
        As `load_checkpoint` does.
    """
    return _load(Path(path), (_ADAPTER,), model)


def _load(
    path: Path, forms: tuple[str, ...], model: str | None
) -> tuple[Checkpoint, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint at {path}; melgrid train writes one")
    try:
        form, metadata, weights = _read(path)
        if form not in forms:
            raise TrainingError(_other_format(path, form))
        return _checkpoint(json.loads(metadata), model), weights
    except TrainingError:
        raise
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path} is not a melgrid checkpoint, or is damaged: {error}")


def _other_format(path: Path, form: str) -> str:
    if form == _ADAPTER:
        return (
            f"{path} is what an adapter learnt, without the network: melgrid merge-adapter BASE "
            f"{path} makes a checkpoint of both"
        )
    if form in (_FORMAT, _ZIPPED):
        return f"{path} is a whole checkpoint; give what train --save-adapter wrote"
    return f"{path} is a checkpoint of format {form!r}, this melgrid reads {_FORMAT!r}; train again"


def _read(path: Path) -> tuple[str, str, dict[str, torch.Tensor]]:
    """Format, metadata as JSON, and weights."""
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"PK"
    if is_zipped:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return saved["format"], saved.get("metadata", ""), saved.get("weights", {})
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
        return (
            said.get("format", ""),
            said.get("metadata", ""),
            {name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118
        )


def _checkpoint(fields: dict[str, Any], model: str | None) -> Checkpoint:
    """A checkpoint, but for its weights."""
    spec = parse_spec(fields["spec"])
    settings = TrainSettings.from_json(fields["settings"] | {"device": "auto"}, model=model)
    tags = tuple(fields["tags"])
    task = settings.new_task(tags)
    network = new_network(settings, spec, n_frames=fields["n_frames"], n_outputs=task.n_outputs)
    # In the earlier format, how it was trained stands beside the rest.
    trained = fields.get("training", fields)
    return Checkpoint(
        network=network.eval(),
        spec=spec,
        n_frames=fields["n_frames"],
        window=Excerpt.from_json(fields["window"]) if fields.get("window") else None,
        tags=tags,
        settings=settings,
        source=fields.get("source", ""),
        teacher=fields.get("teacher"),
        training=trained
        and Training(
            **{f.name: trained[f.name] for f in dataclasses.fields(Training)}
            | {"losses": tuple(trained["losses"])}
            | {split: task.scores.from_json(trained[split]) for split in ("validation", "test")}
        ),
    )
