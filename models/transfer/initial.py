"""A checkpoint that a training starts from, and its weights in another network.

It is of the same network and the same kind of spec. Where tags differ, or the head is made
otherwise (`models.networks.architecture.Architecture.head`), the head is new; all else has to fit.
A network that can be made for another length or other bands says how by a method ``weights_of``, as
AST adapts its positions.
"""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.result import count
from featurestore.specs.spec import Spec
from models.networks.architecture import Architecture
from models.networks.norm import core
from models.training.checkpoint import Checkpoint, load_checkpoint
from models.training.settings import TrainSettings

RANDOM_AND_FROZEN = (
    "warning: without --init, --adapter is no transfer: the weights that it leaves as they are "
    "are random"
)


@runtime_checkable
class Transferable(Protocol):
    """A network that takes over weights of one that was made for other clips."""

    def weights_of(self, other: Self) -> dict[str, torch.Tensor]:
        """State dict of another network of this class, as it fits this one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initial:
    """A checkpoint, to start from.

    Attributes
    ----------
    checkpoint : Checkpoint
    path : Path
        Its file.
    sha256 : str
        Of the file.
    """

    checkpoint: Checkpoint
    path: Path
    sha256: str

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, model: str | None = None) -> Self:
        """Read a checkpoint; parameters and errors are those of `load_checkpoint`."""
        path = Path(path)
        checkpoint = load_checkpoint(path, model=model)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(checkpoint=checkpoint, path=path, sha256=digest)

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    @property
    def source(self) -> str:
        """Name and digest of the file, as checkpoints keep it."""
        return f"{self.name}, sha256 {self.sha256}"

    def notes(self, settings: TrainSettings, spec: Spec, tags: tuple[str, ...]) -> list[str]:
        """What one should know of a training that starts from it: lines."""
        theirs = self.checkpoint
        head = (
            f"its head is new, for {count(len(tags), 'tag')}"
            if theirs.tags != tags or theirs.settings.model != settings.model
            else "its head too"
        )
        lines = [f"starts from {self.name}; {head}"]
        if theirs.spec != spec:
            lines.append(f"warning: {self.name} was trained on {theirs.spec}, not on {spec}")
        return lines

    def give(
        self, network: nn.Module, architecture: Architecture, spec: Spec, tags: tuple[str, ...]
    ) -> None:
        """Put its weights into a network, but for those of a head that is new.

        Parameters
        ----------
        network : nn.Module
            As `models.training.checkpoint.new_network` makes it. Behind a
            `models.networks.norm.BandNorm`, both take over what they have there.
        architecture : Architecture
            Of `network`.
        spec : Spec
            What it is trained on.
        tags : tuple of str
            What it is trained for.

        Raises
        ------
        TrainingError
            If they are of another network, another kind of spec, or do not fit.
        """
        theirs = self.checkpoint
        self._require(theirs.settings.architecture.family == architecture.family, (
            f"is of {theirs.settings.architecture.name}, and {architecture.name} is to be trained; "
            "take the same network"
        ))  # fmt: skip
        self._require(theirs.spec.kind == spec.kind, (
            f"is of specs of the kind {theirs.spec.kind!r}, and {spec} is of the kind "
            f"{spec.kind!r}; take a spec like {theirs.spec}"
        ))  # fmt: skip
        own, of_theirs = core(network), core(theirs.network)
        self._require((own is network) == (of_theirs is theirs.network), (
            f"was trained by {theirs.settings.recipe}; that recipe or the one that is chosen "
            "normalises bands, and the other does not: take recipes that agree"
        ))  # fmt: skip
        weights = (
            own.weights_of(of_theirs)
            if isinstance(own, Transferable) and type(own) is type(of_theirs)
            else of_theirs.state_dict()
        )
        expected = own.state_dict()
        head = f"{architecture.head}."
        has_head = any(name.startswith(head) for name in expected)
        self._require(has_head or theirs.tags == tags, (
            f"has tags of its own, and {architecture.name} no module {architecture.head} that "
            "could be new; an Architecture says which module is its head"
        ))  # fmt: skip
        if theirs.tags != tags or _shapes(weights, head) != _shapes(expected, head):
            weights = {name: v for name, v in weights.items() if not name.startswith(head)}
            weights |= {name: v for name, v in expected.items() if name.startswith(head)}
        self._fit(weights, expected)
        own.load_state_dict(weights)
        if own is not network:
            norms = theirs.network.get_submodule("0").state_dict()
            ours = network.get_submodule("0")
            self._fit(norms, ours.state_dict())
            ours.load_state_dict(norms)

    def _fit(self, weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
        """Refuse weights that the network has no place for, or the other way."""
        found, wanted = _shapes(weights, ""), _shapes(expected, "")
        for name in [*wanted, *found]:
            self._require(found.get(name) == wanted.get(name), (
                f"does not fit: its {name} is {found.get(name, 'not there')}, and the network's "
                f"{wanted.get(name, 'not there')}; take its --width "
                f"{self.checkpoint.settings.width:g}, its network "
                f"{self.checkpoint.settings.architecture.name} and a spec like "
                f"{self.checkpoint.spec}"
            ))  # fmt: skip

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise TrainingError(f"the checkpoint {self.name} to start from {problem}")


def _shapes(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(values.shape) for name, values in weights.items() if name.startswith(prefix)
    }
