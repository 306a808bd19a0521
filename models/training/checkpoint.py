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
from models.evaluation.metrics import Scores
from models.networks import build, segment_frames
from models.networks.norm import BandNorm
from models.training.recipes import RECIPES
from models.training.settings import TrainSettings

_FORMAT = "melgrid-checkpoint-2"
_NOT_JSON = ("network", "truth", "scores")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network and how good it is.

    Attributes
    ----------
    network : nn.Module
        Of the best epoch, on the CPU, ready to evaluate: clips ``(batch, n_mels, n_frames)``, or
        segments of them where `models.networks.segment_frames` says so, to logits
        ``(batch, n_tags)``. `models.training.loop.predict` applies it to clips of any kind.
    spec : FeatureSpec
        What its input is.
    n_frames : int
        Frames in a clip.
    tags : tuple of str
        What its outputs are.
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
        Time the network took to judge the test split [s], shared among its clips; reading them
        is left out.
    truth, scores : array, shape (n_test, n_tags)
        The test split's labels and the probabilities that the network gave, float32. A checkpoint
        does not keep them: they have no rows in what `load_checkpoint` returns.
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
    truth: npt.NDArray[np.float32] = dataclasses.field(compare=False)
    scores: npt.NDArray[np.float32] = dataclasses.field(compare=False)


def new_network(
    settings: TrainSettings, spec: FeatureSpec, *, n_frames: int, n_tags: int
) -> nn.Module:
    """Make the network to be trained on clips of ``(spec.n_mels, n_frames)``, or loaded.

    The first part of it is a `BandNorm` where the recipe normalises.
    """
    network = build(
        settings.model,
        spec,
        n_frames=segment_frames(settings.model, spec, n_frames) or n_frames,
        n_tags=n_tags,
        width=settings.width,
    )
    if RECIPES[settings.recipe].normalise:
        network = nn.Sequential(BandNorm(spec.n_mels), network)
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
        "validation": dataclasses.asdict(trained.validation),
        "test": dataclasses.asdict(trained.test),
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
        for split in ("validation", "test"):
            scores = fields[split]
            fields[split] = Scores(**scores | {"tags_left_out": tuple(scores["tags_left_out"])})
        for name in ("tags", "losses"):
            fields[name] = tuple(fields[name])
        network = new_network(
            fields["settings"],
            fields["spec"],
            n_frames=fields["n_frames"],
            n_tags=len(fields["tags"]),
        )
        network.load_state_dict(saved["weights"])
        nobody = np.zeros((0, len(fields["tags"])), np.float32)
        return Trained(network=network.eval(), truth=nobody, scores=nobody, **fields)
    except TrainingError:
        raise
    except Exception as error:  # torch.load alone raises half a dozen kinds
        raise TrainingError(
            f"{path} is not a melgrid checkpoint, or is damaged: {error}"
        ) from error
