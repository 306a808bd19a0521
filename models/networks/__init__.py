"""The networks, by the name that the command line and the results file use."""

from collections.abc import Callable
from functools import partial

from torch import nn

from featurestore.errors import TrainingSettingsError
from featurestore.specs.mel import FeatureSpec
from models.networks.musicnn import MUSICNN
from models.networks.vgg import VGG

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg": VGG,
    "musicnn": MUSICNN,
    "musicnn-original": partial(MUSICNN, pooling="original"),
}
"""One file a network. Each takes ``(spec, n_frames=, n_tags=, width=)``, and makes a network from
``(batch, n_mels, n_frames)`` to logits."""

SEGMENT_SECONDS = {"musicnn": 3, "musicnn-original": 3}
"""Networks that take segments of a clip, and how long these are [s]; others take whole clips."""


def build(
    model: str, spec: FeatureSpec, *, n_frames: int, n_tags: int, width: float = 1.0
) -> nn.Module:
    """Make the network named `model` for input of ``(spec.n_mels, n_frames)``.

    Parameters
    ----------
    n_frames : int
        Frames of what the network takes: of a segment (`segment_frames`) or of a clip.

    Raises
    ------
    TrainingError
        If there is no such network, or if it cannot be made so.
    """
    _known(model)
    if not 0 < width <= 16:
        raise TrainingSettingsError(f"width is {width}; it must be above 0 and at most 16")
    if n_frames < 1 or n_tags < 1:
        raise TrainingSettingsError(
            f"a network for {n_frames} frames and {n_tags} tags cannot be; both must be at least 1"
        )
    return NETWORKS[model](spec, n_frames=n_frames, n_tags=n_tags, width=width)


def segment_frames(model: str, spec: FeatureSpec, n_frames: int) -> int | None:
    """Frames of the segments that `model` takes; None where it takes whole clips.

    As many as there are whole hops in `SEGMENT_SECONDS`, or the whole clip if it has fewer. A clip
    is judged by the mean of what the network gives, after the sigmoid, for its consecutive segments
    from the first frame on; the frames after the last whole segment are left out.

    Parameters
    ----------
    n_frames : int
        Frames in a clip.

    Raises
    ------
    TrainingSettingsError
        If there is no such network.
    """
    _known(model)
    if model not in SEGMENT_SECONDS:
        return None
    return max(1, min(n_frames, SEGMENT_SECONDS[model] * spec.sr // spec.hop_length))


def count_segments(model: str, spec: FeatureSpec, n_frames: int) -> int:
    """Consecutive segments that a clip of `n_frames` is judged by; 1 where it is taken whole."""
    return n_frames // (segment_frames(model, spec, n_frames) or n_frames)


def _known(model: str) -> None:
    if model not in NETWORKS:
        raise TrainingSettingsError(f"model is {model!r}; it must be one of {', '.join(NETWORKS)}")
