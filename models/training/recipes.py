"""Recipes: what moves the weights, for how long, and how a clip is judged."""

import dataclasses
import math
from collections import Counter
from typing import Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

OptimizerName = Literal["adamw", "adam", "sgd"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What moves the weights from some epoch on.

    Parameters
    ----------
    begin : float
        When it begins, as a share of all epochs.
    optimizer : {'adamw', 'adam', 'sgd'}
        ``adamw`` decays matrices and filters alone, not biases and norms; ``adam``, and ``sgd``
        with Nesterov's momentum of 0.9, decay all weights, through the gradient.
    rate : float
        Its learning rate, in that of the recipe.
    """

    begin: float = 0.0
    optimizer: OptimizerName = "adamw"
    rate: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimiser, learning rate over time, when to stop, and how clips are judged.

    Parameters
    ----------
    epochs, batch_size, learning_rate
        Defaults of `models.training.settings.TrainSettings`; the rate is the highest one.
    stages : tuple of Stage
        One after the other. Each but the first goes on from the best weights until then.
    weight_decay : float
        AdamW without it is Adam.
    warm_up : float
        Share of all steps over which the rate rises to its highest, in a straight line.
    cosine, linear : bool
        Let the rate fall to nothing after the warm-up, along half a cosine, or in a straight line;
        else it stays.
    accumulate : int
        Batches whose mean gradient is one step; at an epoch's end, of those that are left.
    ema : float
        Evaluate and keep an exponential moving average of the weights that reaches back over this
        share of all steps; 0 is the weights themselves.
    grad_clip_norm : float or None
        Gradients whose norm is larger are scaled down to it.
    normalise : bool
        Bring each band to mean 0 and standard deviation 1 over the training split,
        before the network sees it, unless that needs values in their unit.
    patience : int or None
        Stop once what is monitored has not become better on the validation split for so many
        epochs.
    monitor : {'score', 'loss'}
        What says which epoch is the best one: the score that the task monitors, or the loss.
    n_windows : int or None
        How many windows, evenly spaced, a clip is judged by where the network takes windows; None
        is as many as there are whole ones, one after the other.
    source : str
        Whose it is, and what of it is melgrid's choice.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    stages: tuple[Stage, ...] = (Stage(),)
    weight_decay: float = 0.0
    warm_up: float = 0.0
    cosine: bool = False
    linear: bool = False
    accumulate: int = 1
    ema: float = 0.0
    grad_clip_norm: float | None = None
    normalise: bool = False
    patience: int | None = None
    monitor: Literal["score", "loss"] = "score"
    n_windows: int | None = None
    source: str

    def stage(self, epoch: int, n_epochs: int) -> int:
        """Number of the stage, from 0, that epoch `epoch` (from 0) of `n_epochs` belongs to."""
        later = self.stages[1:]
        return sum(max(1, round(stage.begin * n_epochs)) <= epoch for stage in later)

    def optimizer(
        self, network: nn.Module, learning_rate: float, stage: int = 0
    ) -> torch.optim.Optimizer:
        """Make the optimiser of `network` in a stage."""
        weights = [p for p in network.parameters() if p.requires_grad]
        decay = self.weight_decay
        match self.stages[stage].optimizer:
            case "adam":
                return torch.optim.Adam(weights, lr=learning_rate, weight_decay=decay)
            case "sgd":
                return torch.optim.SGD(
                    weights, lr=learning_rate, weight_decay=decay, momentum=0.9, nesterov=True
                )
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate)

    def windows(self, n_frames: int, window: int) -> dict[int, int]:
        """Windows of `window` frames by which a clip of `n_frames` is judged; at least one.

        Returns
        -------
        dict of int to int
            Their first frames, and how often each counts: evenly spaced windows of a clip that is
            hardly longer than one are the same.
        """
        if self.n_windows is None:
            return dict.fromkeys(range(0, max(1, n_frames - window + 1), window), 1)
        spare = max(0, n_frames - window)
        return dict(Counter(i * spare // self.n_windows for i in range(self.n_windows)))

    def rate(self, step: int, n_steps: int) -> float:
        """Share of the highest learning rate that step `step` (from 0) of `n_steps` takes."""
        climb = round(self.warm_up * n_steps)
        if step < climb:
            return (step + 1) / (climb + 1)
        if self.linear:
            return 1 - (step - climb) / max(1, n_steps - climb)
        if not self.cosine:
            return 1.0
        return (1 + math.cos(math.pi * (step - climb) / max(1, n_steps - climb))) / 2

    def steps(self, n_batches: int) -> int:
        """Steps in an epoch of so many batches."""
        return -(-n_batches // self.accumulate)

    def share(self, batch: int, n_batches: int) -> tuple[int, int]:
        """First batch, and number of batches, of the step that batch `batch` of an epoch is of."""
        first = batch - batch % self.accumulate
        return first, min(self.accumulate, n_batches - first)

    def new_ema(self, network: nn.Module, n_steps: int) -> AveragedModel | None:
        """Begin the moving average of `network`, or None where the recipe has none.

        It reaches back less far at first, else the first weights, which are noise, would stay in
        it for long.
        """
        if not self.ema:
            return None
        furthest = 1 - 1 / max(1.0, self.ema * n_steps)
        are_frozen = any(not weights.requires_grad for weights in network.parameters())

        def mix(kept: torch.Tensor, new: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
            if are_frozen and torch.equal(kept, new):
                return kept  # the mean of equal ones is rounded
            decay = min(furthest, (1 + int(n)) / (10 + int(n)))
            return decay * kept + (1 - decay) * new

        return AveragedModel(network, avg_fn=mix, use_buffers=True)


_WON2020 = (
    Stage(optimizer="adam"),
    Stage(begin=0.4, optimizer="sgd", rate=10),
    Stage(begin=0.5, optimizer="sgd", rate=1),
    Stage(begin=0.6, optimizer="sgd", rate=0.1),
)

RECIPES = {
    "ferraro2020": Recipe(
        epochs=13,
        batch_size=32,
        learning_rate=1e-3,
        source="Ferraro et al. 2020: Adam at a constant rate",
    ),
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
        source="melgrid's own",
    ),
    "won2020": Recipe(
        epochs=200,
        batch_size=16,
        learning_rate=1e-4,
        stages=_WON2020,
        weight_decay=1e-4,
        monitor="loss",
        n_windows=16,
        source="Won et al. 2020, their public code: Adam, then SGD from epochs 80, 100 and 120 of "
        "200; with other --epochs, from the same shares of these",
    ),
    "won2021": Recipe(
        epochs=200,
        batch_size=32,
        learning_rate=1e-4,
        stages=(Stage(optimizer="adam"),),
        patience=40,
        monitor="loss",
        n_windows=8,
        source="Won, Choi and Serra 2021, their public code: Adam, stopped after 40 epochs without "
        "a lower loss; 8 windows are what it means to judge by, where its loaders give one",
    ),
    "mtat-report-1": Recipe(
        epochs=10,
        batch_size=16,
        learning_rate=1e-4,
        stages=(Stage(optimizer="adam"),),
        monitor="loss",
        source="report 1 on MagnaTagATune, with --draws of featurize --draws --aug-prob",
    ),
    "mtat-report-2": Recipe(
        epochs=30,
        batch_size=32,
        learning_rate=1e-3,
        stages=(Stage(optimizer="adam"),),
        source="report 2 on MagnaTagATune, which says Adam alone: the rest is melgrid's choice",
    ),
    "ast-dora": Recipe(
        epochs=13,
        batch_size=2,
        learning_rate=0.00013220987667789097,
        weight_decay=0.06762396226356811,
        warm_up=0.08503471829118296,
        linear=True,
        accumulate=8,
        grad_clip_norm=1.0,
        source="a study of AST and DoRA on GTZAN, for ast-hidden200 and an adapter; its library's "
        "warm-up begins at a rate of 0, here one step later",
    ),
}
"""By the names that ``--recipe`` takes."""
