"""FCN in 2D: convolutions over bands and frames of a whole clip, and one dense layer.

A network of the second report on MagnaTagATune (experiment 2), after Choi et al. 2016 (*Automatic
tagging using deep convolutional neural networks*). The report says: log mel; at each of 3, 4 or 5
layers a convolution, batch norm, ReLU, dropout of 0.5 and a max pool, and pools that differ by
layer; no dense layer but the last. What it leaves open is here:

- Pools: those of Choi's FCN-4 and FCN-5, along each axis where they leave exactly one cell, as
  they do with 96 or 128 bands, and 29.1 s at 12 or 16 kHz and a hop of 256; otherwise, and with 3
  layers, `models.networks.pools.pools_from_shape`.
- Filters: `hidden` at each layer, 3x3. Choi's grow, to 2048.
- Batch norm on the input, as in Choi's code: without it, the zeros around a map in decibels would
  be as loud as full scale.
- The input: as that of `fcn1d`, but for Choi's 96 bands.
"""

from collections.abc import Mapping

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.pools import pools_from_shape, to_one

MEL_POOLS = {4: (2, 4, 3, 4), 5: (2, 2, 2, 3, 4)}
TIME_POOLS = {4: (4, 5, 8, 8), 5: (4, 4, 4, 5, 4)}
"""Choi's, by depth."""

DEPTHS, HIDDEN = (4, 3, 5), (64, 128)
"""Of the three networks of the report, the default first."""

DROPOUT = 0.5


class FCN2D(nn.Module):
    """FCN in 2D: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a clip.
    n_outputs : int
    width : float
        Scales the filters, which are rounded to the nearest whole number, at least 1.
    depth : int
        Convolutions.
    hidden : int
        Filters of each, at a width of 1.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        n_frames: int,
        n_outputs: int,
        width: float = 1.0,
        depth: int = DEPTHS[0],
        hidden: int = HIDDEN[0],
    ) -> None:
        super().__init__()
        n_filters = max(1, round(width * hidden))
        pools = zip(
            pools_to_one(spec.n_mels, depth, MEL_POOLS),
            pools_to_one(n_frames, depth, TIME_POOLS),
            strict=True,
        )
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(block(1 if i == 0 else n_filters, n_filters, pool) for i, pool in enumerate(pools))
        )
        self.dense = nn.Linear(n_filters, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of clips ``(batch, n_mels, n_frames)``."""
        maps: torch.Tensor = self.blocks(self.input_norm(values.unsqueeze(1)))
        logits: torch.Tensor = self.dense(maps.flatten(1))
        return logits


def pools_to_one(
    size: int, depth: int, published: Mapping[int, tuple[int, ...]]
) -> tuple[int, ...]:
    """Pools that leave one of `size` cells: the published ones of a depth, if they do."""
    pools = published.get(depth)
    return pools_from_shape(size, depth) if pools is None else to_one(size, pools)


def block(c_in: int, c_out: int, pool: tuple[int, int]) -> nn.Sequential:
    """A layer of the report's networks in 2D."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size=3, padding="same"),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.MaxPool2d(pool),
    )


ARCHITECTURE = Architecture(
    name="fcn2d",
    build=FCN2D,
    takes=FeatureSpec(sr=16000, n_mels=96, n_fft=1024),
    options={"depth": DEPTHS, "hidden": HIDDEN},
)
