"""What an adapter learnt, merged into the checkpoint that it started from."""

import dataclasses
import os
from typing import Any

from featurestore.errors import TrainingError
from featurestore.result import count
from models.networks.adapters import attach, learnt, merge
from models.networks.norm import core
from models.training.checkpoint import load_learnt, save_checkpoint
from models.transfer.initial import Initial


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergedAdapter:
    """A checkpoint that was made of another one and an adapter.

    Attributes
    ----------
    checkpoint : str
        Where it is.
    model, spec, adapter : str
    n_tags, learnt, parameters : int
        Of the parameters, how many were learnt.
    """

    checkpoint: str
    model: str
    spec: str
    adapter: str
    n_tags: int
    learnt: int
    parameters: int

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """What it is, and where."""
        return [
            f"{self.model}, {self.parameters:,} parameters, {count(self.n_tags, 'tag')}",
            f"{self.learnt:,} learnt, by {self.adapter} and in the head",
            f"takes {self.spec}",
            f"saved in {self.checkpoint}",
        ]


def merge_adapter(
    base: str | os.PathLike[str],
    adapter: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
) -> MergedAdapter:
    """Write the checkpoint that a training by an adapter would have written.

    Parameters
    ----------
    base : path
        The checkpoint that it started from.
    adapter : path
        What it wrote: `models.training.loop.train_to_checkpoint`, with ``adapter_only``.
    output : path
        The checkpoint.
    model : str, optional
        As `models.training.checkpoint.load_checkpoint` takes it.

    Raises
    ------
    TrainingError
        If one of them is not what it should be, or the training started from another checkpoint.
    OutputError
        If the checkpoint cannot be written.
    """
    checkpoint, weights = load_learnt(adapter, model=model)
    initial = Initial.open(base, model=model)
    if not checkpoint.source.endswith(initial.sha256):
        raise TrainingError(
            f"{os.fspath(adapter)} was learnt from {checkpoint.source}, and {os.fspath(base)} has "
            f"the sha256 {initial.sha256}; give that checkpoint"
        )
    architecture, chosen = checkpoint.settings.architecture, checkpoint.settings.adapter
    network = checkpoint.network
    initial.give(network, architecture, checkpoint.spec, checkpoint.tags)
    damaged = TrainingError(f"{os.fspath(adapter)} is damaged: its weights do not fit its settings")
    if chosen is None:
        raise damaged
    attach(network, chosen, modules=architecture.adapts, head=architecture.head)
    expected = {name: values.shape for name, values in learnt(network).items()}
    if expected != {name: values.shape for name, values in weights.items()}:
        raise damaged
    core(network).load_state_dict(weights, strict=False)
    merge(network)
    save_checkpoint(output, checkpoint)
    return MergedAdapter(
        checkpoint=os.fspath(output),
        model=architecture.name,
        spec=checkpoint.spec.name,
        adapter=chosen.kind,
        n_tags=len(checkpoint.tags),
        learnt=sum(values.numel() for values in weights.values()),
        parameters=sum(values.numel() for values in network.parameters()),
    )
