"""Sample-level CNN with residual connections and squeeze-and-excitation.

The network of Kim et al. 2018 (*Sample-level CNN architectures for music auto-tagging using raw
waveforms*), as Won et al. 2020 compare it: the layers of `sample`, each of them a block of two
convolutions. Pools adapt as those of `sample` do.
"""

import torch
from torch import nn

from featurestore.specs.waveform import WaveformSpec
from models.networks.architecture import Architecture
from models.networks.won2020.blocks import Hidden, require_two_windows, scaled
from models.networks.won2020.sample import WINDOW, Shape, shapes

DENSE_UNITS = 512


class SampleCNNSE(nn.Module):
    """Sample-level CNN with SE: ``(batch, 1, n_samples)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : WaveformSpec
        What the input is.
    n_frames : int
        Samples in a window; decides the pools.
    n_outputs : int
    width : float
        Scales the filters, and the units of the hidden dense layer, each rounded to the nearest
        whole number, at least 1.

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
        self.layers = nn.Sequential(*map(Block, layers))
        n_units = scaled(DENSE_UNITS, width)
        self.hidden = Hidden(layers[-1].c_out, n_units)
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, 1, n_samples)``."""
        require_two_windows(self, values)
        logits: torch.Tensor = self.dense(self.hidden(self.layers(values).amax(2)))
        return logits


class Block(nn.Module):
    """Two convolutions, scaled by squeeze-and-excitation, and what they are added to; then a pool.

    Takes ``(batch, c_in, n_steps)``. What is added is the input itself, or, where it has another
    shape than the output, a convolution of it, as long and with the same stride as the first.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        c_in, c_out, kernel, stride, pool = shape
        self.convolutions = nn.Sequential(
            *_convolution(c_in, c_out, kernel, stride),
            nn.ReLU(),
            *_convolution(c_out, c_out, kernel, 1),
        )
        self.excitation = nn.Sequential(
            nn.Linear(c_out, c_out), nn.ReLU(), nn.Linear(c_out, c_out), nn.Sigmoid()
        )
        same = c_in == c_out and stride == 1
        self.residual = nn.Sequential(*([] if same else _convolution(c_in, c_out, kernel, stride)))
        self.pool = nn.MaxPool1d(pool)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``(batch, c_out, n_steps)``, with fewer steps by the stride and the pool."""
        maps = self.convolutions(values)
        scaled = maps * self.excitation(maps.mean(2)).unsqueeze(2)
        # The maximum of ReLUs is the ReLU of the maximum, for fewer of them.
        pooled: torch.Tensor = self.pool(scaled + self.residual(values)).relu()
        return pooled


def _convolution(c_in: int, c_out: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv1d(c_in, c_out, kernel, stride=stride, padding=kernel // 2)
    return convolution, nn.BatchNorm1d(c_out)


ARCHITECTURE = Architecture(
    name="se",
    build=SampleCNNSE,
    accepts=WaveformSpec,
    takes=WaveformSpec(sr=16000),
    window=WINDOW,
)
