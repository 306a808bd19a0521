"""Norms that do something, so that a test sees where they are."""

from torch import nn


def randomize_norms(network: nn.Module) -> None:
    """Draw the numbers of all batch and layer norms, which begin as those of norms of no effect."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
