"""Blocks of layers that several networks of the study share."""

import torch
from torch import nn

from featurestore.errors import TrainingError


def scaled(n: int, width: float) -> int:
    """`n` filters or units at a width of 1, at another: rounded, at least 1."""
    return max(1, round(width * n))


def convolution(c_in: int, c_out: int, pool: tuple[int, int]) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU and max pool."""
    # The study pools after the ReLU, which gives the same: ReLU never decreases.
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1),
        nn.BatchNorm2d(c_out),
        nn.MaxPool2d(pool),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions, beside a third, each with batch norm; ReLU after the first and the sum.

    Parameters
    ----------
    c_in, c_out : int
        Maps.
    stride : tuple of int
        Of the first convolution and the third, along bands and frames. A stride of 2 leaves half
        of the cells, rounded up, so that any number can be given.
    """

    def __init__(self, c_in: int, c_out: int, stride: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, padding=1),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, padding=1),
            nn.BatchNorm2d(c_out),
        )
        self.beside = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.BatchNorm2d(c_out)
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps ``(batch, c_out, …)`` of maps ``(batch, c_in, …)``."""
        return torch.relu(self.straight(maps) + self.beside(maps))


def require_two_windows(layers: nn.Module, values: torch.Tensor) -> None:
    """Refuse to train layers on a batch of one, where a batch norm takes one value of a window.

    Raises
    ------
    TrainingError
    """
    if layers.training and len(values) == 1:
        raise TrainingError(
            "this network cannot train on a batch of one window: its batch norm needs two; use "
            "more clips, and a batch_size of at least 3"
        )


class Hidden(nn.Sequential):
    """Dense layer, batch norm, ReLU and dropout of one half.

    Raises
    ------
    TrainingError
        When called, if it trains on a batch of one window.
    """

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__(
            nn.Linear(n_in, n_units), nn.BatchNorm1d(n_units), nn.ReLU(), nn.Dropout(0.5)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Units ``(batch, n_units)`` of features ``(batch, n_in)``."""
        require_two_windows(self, features)
        for layer in self:
            features = layer(features)
        return features
