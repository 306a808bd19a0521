"""FCN in 1D: convolutions over time alone, whose channels are at first the bands.

The network of the second report on MagnaTagATune that it varies: by depth, filters, bands and
`n_fft` in experiment 1, and by depth against networks in 2D in experiment 2. The report says: log
mel; at each of 3, 4 or 5 layers a convolution, batch norm, ReLU, dropout of 0.5 and a max pool. In
experiment 1 the pool is the same at every layer and the head has a hidden dense layer; in
experiment 2 pools differ by layer and the head has none. What it leaves open is here:

- Pools of experiment 1: 4 at every layer, or the largest that leaves a step where 4 does not; all
  steps that are left go into the head. Of experiment 2: those of `fcn2d` along time.
- Filters: `hidden` at each layer, over 3 frames.
- The hidden dense layer: 512 units, ReLU and dropout, as in the networks of Won et al. 2020.
- Batch norm on the input, for all bands together. Without it, the zeros before and after a clip in
  decibels would be as loud as full scale.
- The input: the whole clip, as Choi et al. 2016 take it, at the data set's rate, in decibels, with
  a hop of 256. `n_fft` 1024 and 48 bands are what experiment 1 varies from; experiment 2 does not
  say, and its networks in 2D take Choi's 96 bands here.
"""

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.mtat.fcn2d import DEPTHS, DROPOUT, HIDDEN, TIME_POOLS, pools_to_one
from models.networks.pools import cells_left

POOL = 4
"""Of every layer, at most."""

DENSE_UNITS = 512


class FCN1D(nn.Module):
    """FCN in 1D: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is: its bands are the channels.
    n_frames : int
        Frames in a clip; decides the pools.
    n_outputs : int
    width : float
        Scales the filters, and the units of the hidden dense layer, each rounded to the nearest
        whole number, at least 1.
    depth : int
        Convolutions.
    hidden : int
        Filters of each, at a width of 1.
    dense : int
        Hidden dense layers of the head: 1 is the network of experiment 1, 0 that of experiment 2.
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
        dense: int = 1,
    ) -> None:
        super().__init__()
        n_filters = max(1, round(width * hidden))
        pools = same_pools(n_frames, depth) if dense else pools_to_one(n_frames, depth, TIME_POOLS)
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                _block(spec.n_mels if i == 0 else n_filters, n_filters, pool)
                for i, pool in enumerate(pools)
            )
        )
        n_features = n_filters * cells_left(n_frames, pools)
        self.hidden = nn.Sequential()
        if dense:
            n_units = max(1, round(width * DENSE_UNITS))
            self.hidden.extend([nn.Linear(n_features, n_units), nn.ReLU(), nn.Dropout(DROPOUT)])
            n_features = n_units
        self.dense = nn.Linear(n_features, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of clips ``(batch, n_mels, n_frames)``."""
        steps = self.blocks(self.input_norm(values.unsqueeze(1)).squeeze(1))
        logits: torch.Tensor = self.dense(self.hidden(steps.flatten(1)))
        return logits


def same_pools(n_frames: int, depth: int) -> tuple[int, ...]:
    """The same pool at every layer: `POOL`, or the largest that leaves a step.

    >>> same_pools(1819, 4), same_pools(182, 4)
    ((4, 4, 4, 4), (3, 3, 3, 3))
    """
    return (next(pool for pool in range(POOL, 0, -1) if pool**depth <= n_frames),) * depth


def _block(c_in: int, c_out: int, pool: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(c_in, c_out, kernel_size=3, padding="same"),
        nn.BatchNorm1d(c_out),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.MaxPool1d(pool),
    )


ARCHITECTURE = Architecture(
    name="fcn1d",
    build=FCN1D,
    takes=FeatureSpec(sr=16000, n_mels=48, n_fft=1024),
    options={"depth": DEPTHS, "hidden": HIDDEN, "dense": (1, 0)},
)
