"""Bring each band to mean 0 and spread 1 before a network sees it."""

import torch
from torch import nn

_LEAST_SPREAD = 0.01


class BandNorm(nn.Module):
    """Subtract each band's mean and divide by its spread, which are kept with the weights.

    Parameters
    ----------
    n_mels : int
        Means are 0 and spreads 1 until `measure` tells better.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels, 1))
        self.register_buffer("std", torch.ones(n_mels, 1))

    def measure(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Take mean and spread of the training split, ``(n_mels,)``.

        A spread is taken for at least a hundredth of the largest one, so that a band in which
        nothing happens is not blown up.
        """
        least = _LEAST_SPREAD * float(std.max()) or 1.0
        self.mean.copy_(mean[:, None])
        self.std.copy_(std.clamp(min=least)[:, None])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``(batch, n_mels, n_frames)``, normalised."""
        normalised: torch.Tensor = (values - self.mean) / self.std
        return normalised
