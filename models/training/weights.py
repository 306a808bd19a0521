"""Weights that others published, as checkpoints."""

import dataclasses
import hashlib
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from featurestore.errors import TrainingError, TrainingSettingsError
from featurestore.result import count
from models.networks import PUBLISHED, parse_architecture
from models.networks.cost import frames_of
from models.networks.gong2021 import ast
from models.training.checkpoint import Checkpoint, new_network, save_checkpoint
from models.training.settings import TrainSettings

_RECIPES = {"ast": "ast-dora", "mtt": "won2021"}
"""By which recipe a network judges a clip; ``won2020`` otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportedWeights:
    """A checkpoint that was made of published weights.

    Attributes
    ----------
    checkpoint : str
        Where it is.
    model, spec, source : str
    n_frames : int
        Of a clip.
    n_tags, parameters : int
    """

    checkpoint: str
    model: str
    spec: str
    source: str
    n_frames: int
    n_tags: int
    parameters: int

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """What it is, and where."""
        return [
            f"{self.model}, {self.parameters:,} parameters, {count(self.n_tags, 'tag')}",
            f"takes {self.spec}",
            f"saved in {self.checkpoint}",
        ]


def import_weights(
    path: str | os.PathLike[str],
    *,
    model: str,
    tags: Sequence[str],
    output: str | os.PathLike[str] | None = None,
) -> ImportedWeights:
    """Make a checkpoint of published weights.

    It takes the spec that the network was published with, clips of 29.1 s, and judges a clip in
    float32, by as many windows as its study, 16 or 8, or, of AST, by those that follow each other.
    Of AST that was made for less than 1024 frames, clips are that long.

    Parameters
    ----------
    path : path
        A state dict, as torch.save or safetensors write it. Code in it is not run.
    model : str
        A name in `models.networks.PUBLISHED`.
    tags : sequence of str
        What the outputs are, in their order.
    output : path, optional
        The checkpoint. None is ``<model>.safetensors``.

    Raises
    ------
    TrainingError
        If the file is not weights of this network, or they have not as many outputs as tags.
    TrainingSettingsError
        If there is no such network, or no published weights of it are known.
    OutputError
        If the checkpoint cannot be written.
    """
    architecture = parse_architecture(model)
    convert = PUBLISHED.get(architecture.name) or PUBLISHED.get(architecture.family)
    if convert is None or architecture.takes is None:
        raise TrainingSettingsError(
            f"no published weights of {architecture.name} are known; of {', '.join(PUBLISHED)} "
            "there are"
        )
    path = Path(path)
    output = Path(f"{architecture.name}.safetensors" if output is None else output)
    if output.resolve() == path.resolve():
        raise TrainingError(f"the checkpoint {output} would replace the weights; name another")
    weights = convert(read_state_dict(path))
    n_outputs = len(weights.get(f"{architecture.head}.bias", tags))
    if n_outputs != len(tags):
        raise TrainingError(
            f"{path} has {count(n_outputs, 'output')}, and there are {count(len(tags), 'tag')}; "
            "give those that it was trained on, in the order of the outputs"
        )
    spec = architecture.takes
    settings = TrainSettings(
        model=architecture.name, recipe=_RECIPES.get(architecture.family, "won2020"), amp="off"
    )
    n_frames = frames_of(spec)
    if architecture.family == ast.ARCHITECTURE.name:
        made_for = ast.published_frames(weights, spec.n_bands)
        if made_for < architecture.window_frames(spec, n_frames):
            n_frames = made_for
    network = new_network(settings, spec, n_frames=n_frames, n_outputs=n_outputs)
    _require_same(weights, network.state_dict(), f"{path} holds other weights than {model} has")
    network.load_state_dict(weights)
    checkpoint = Checkpoint(
        network=network.eval(),
        spec=spec,
        n_frames=n_frames,
        tags=tuple(tags),
        settings=settings,
        training=None,
        source=f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
    )
    save_checkpoint(output, checkpoint)
    return ImportedWeights(
        checkpoint=str(output),
        model=architecture.name,
        spec=spec.name,
        source=checkpoint.source,
        n_frames=checkpoint.n_frames,
        n_tags=len(tags),
        parameters=sum(values.numel() for values in network.parameters()),
    )


def _require_same(
    weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], problem: str
) -> None:
    """Refuse weights of other names or shapes."""
    for name in [*expected, *weights]:
        found, wanted = (
            tuple(state[name].shape) if name in state else "not there"
            for state in (weights, expected)
        )
        if found != wanted:
            raise TrainingError(
                f"{problem}: {name} is {found}, not {wanted}; choose the network that they are of"
            )


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name, of a file that torch.save or safetensors wrote.

    Raises
    ------
    TrainingError
        If there is no such file, or if it holds anything else.
    """
    if not path.is_file():
        raise TrainingError(f"there is no file of weights at {path}")
    try:
        state = _read(path)
    except TrainingError:
        raise
    except Exception as error:  # torch.load alone raises half a dozen kinds
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise TrainingError(
                f"{path} holds more than tensors, {code[1]}, which would be code to run; give "
                "weights alone, as torch.save(network.state_dict(), …) writes them"
            ) from None
        raise TrainingError(
            f"{path} is not a file of weights, or is damaged; give a state dict, as torch.save or "
            "safetensors write it"
        ) from error
    others = [f"it is of type {type(state).__name__}"]
    if isinstance(state, dict):
        others = [
            f"{name!r:.40} is of type {type(value).__name__}"
            for name, value in state.items()
            if not (isinstance(name, str) and isinstance(value, torch.Tensor))
        ]
    if others:
        raise TrainingError(
            f"{path} is not a state dict, a tensor by each name: {others[0]}; save "
            "network.state_dict() alone"
        )
    return dict(state)


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"
    if not is_safetensors:
        with warnings.catch_warnings(action="ignore"):  # of formats that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("format", "").startswith("melgrid"):
            raise TrainingError(f"{path} is a checkpoint of melgrid's already")
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_tags(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read tags of a text file, one a line.

    Raises
    ------
    TrainingError
        If there is no such file, it is not UTF-8, or a tag is in it twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise TrainingError(f"the tags {path} cannot be read: {why}") from None
    tags = [line.strip() for line in lines if line.strip()]
    twice = next((tag for tag in tags if tags.count(tag) > 1), None)
    if twice is not None:
        raise TrainingError(f"the tag {twice!r} is in {path} twice")
    return tuple(tags)
