"""Sample-level CNN: convolutions of three samples over a waveform, as deep as it takes.

The network of Lee et al. 2017 (*Sample-level deep convolutional neural networks for music
auto-tagging using raw waveforms*), as Won et al. 2020 compare it. The first layer has a stride of
3, and pools of 3 follow nine of the others, so that one step is left of 59,049 samples, 3.69 s at
16 kHz. At other rates the window is as long in seconds: a pool is never longer than what is left,
and what is left at the end goes through a maximum over time.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from featurestore.specs.waveform import WaveformSpec
from models.networks.architecture import Architecture
from models.networks.pools import limited
from models.networks.won2020.blocks import require_two_windows, scaled

FILTERS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)
KERNELS = (3,) * 10 + (1,)
STRIDES = (3,) + (1,) * 10
POOLS = (1,) + (3,) * 9 + (1,)
"""Of the eleven layers: filters, at a width of 1, their length and stride, and the pool."""

WINDOW = 59_049 / 16_000
"""[s]"""


class Shape(NamedTuple):
    """Of a layer: channels that it takes and gives, length and stride of its filters, its pool."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    pool: int


def shapes(n_samples: int, width: float) -> list[Shape]:
    """Shapes of the layers for windows of so many samples."""
    filters = [scaled(n, width) for n in FILTERS]
    pools = limited(math.ceil(n_samples / STRIDES[0]), POOLS)
    return [
        Shape(*shape)
        for shape in zip([1, *filters[:-1]], filters, KERNELS, STRIDES, pools, strict=True)
    ]


class SampleCNN(nn.Module):
    """Sample-level CNN: ``(batch, 1, n_samples)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : WaveformSpec
        What the input is.
    n_frames : int
        Samples in a window; decides the pools.
    n_outputs : int
    width : float
        Scales the filters, each rounded to the nearest whole number, at least 1.

    Raises
    ------
    TrainingError
        When called, if it trains on a batch of one window.
    """

    def __init__(
        self, spec: WaveformSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        layers = shapes(n_frames, width)
        self.layers = nn.Sequential(*map(_layer, layers))
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(layers[-1].c_out, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, 1, n_samples)``."""
        require_two_windows(self, values)
        features = self.layers(values).amax(2)
        logits: torch.Tensor = self.dense(self.dropout(features))
        return logits


def _layer(shape: Shape) -> nn.Sequential:
    c_in, c_out, kernel, stride, pool = shape
    return nn.Sequential(
        nn.Conv1d(c_in, c_out, kernel, stride=stride, padding=kernel // 2),
        nn.BatchNorm1d(c_out),
        # The maximum of ReLUs is the ReLU of the maximum, for fewer of them.
        nn.MaxPool1d(pool),
        nn.ReLU(),
    )


ARCHITECTURE = Architecture(
    name="sample",
    build=SampleCNN,
    accepts=WaveformSpec,
    takes=WaveformSpec(sr=16000),
    window=WINDOW,
)
