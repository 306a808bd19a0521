"""The networks, by the name that the command line and the results file use."""

from torch import nn

from featurestore.errors import TrainingError
from featurestore.spec import FeatureSpec
from models.vgg import VGG

NETWORKS = {"vgg": VGG}
"""One file a network. Each takes ``(spec, n_frames=, n_tags=, width=)``, clips to logits."""


def build(
    model: str, spec: FeatureSpec, *, n_frames: int, n_tags: int, width: float = 1.0
) -> nn.Module:
    """Make the network named `model` for clips of ``(spec.n_mels, n_frames)``.

    Raises
    ------
    TrainingError
        If there is no such network, or if it cannot be made so.
    """
    if model not in NETWORKS:
        raise TrainingError(f"model is {model!r}; it must be one of {', '.join(NETWORKS)}")
    return NETWORKS[model](spec, n_frames=n_frames, n_tags=n_tags, width=width)
