"""Recipes: what moves the weights, and for how long."""

import dataclasses
import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimiser, learning rate over time, and when to stop.

    Parameters
    ----------
    epochs, batch_size, learning_rate
        Defaults of `models.training.settings.TrainSettings`; the rate is the highest one.
    weight_decay : float
        AdamW's, on matrices and filters alone, not on biases and norms. AdamW without it is Adam.
    warm_up : float
        Share of all steps over which the rate rises to its highest, in a straight line.
    cosine : bool
        Let the rate fall to nothing after the warm-up, along half a cosine; else it stays.
    ema : float
        Evaluate and keep an exponential moving average of the weights that reaches back over this
        share of all steps; 0 is the weights themselves.
    grad_clip_norm : float or None
        Gradients whose norm is larger are scaled down to it.
    normalise : bool
        Bring each band to mean 0 and standard deviation 1 over the training split,
        before the network sees it.
    patience : int or None
        Stop once what the task monitors has not risen on the validation split for so many epochs.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    warm_up: float = 0.0
    cosine: bool = False
    ema: float = 0.0
    grad_clip_norm: float | None = None
    normalise: bool = False
    patience: int | None = None

    def optimizer(self, network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        """Make the optimiser of `network`."""
        weights = [p for p in network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate)

    def rate(self, step: int, n_steps: int) -> float:
        """Share of the highest learning rate that step `step` (from 0) of `n_steps` takes."""
        climb = round(self.warm_up * n_steps)
        if step < climb:
            return (step + 1) / (climb + 1)
        if not self.cosine:
            return 1.0
        return (1 + math.cos(math.pi * (step - climb) / max(1, n_steps - climb))) / 2

    def new_ema(self, network: nn.Module, n_steps: int) -> AveragedModel | None:
        """Begin the moving average of `network`, or None where the recipe has none.

        It reaches back less far at first, else the first weights, which are noise, would stay in
        it for long.
        """
        if not self.ema:
            return None
        furthest = 1 - 1 / max(1.0, self.ema * n_steps)

        def mix(kept: torch.Tensor, new: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
            decay = min(furthest, (1 + int(n)) / (10 + int(n)))
            return decay * kept + (1 - decay) * new

        return AveragedModel(network, avg_fn=mix, use_buffers=True)


RECIPES = {
    "ferraro2020": Recipe(epochs=13, batch_size=32, learning_rate=1e-3),
    "modern": Recipe(
        epochs=30,
        batch_size=32,
        learning_rate=2e-3,
        weight_decay=0.05,
        warm_up=0.1,
        cosine=True,
        ema=0.05,
        grad_clip_norm=1.0,
        normalise=True,
        patience=15,
    ),
}
"""``ferraro2020`` is the study's: Adam at a constant rate."""
