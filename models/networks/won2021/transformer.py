"""The transformer of the Music Tagging Transformer, with the norms before; names are its code's."""

import math

import torch
from torch import nn

HEADS, FEED_FORWARD = 8, 4
"""Heads, and units of the feed-forward layers in those of a token."""


class Transformer(nn.Module):
    """Layers of self-attention and feed-forward, each on the norm of what it is added to.

    Parameters
    ----------
    n_units : int
        Of a token; a multiple of the heads.
    n_layers : int
    dropout : float
        After the attention, and after both feed-forward layers.
    """

    def __init__(self, n_units: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    _Residual(_PreNorm(n_units, SelfAttention(n_units, dropout))),
                    _Residual(_PreNorm(n_units, _FeedForward(n_units, dropout))),
                ]
            )
            for _ in range(n_layers)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens ``(batch, n_tokens, n_units)`` of as many."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            for part in layer:
                tokens = part(tokens)
        return tokens

    def attention(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shares ``(batch, n_layers, n_heads, n_tokens, n_tokens)``."""
        weights = []
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            for part in layer:
                assert isinstance(part, _Residual)
                if isinstance(part.fn.fn, SelfAttention):
                    weights.append(part.fn.fn.weights(part.fn.norm(tokens)))
                tokens = part(tokens)
        return torch.stack(weights, 1)


class _Residual(nn.Module):
    def __init__(self, fn: "_PreNorm") -> None:
        super().__init__()
        self.fn = fn

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.fn(tokens) + tokens
        return added


class _PreNorm(nn.Module):
    def __init__(self, n_units: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_units)
        self.fn = fn

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = self.fn(self.norm(tokens))
        return passed


class _FeedForward(nn.Module):
    def __init__(self, n_units: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_units, FEED_FORWARD * n_units),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(FEED_FORWARD * n_units, n_units),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = self.net(tokens)
        return passed


class SelfAttention(nn.Module):
    """Self-attention of 8 heads, whose three projections are one dense layer without a bias.

    Parameters
    ----------
    n_units : int
        Of tokens, and of all heads together.
    dropout : float
        After the last dense layer; shares of attention are not dropped.
    """

    def __init__(self, n_units: int, dropout: float) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(n_units, 3 * n_units, bias=False)
        self.to_out = nn.Sequential(nn.Linear(n_units, n_units), nn.Dropout(dropout))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens ``(batch, n_tokens, n_units)``, each of what it attends to."""
        query, key, value = self._heads(tokens)
        heads = nn.functional.scaled_dot_product_attention(query, key, value)
        together: torch.Tensor = self.to_out(heads.transpose(1, 2).flatten(2))
        return together

    def weights(self, tokens: torch.Tensor) -> torch.Tensor:
        """What tokens pay to each other: ``(batch, n_heads, n_tokens, n_tokens)``."""
        query, key, _ = self._heads(tokens)
        return (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(3)

    def _heads(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values, each ``(batch, n_heads, n_tokens, n_units / n_heads)``."""
        projected = self.to_qkv(tokens).chunk(3, 2)
        return tuple(part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in projected)

    def macs(self, output: torch.Tensor) -> int:
        """Of the products alone, for `models.networks.cost`: dense layers say theirs themselves."""
        return 2 * output.numel() * output.shape[-2]
