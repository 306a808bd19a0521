"""The residual block of networks here: it changes the number of maps, and pools."""

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input, ReLU, and a max pool.

    Where the number of maps changes, a third convolution with batch norm is what they are added to.

    Parameters
    ----------
    c_in, c_out : int
        Maps.
    pool : tuple of int
        Along bands and time.
    """

    def __init__(self, c_in: int, c_out: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(c_out)
        self.conv_2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(c_out)
        self.has_shortcut = c_in != c_out
        if self.has_shortcut:
            self.conv_3 = nn.Conv2d(c_in, c_out, 3, padding=1)
            self.bn_3 = nn.BatchNorm2d(c_out)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps ``(batch, c_out, …)``, smaller by the pool, of maps ``(batch, c_in, …)``."""
        straight = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(maps)))))
        beside = self.bn_3(self.conv_3(maps)) if self.has_shortcut else maps
        # The maximum of ReLUs is the ReLU of the maximum, for fewer of them.
        pooled: torch.Tensor = torch.relu(self.pool(straight + beside))
        return pooled
