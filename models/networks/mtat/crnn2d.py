"""CRNN in 2D: convolutions over bands and frames, and what is recurrent over the steps left.

A network of the second report on MagnaTagATune (experiment 2), after Choi et al. 2017
(*Convolutional recurrent neural networks for music classification*). The report says: log mel; at
each of 3, 4 or 5 layers a convolution, batch norm, ReLU, dropout of 0.5 and a max pool, and pools
that differ by layer; no dense layer but the last. What it leaves open is here:

- Pools: the same along both axes, with 4 layers Choi's, with 3 and 5 such as leave one of 96 bands,
  too. Along the bands where they leave one, otherwise `models.networks.pools.to_one`; along time
  where they leave 14 steps or more, as many as of Choi's input (29.1 s at 12 kHz and a hop of 256),
  otherwise `models.networks.pools.to_steps`, so that there is a sequence at every resolution.
- Filters: `hidden` at each layer, 3x3.
- Choi's recurrent network: two layers of 32 GRUs, the last step, dropout (of 0.5, Choi's is 0.3).
- Batch norm on the input, as in Choi's code.
- The input: as that of `fcn1d`, but for Choi's 96 bands.
"""

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.mtat.fcn2d import DEPTHS, DROPOUT, HIDDEN, block, pools_to_one
from models.networks.pools import to_steps

POOLS = {3: (4, 4, 6), 4: (2, 3, 4, 4), 5: (2, 2, 2, 3, 4)}
"""Along both axes, by depth; all leave one of 96 cells."""

MIN_STEPS = 14

GRU_UNITS, GRU_LAYERS = 32, 2


class CRNN2D(nn.Module):
    """CRNN in 2D: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a clip.
    n_outputs : int
    width : float
        Scales the filters and the recurrent units, each rounded to the nearest whole number, at
        least 1.
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
        n_filters, n_units = (max(1, round(width * n)) for n in (hidden, GRU_UNITS))
        pools = zip(
            pools_to_one(spec.n_mels, depth, POOLS), time_pools(n_frames, depth), strict=True
        )
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(block(1 if i == 0 else n_filters, n_filters, pool) for i, pool in enumerate(pools))
        )
        self.recurrent = nn.GRU(n_filters, n_units, GRU_LAYERS, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of clips ``(batch, n_mels, n_frames)``."""
        maps = self.blocks(self.input_norm(values.unsqueeze(1)))
        steps, _ = self.recurrent(maps.squeeze(2).transpose(1, 2))
        logits: torch.Tensor = self.dense(self.dropout(steps[:, -1]))
        return logits


def time_pools(n_frames: int, depth: int) -> tuple[int, ...]:
    """Pools along time, which leave `MIN_STEPS` steps or more where there are so many frames.

    >>> time_pools(1819, 4), time_pools(182, 4)
    ((2, 3, 4, 4), (1, 2, 2, 3))
    """
    return to_steps(n_frames, POOLS[depth], MIN_STEPS)


ARCHITECTURE = Architecture(
    name="crnn2d",
    build=CRNN2D,
    takes=FeatureSpec(sr=16000, n_mels=96, n_fft=1024),
    options={"depth": DEPTHS, "hidden": HIDDEN},
)
