"""Bring each band to mean 0 and standard deviation 1 before a network sees it."""

from typing import Self

import torch
from torch import nn

_MIN_STD = 0.01


class BandNorm(nn.Module):
    """Subtract each band's mean and divide by its standard deviation, kept with the weights.

    Parameters
    ----------
    mean, std : torch.Tensor [shape=(n_bands,), dtype=float32]
        Of the training split. A standard deviation is taken for at least a hundredth of the
        largest one, so that a band in which nothing happens is not blown up.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        least = _MIN_STD * float(std.max()) or 1.0
        self.register_buffer("mean", mean[:, None].clone())
        self.register_buffer("std", std.clamp(min=least)[:, None])

    @classmethod
    def identity(cls, n_bands: int) -> Self:
        """Make one that changes nothing, until a checkpoint's weights are loaded into it."""
        return cls(torch.zeros(n_bands), torch.ones(n_bands))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``(batch, n_bands, n_frames)``, normalised."""
        normalised: torch.Tensor = (values - self.mean) / self.std
        return normalised


def core(network: nn.Module) -> nn.Module:
    """The network behind a `BandNorm`, or what is given where none is before it."""
    if isinstance(network, nn.Sequential) and len(network) and isinstance(network[0], BandNorm):
        return network[1]
    return network
