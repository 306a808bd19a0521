"""FCN: five convolutions over 29 s, down to one cell.

The network of Choi et al. 2016 (*Automatic tagging using deep convolutional neural networks*), as
Won et al. 2020 train it: batch norm on the input, then five blocks of 3x3 convolution, batch norm,
ReLU and max pool, dropout and one dense layer.

Pools are theirs, along each axis where they leave exactly one cell: of 96 and of 128 bands, at 12
and 16 kHz with a hop of 256. Elsewhere `models.networks.pools.to_one` has others.
"""

from collections.abc import Mapping

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.pools import to_one
from models.networks.won2020.blocks import convolution, scaled
from models.networks.won2020.published import renamed

FILTERS = (64, 128, 128, 128, 64)
MEL_POOLS = (2, 2, 2, 3, 4)
TIME_POOLS = (4, 4, 4, 5, 4)


class FCN(nn.Module):
    """FCN: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters, each rounded to the nearest whole number, at least 1.
    """

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in FILTERS]
        pools = zip(to_one(spec.n_mels, MEL_POOLS), to_one(n_frames, TIME_POOLS), strict=True)
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                convolution(c_in, c_out, pool)
                for c_in, c_out, pool in zip([1, *filters[:-1]], filters, pools, strict=True)
            )
        )
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(filters[-1], n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        maps: torch.Tensor = self.blocks(self.input_norm(values.unsqueeze(1)))
        logits: torch.Tensor = self.dense(self.dropout(maps.flatten(1)))
        return logits


ARCHITECTURE = Architecture(
    name="fcn",
    build=FCN,
    takes=FeatureSpec(sr=16000, n_mels=96, htk=True, norm=None),
    window=29,
    is_centred=True,
)

PUBLISHED = {
    "spec_bn": "input_norm",
    **{f"layer{n + 1}.conv": f"blocks.{n}.0" for n in range(5)},
    **{f"layer{n + 1}.bn": f"blocks.{n}.1" for n in range(5)},
    "dense": "dense",
}
"""Modules as the study's code names them, and their names here."""


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights that the study published, as `load_state_dict` takes them.

    Raises
    ------
    TrainingError
        If they are not those of this network.
    """
    return renamed(state, PUBLISHED, ARCHITECTURE)
