"""Weights as the study publishes them, under the names that they have in the networks here."""

from collections.abc import Mapping

import torch

from featurestore.errors import TrainingError
from models.networks.architecture import Architecture

FRONT_END = ("spec.spectrogram.window", "spec.mel_scale.fb")
"""What the study's networks hold of their spectrogram. The spec has it here."""


def renamed(
    state: Mapping[str, torch.Tensor], modules: Mapping[str, str], architecture: Architecture
) -> dict[str, torch.Tensor]:
    """Give published weights the names that `load_state_dict` of the network here takes.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        Weights by the study's names, for any number of outputs.
    modules : mapping of str to str
        What the study calls a module that holds weights, and what it is called here.
    architecture : Architecture
        The network, at the spec and the window that it was published with.

    Raises
    ------
    TrainingError
        If one of the weights is unknown, missing, or of a shape that is not the network's.
    """
    spec, window = architecture.takes, architecture.window
    assert spec is not None
    assert window is not None
    theirs = {here: name for name, here in modules.items()}
    last = state.get(f"{theirs['dense']}.bias", torch.empty(1))
    with torch.device("meta"):
        network = architecture.new(
            spec, n_frames=spec.n_frames(round(window * spec.sr)), n_outputs=last.numel()
        )
    expected = {}
    for here, values in network.state_dict().items():
        module, _, kind = here.rpartition(".")
        expected[f"{theirs[module]}.{kind}"] = here, values.shape

    def refusal(problem: str) -> TrainingError:
        return TrainingError(
            f"these are not the published weights of {architecture.name}: {problem}; choose the "
            "network that they are of"
        )

    for name in state:
        if name not in expected and name not in FRONT_END:
            raise refusal(f"{name} is unknown")
    for name in expected:
        if name not in state:
            raise refusal(f"{name} is missing")
    for name, (_, shape) in expected.items():
        if state[name].shape != shape:
            raise refusal(f"{name} is {tuple(state[name].shape)}, not {tuple(shape)}")
    return {here: state[name] for name, (here, _) in expected.items()}
