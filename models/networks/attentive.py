"""Attention that can be looked at: what a network's transformer pays to each step of time."""

from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import nn


@runtime_checkable
class Attentive(Protocol):
    """A network with a transformer, besides what all networks are.

    Attributes
    ----------
    has_cls : bool
        Whether the first token is of no step and is all that is read in the end. Else all tokens
        are steps, and their mean is.
    frames_per_step : int
        Frames of a window from the beginning of a step to that of the next one.
    """

    has_cls: ClassVar[bool]
    frames_per_step: int

    def attention(self, values: torch.Tensor) -> torch.Tensor:
        """Attention that each token pays to each other one.

        Parameters
        ----------
        values : torch.Tensor [shape=(batch, n_bands, n_frames), dtype=float32]
            Windows.

        Returns
        -------
        torch.Tensor [shape=(batch, n_layers, n_heads, n_tokens, n_tokens)]
            Shares: what a token (of the last axis but one) pays to all is 1.
        """


def attention_weights(layer: nn.MultiheadAttention, tokens: torch.Tensor) -> torch.Tensor:
    """What `layer` has tokens pay to each other: ``(batch, n_heads, n_tokens, n_tokens)``."""
    weights: torch.Tensor = layer(
        tokens, tokens, tokens, need_weights=True, average_attn_weights=False
    )[1]
    return weights


def time_attention(network: Attentive, values: torch.Tensor) -> torch.Tensor:
    """What is read in the end pays to each step of time, in the last layer: ``(batch, n_steps)``.

    The mean over the heads; of the first token where it is what is read, as Won et al. 2019 draw
    it, else the mean over all tokens. What the first token pays to itself is left out. Shares: they
    add up to 1.
    """
    paid = network.attention(values)[:, -1].mean(1)
    steps = paid[:, 0, 1:] if network.has_cls else paid.mean(1)
    return steps / steps.sum(1, keepdim=True)
