"""Adapters: a trained network's dense layers, each changed by a few weights, the rest as it was.

A dense layer's weights W0, ``(n_out, n_in)``, become W by two thin matrices A and B, whose product
is 0 at first:

- ``lora`` (Hu et al. 2022): ``W = W0 + s B A``, where s is alpha / rank.
- ``dora`` (Liu et al. 2024): ``V = W0 + s B A``, ``W = m V / |V|``, where ``|V|`` is the norm of
  each output's row, and m is learnt, that of W0 at first. No gradient goes through ``|V|``. As the
  peft library has it.
- ``dora-column``: the variant of the study of AST and DoRA on GTZAN. The norm is that of each
  input's column, the gradient goes through it, and s is alpha itself. A begins with the standard
  deviation ``1 / sqrt(rank)``.

Biases stay as they are. What is learnt is merged into the network's own weights in the end.
"""

import contextlib
import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal, Self, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featurestore.errors import TrainingError, TrainingSettingsError
from models.networks.norm import core

AdapterKind = Literal["lora", "dora", "dora-column"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapter:
    """What is learnt of a network whose weights stay as they are.

    Parameters
    ----------
    kind : {'lora', 'dora', 'dora-column'}
    rank : int
        Columns of the thin matrices.
    alpha : float
        Scales what they change: by alpha / rank, in ``dora-column`` by alpha.
    layers : tuple of int or None
        First and last of the numbered layers that are adapted, from 0. A layer's number is the
        first in its name: 10 in ``encoder.layer.10.output.dense``. None is all.
    modules : str or None
        Which dense layers in these, by a pattern (``*`` is anything) of what their names have after
        that number, or of whole names without one. None is the network's own choice,
        `models.networks.architecture.Architecture.adapts`.

    Raises
    ------
    TrainingSettingsError
        If a value cannot be.
    """

    kind: AdapterKind
    rank: int = 2
    alpha: float = 8.0
    layers: tuple[int, int] | None = None
    modules: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(AdapterKind):
            raise TrainingSettingsError(
                f"adapter is {self.kind!r}; it must be one of {', '.join(get_args(AdapterKind))}"
            )
        if not _is_whole(self.rank) or self.rank < 1:
            raise TrainingSettingsError(f"rank is {self.rank!r}; it must be a whole number from 1")
        alpha = self.alpha
        is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
        if not (is_number and 0 < alpha < math.inf):
            raise TrainingSettingsError(f"alpha is {alpha!r}; it must be a number above 0")
        object.__setattr__(self, "alpha", float(alpha))
        match self.layers:
            case None:
                pass
            case [first, last] if _is_whole(first) and _is_whole(last) and 0 <= first <= last:
                object.__setattr__(self, "layers", (first, last))  # JSON has lists
            case _:
                raise TrainingSettingsError(
                    f"the adapted layers are {self.layers!r}; give the first and the last, from 0"
                )
        if self.modules is not None and not (isinstance(self.modules, str) and self.modules):
            raise TrainingSettingsError(
                f"the adapted modules are {self.modules!r}; give a pattern of names, such as *"
            )

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave; unknown keys are refused by name."""
        unknown = fields.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise TrainingSettingsError(
                f"unknown settings of an adapter: {', '.join(sorted(unknown))}"
            )
        return cls(**fields)

    def takes(self, name: str, modules: str) -> bool:
        """Whether it goes to the dense layer `name`, where `modules` is the pattern."""
        numbered = re.search(r"(?:^|\.)(\d+)\.(.+)", name)
        if numbered is None:
            return self.layers is None and fnmatchcase(name, modules)
        first, last = self.layers or (0, math.inf)
        return first <= int(numbered[1]) <= last and fnmatchcase(numbered[2], modules)


class LoRA(nn.Module):
    """``W0 + s B A``.

    Parameters
    ----------
    weight : torch.Tensor [shape=(n_out, n_in)]
        W0, which decides shapes.
    rank : int
    alpha : float

    Attributes
    ----------
    A : nn.Parameter [shape=(rank, n_in)]
    B : nn.Parameter [shape=(n_out, rank)]
    """

    def __init__(self, weight: torch.Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self._scale = alpha / rank
        self.A = nn.Parameter(weight.new_empty(rank, n_in))
        self.B = nn.Parameter(weight.new_zeros(n_out, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """W of W0."""
        adapted: torch.Tensor = weight + self._scale * (self.B @ self.A)
        return adapted


class DoRA(nn.Module):
    """``m V / |V|`` of ``V = W0 + s B A``, by rows, as the peft library has it.

    Parameters are those of `LoRA`.

    Attributes
    ----------
    A : nn.Parameter [shape=(rank, n_in)]
    B : nn.Parameter [shape=(n_out, rank)]
    m : nn.Parameter [shape=(n_out,)]
    """

    def __init__(self, weight: torch.Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self._scale = alpha / rank
        self.A = nn.Parameter(weight.new_empty(rank, n_in))
        self.B = nn.Parameter(weight.new_zeros(n_out, rank))
        self.m = nn.Parameter(weight.detach().norm(dim=1))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """W of W0."""
        changed = weight + self._scale * (self.B @ self.A)
        # Without its gradient: the paper's own simplification (section 4.3).
        norms = changed.norm(dim=1).detach()
        adapted: torch.Tensor = (self.m / norms)[:, None] * changed
        return adapted


class ColumnDoRA(nn.Module):
    """``m V / |V|`` of ``V = W0 + alpha (A B)^T``, by columns, the gradient through ``|V|``.

    Parameters are those of `LoRA`.

    Attributes
    ----------
    A : nn.Parameter [shape=(n_in, rank)]
    B : nn.Parameter [shape=(rank, n_out)]
    m : nn.Parameter [shape=(1, n_in)]
    """

    def __init__(self, weight: torch.Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self._alpha = alpha
        self.A = nn.Parameter(weight.new_empty(n_in, rank))
        self.B = nn.Parameter(weight.new_zeros(rank, n_out))
        self.m = nn.Parameter(weight.detach().norm(dim=0, keepdim=True))
        nn.init.normal_(self.A, std=1 / math.sqrt(rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """W of W0."""
        changed = weight + self._alpha * (self.A @ self.B).T
        adapted: torch.Tensor = self.m * changed / changed.norm(dim=0, keepdim=True)
        return adapted


_KINDS: dict[str, Callable[..., nn.Module]] = {
    "lora": LoRA,
    "dora": DoRA,
    "dora-column": ColumnDoRA,
}


class Adapted(nn.Module):
    """A dense layer with an adapter.

    Parameters
    ----------
    base : nn.Linear
        Its weights stay as they are.
    adapter : nn.Module
        Makes W of W0.
    """

    def __init__(self, base: nn.Linear, adapter: nn.Module) -> None:
        super().__init__()
        self.base, self.adapter = base, adapter

    @property
    def weight(self) -> torch.Tensor:
        """W, by the name that other modules look for; in float32 whatever autocast says.

        So that what is merged is what was trained.
        """
        device = self.base.weight.device.type
        available = torch.amp.is_autocast_available(device)  # not on the meta device
        with torch.autocast(device, enabled=False) if available else contextlib.nullcontext():
            weight: torch.Tensor = self.adapter(self.base.weight)
        return weight

    @property
    def bias(self) -> torch.Tensor | None:
        """That of the layer, or None."""
        return self.base.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """As the dense layer, by W."""
        return nn.functional.linear(values, self.weight, self.bias)

    def merged(self) -> nn.Linear:
        """A dense layer with these weights."""
        layer = copy.deepcopy(self.base)
        with torch.no_grad():
            layer.weight.copy_(self.weight)
        return layer.requires_grad_(True)


def attach(network: nn.Module, adapter: Adapter, *, modules: str, head: str) -> None:
    """Freeze a network but for its head, and have dense layers learn by an adapter.

    Parameters
    ----------
    network : nn.Module
        Changed where it is. Behind a `models.networks.norm.BandNorm`, the network behind that.
    adapter : Adapter
    modules : str
        Pattern of the dense layers that are adapted where `adapter` has none.
    head : str
        Name of the module that goes on learning as a whole.

    Raises
    ------
    TrainingError
        If there is no such head, or no such dense layer.
    """
    network = core(network)
    network.requires_grad_(False)
    if head not in dict(network.named_modules()):
        raise TrainingError(
            f"an adapter leaves a network's head to learn, and this one has no {head}; an "
            "Architecture says which module is its head"
        )
    network.get_submodule(head).requires_grad_(True)
    pattern = adapter.modules or modules
    dense = {
        name: layer
        for name, layer in network.named_modules()
        if type(layer) is nn.Linear and not f"{name}.".startswith(f"{head}.")
    }
    chosen = {name: layer for name, layer in dense.items() if adapter.takes(name, pattern)}
    if not chosen:
        where = "" if adapter.layers is None else "in layers {}-{} ".format(*adapter.layers)
        raise TrainingError(
            f"no dense layer {where}is called {pattern!r}; there are "
            + (", ".join(_shortened(dense)) or "none outside the head")
        )
    for name, layer in chosen.items():
        made = _KINDS[adapter.kind](layer.weight, rank=adapter.rank, alpha=adapter.alpha)
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, Adapted(layer, made))


def merge(network: nn.Module) -> None:
    """Put what adapters have learnt into the dense layers' own weights, where they are.

    The network is then what it was before `attach`, with other weights, and nothing in it is
    frozen.
    """
    for name, layer in list(network.named_modules()):
        if isinstance(layer, Adapted):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, layer.merged())
    network.requires_grad_(True)


def learnt(network: nn.Module) -> dict[str, torch.Tensor]:
    """What learns in a network with adapters, by name: their weights, and the head's."""
    return {
        name: values.detach().clone()
        for name, values in core(network).named_parameters()
        if values.requires_grad
    }


def unfrozen(network: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a network, or of what holds one, without weights that are frozen."""
    frozen = {name for name, values in network.named_parameters() if not values.requires_grad}
    return {name: values for name, values in network.state_dict().items() if name not in frozen}


def hold_norms(network: nn.Module) -> None:
    """Keep the statistics of batch norms whose weights are frozen, while the network trains."""
    for module in _frozen_norms(network):
        module.eval()


def _frozen_norms(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not any(
            weights.requires_grad for weights in module.parameters()
        ):
            yield module


def _shortened(names: dict[str, nn.Linear]) -> list[str]:
    """Names by which layers are chosen, each once."""
    return list(dict.fromkeys(re.sub(r"^.*?(?:^|\.)\d+\.", "", name) for name in names))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
