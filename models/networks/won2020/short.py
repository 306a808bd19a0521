"""Short-chunk CNN: seven convolutions over 3.69 s, with small pools.

The simplest of the networks that Won et al. 2020 compare, and among the best: batch norm on the
input, then seven blocks of 3x3 convolution, batch norm, ReLU and max pool of 2 x 2, the maximum
over what is left, a hidden dense layer and the last one.

A pool of 2 is one of 1 where a single cell is left: along the bands with fewer than 128, along time
at larger hops.
"""

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.pools import limited
from models.networks.won2020.blocks import Hidden, convolution, scaled

FILTERS = (128, 128, 256, 256, 256, 256, 512)
POOLS = (2,) * len(FILTERS)

WINDOW = 3.6905625
"""59,049 samples at 16 kHz, 3 to the power of 10, as networks on waveforms take them [s]."""


class Short(nn.Module):
    """Short-chunk CNN: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters, and the hidden dense layer's units, which are as many as the last
        filters, each rounded to the nearest whole number, at least 1.
    """

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in FILTERS]
        pools = zip(limited(spec.n_mels, POOLS), limited(n_frames, POOLS), strict=True)
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                convolution(c_in, c_out, pool)
                for c_in, c_out, pool in zip([1, *filters[:-1]], filters, pools, strict=True)
            )
        )
        self.hidden = Hidden(filters[-1], filters[-1])
        self.dense = nn.Linear(filters[-1], n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        maps: torch.Tensor = self.blocks(self.input_norm(values.unsqueeze(1)))
        logits: torch.Tensor = self.dense(self.hidden(maps.amax((2, 3))))
        return logits


ARCHITECTURE = Architecture(
    name="short",
    build=Short,
    takes=FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None),
    window=WINDOW,
    is_centred=True,
)
