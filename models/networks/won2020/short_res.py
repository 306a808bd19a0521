"""Short-chunk CNN with residual connections: seven residual blocks over 3.69 s.

Among the best networks that Won et al. 2020 compare: `models.networks.won2020.short`, with residual
blocks that halve both axes by their stride in place of convolutions and pools. A stride of 2 leaves
half of the cells, rounded up, and of a single cell that one: every resolution fits as it is.
"""

import itertools

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.won2020.blocks import Hidden, Residual, scaled
from models.networks.won2020.short import FILTERS, WINDOW


class ShortRes(nn.Module):
    """Residual short-chunk CNN: ``(batch, n_mels, n_frames)`` float32 to ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is.
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
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(Residual(c_in, c_out) for c_in, c_out in itertools.pairwise([1, *filters]))
        )
        self.hidden = Hidden(filters[-1], filters[-1])
        self.dense = nn.Linear(filters[-1], n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        maps: torch.Tensor = self.blocks(self.input_norm(values.unsqueeze(1)))
        logits: torch.Tensor = self.dense(self.hidden(maps.amax((2, 3))))
        return logits


ARCHITECTURE = Architecture(
    name="short_res",
    build=ShortRes,
    takes=FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None),
    window=WINDOW,
    is_centred=True,
)
