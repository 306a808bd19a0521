"""Multiply-accumulates and parameters, counted from the network itself.

Conventions
-----------
Convolutions and dense layers count, and nothing else: no bias, no batch norm, no activation, no
pooling, as in Ferraro et al. 2020. A convolution of ``k_h x k_w`` from ``c_in`` to ``c_out`` maps
of ``h_out x w_out`` costs ``k_h k_w c_in c_out h_out w_out``, a dense layer ``n_in n_out``; both
for one clip. 1 GMAC is 1e9 of them.
"""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Literal, get_args

import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.spec import HOP_UNIT, FeatureSpec
from models.networks import build

Frames = Literal["melgrid", "study"]


def count_macs(network: nn.Module, n_mels: int, n_frames: int) -> dict[str, int]:
    """Multiply-accumulates of each layer for one clip of ``(n_mels, n_frames)``.

    Parameters
    ----------
    network : nn.Module
        Takes ``(batch, n_mels, n_frames)``; run once, on whichever device it is on. On the meta
        device nothing is computed and nothing is held.

    Returns
    -------
    dict of str to int
        By the layer's name in the network, in the order in which they ran.
    """
    macs: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
            # A weight is (c_out, c_in / groups, *kernel): one output value costs all but c_out.
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            cost = output[0].numel() * weight[0].numel()
            macs[name] = macs.get(name, 0) + cost

        return hook

    handles = [
        layer.register_forward_hook(count(name))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    device = next(network.parameters()).device
    was_training = network.training
    try:
        with torch.no_grad():
            # Evaluating: batch norm in training would move its statistics, and refuse one value.
            network.eval()(torch.empty(1, n_mels, n_frames, device=device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return macs


def count_parameters(network: nn.Module) -> int:
    """Trainable values in `network`."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def frames_of(spec: FeatureSpec, frames: Frames = "melgrid", duration: float = 29.1) -> int:
    """Frames in a clip of `duration` [s].

    ``melgrid`` is the store's own count, `FeatureSpec.n_frames`: 1365 and 1819 at x1. ``study`` is
    that of Ferraro et al., whose Essentia makes one frame more at x1 (1366 and 1820); hop k keeps
    every k-th of those.
    """
    if frames not in get_args(Frames):
        raise TrainingError(
            f"frames is {frames!r}; it must be one of {', '.join(get_args(Frames))}"
        )
    n_samples = round(duration * spec.sr)
    if frames == "melgrid":
        return spec.n_frames(n_samples)
    return math.ceil(Fraction(2 + n_samples // HOP_UNIT) / spec.hop)


def macs_table(
    specs: Iterable[FeatureSpec],
    *,
    models: Iterable[str] = ("vgg",),
    width: float = 1.0,
    n_tags: int = 50,
    frames: Frames = "melgrid",
    duration: float = 29.1,
) -> list[dict[str, Any]]:
    """Count what each network costs at each spec: rows of ``melgrid macs``.

    Returns
    -------
    list of dict
        ``spec`` (its name), ``model``, ``n_frames``, ``gmac`` (for one clip) and ``parameters``.
    """
    rows = []
    for spec in specs:
        n_frames = frames_of(spec, frames, duration)
        for model in models:
            with torch.device("meta"):
                network = build(model, spec, n_frames=n_frames, n_tags=n_tags, width=width)
            rows.append(
                {
                    "spec": spec.name,
                    "model": model,
                    "n_frames": n_frames,
                    "gmac": sum(count_macs(network, spec.n_mels, n_frames).values()) / 1e9,
                    "parameters": count_parameters(network),
                }
            )
    return rows
