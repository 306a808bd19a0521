"""CRNN: convolutions over 29 s, and a recurrent network over what they leave of time.

The network of Choi et al. 2017 (*Convolutional recurrent neural networks for music
classification*), as Won et al. 2020 train it: batch norm on the input, then four blocks of 3x3
convolution, batch norm, ReLU and max pool, two layers of 32 gated recurrent units, and on their
last step dropout and one dense layer.

Pools are theirs, along the bands where they leave exactly one cell, of 96 and of 128 bands, and
along time where they leave 14 steps or more, at 12 and 16 kHz with a hop of 256. Elsewhere there
are others: `models.networks.pools.to_one` along the bands, and along time
`models.networks.pools.to_steps`, so that there is a sequence at every resolution.
"""

from collections.abc import Mapping

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.pools import to_one, to_steps
from models.networks.won2020.blocks import convolution, scaled
from models.networks.won2020.published import renamed

FILTERS = (64, 128, 128, 128)
POOLS = (2, 3, 4, 4)
"""Along both axes."""

MIN_STEPS = 14
"""What the pools leave of 29 s at 12 kHz; 18 at 16 kHz."""

GRU_UNITS, GRU_LAYERS = 32, 2


class CRNN(nn.Module):
    """CRNN: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters and the recurrent units, each rounded to the nearest whole number, at
        least 1.
    """

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in FILTERS]
        n_units = scaled(GRU_UNITS, width)
        pools = zip(
            to_one(spec.n_mels, POOLS),
            to_steps(n_frames, POOLS, MIN_STEPS),
            strict=True,
        )
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                convolution(c_in, c_out, pool)
                for c_in, c_out, pool in zip([1, *filters[:-1]], filters, pools, strict=True)
            )
        )
        self.recurrent = nn.GRU(filters[-1], n_units, GRU_LAYERS, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        maps = self.blocks(self.input_norm(values.unsqueeze(1)))
        steps, _ = self.recurrent(maps.squeeze(2).transpose(1, 2))
        logits: torch.Tensor = self.dense(self.dropout(steps[:, -1]))
        return logits


ARCHITECTURE = Architecture(
    name="crnn",
    build=CRNN,
    takes=FeatureSpec(sr=16000, n_mels=96, htk=True, norm=None),
    window=29,
    is_centred=True,
)

PUBLISHED = {
    "spec_bn": "input_norm",
    **{f"layer{n + 1}.conv": f"blocks.{n}.0" for n in range(4)},
    **{f"layer{n + 1}.bn": f"blocks.{n}.1" for n in range(4)},
    "layer5": "recurrent",
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
