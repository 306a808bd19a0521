"""Multiply-accumulates and parameters, counted from the network itself.

Conventions
-----------
Layers that multiply by matrices count, and nothing else: no bias, no batch norm, no activation, no
softmax, no pooling, as in Ferraro et al. 2020.

- A convolution of ``k_h x k_w`` from ``c_in`` to ``c_out`` maps of ``h_out x w_out``:
  ``k_h k_w c_in c_out h_out w_out``.
- A dense layer: ``n_in n_out``, at each place that it is applied to.
- A recurrent layer: the matrices of its gates at each step, ``n_gates n_hidden (n_in + n_hidden)``,
  3 gates in a GRU and 4 in an LSTM; what gates multiply element by element does not count.
- Attention of ``n`` queries to ``m`` keys, ``d`` wide: the four projections,
  ``2 n d^2 + 2 m d^2``, the products of queries with keys, and of what they weigh with values,
  ``2 n m d`` over all heads.
- A layer that says by a method ``macs`` what it multiplies, as harmonic filters do, whose matrix
  follows from what is learnt: what it says.

What a network costs is for one clip: for all the windows that the clip is predicted by, where it
takes windows. 1 GMAC is 1e9 multiply-accumulates.
"""

import dataclasses
import math
from collections.abc import Iterable
from itertools import product
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from torch import nn

from featurestore import result
from featurestore.errors import TrainingSettingsError
from featurestore.specs.mel import HOP_UNIT
from featurestore.specs.spec import Spec
from models.networks import ARCHITECTURES
from models.networks.architecture import Architecture
from models.networks.own import user_errors

Frames = Literal["melgrid", "study"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_ATTENDED = ("query", "key", "value")


@runtime_checkable
class Multiplies(Protocol):
    """A layer of one's own that multiplies by matrices in its ``forward``."""

    def macs(self, output: torch.Tensor) -> int:
        """Multiply-accumulates of a call that gave `output`, of one input."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a network that holds weights.

    Attributes
    ----------
    name : str
        In the network: ``network.get_submodule(name)`` is the layer.
    kind : str
        Its class, such as ``Conv2d``.
    kernel : tuple of int
        Cells that a convolution's filter spans; empty for other layers.
    output : tuple of int
        Shape of what it gives for one input, without the batch: channels first, of recurrent layers
        and attention last. Of these it is the sequence, not their state or weights.
    macs : int
        Multiply-accumulates; none for a batch norm.
    parameters : int
        Trainable values.
    """

    name: str
    kind: str
    kernel: tuple[int, ...]
    output: tuple[int, ...]
    macs: int
    parameters: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a network per clip.

    Attributes
    ----------
    n_windows : int
        Windows of the clip that the network takes one by one; 1 where it takes the clip whole.
    window_frames : int
        Frames in each.
    layers : tuple of Layer
        In the order in which they run. Their multiply-accumulates are for the whole clip, the
        shapes of their outputs for one window.
    """

    n_windows: int
    window_frames: int
    layers: tuple[Layer, ...]

    @property
    def gmac(self) -> float:
        """1e9 multiply-accumulates."""
        return sum(layer.macs for layer in self.layers) / 1e9

    @property
    def parameters(self) -> int:
        """Trainable values."""
        return sum(layer.parameters for layer in self.layers)


@user_errors()
def clip_cost(
    architecture: Architecture,
    spec: Spec,
    *,
    n_frames: int,
    n_outputs: int,
    width: float = 1.0,
    n_windows: int | None = None,
) -> Cost:
    """Count what a network costs for a clip of ``(spec.n_bands, n_frames)``.

    Parameters
    ----------
    n_windows : int, optional
        Windows that the clip is predicted by. None is consecutive ones, `Architecture.n_windows`.

    Raises
    ------
    TrainingError
        If it cannot be made so.
    """
    frames = architecture.window_frames(spec, n_frames)

    def layers_on(device: str) -> tuple[Layer, ...]:
        with torch.device(device):
            network = architecture.new(spec, n_frames=n_frames, n_outputs=n_outputs, width=width)
        return count_layers(network, spec.n_bands, frames)

    try:
        layers = layers_on("meta")  # nothing is computed, and no memory taken
    except Exception:
        if not architecture.reference:
            raise
        layers = layers_on("cpu")  # a user's network may compute with values while it is made
    if n_windows is None:
        n_windows = architecture.n_windows(spec, n_frames)
    return Cost(
        n_windows=n_windows,
        window_frames=frames,
        layers=tuple(dataclasses.replace(layer, macs=layer.macs * n_windows) for layer in layers),
    )


def count_layers(network: nn.Module, n_bands: int, n_frames: int) -> tuple[Layer, ...]:
    """Count multiply-accumulates and parameters by layer, for one input ``(n_bands, n_frames)``.

    Parameters
    ----------
    network : nn.Module
        Takes ``(batch, n_bands, n_frames)``; run once, on whichever device it is on.

    Returns
    -------
    tuple of Layer
        The layers with weights of their own, and those that say what they multiply, in the order in
        which they first ran. What runs twice costs twice.
    """
    layers: dict[str, Layer] = {}

    def count(name: str) -> Any:
        def hook(
            layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], outputs: Any
        ) -> None:
            # Recurrent layers and attention give a second thing, their state and their weights.
            output = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
            batch = 0 if getattr(layer, "batch_first", True) else 1
            whole = isinstance(layer, nn.MultiheadAttention)  # its parts never run by themselves
            layers[name] = Layer(
                name=name,
                kind=type(layer).__name__,
                kernel=tuple(layer.kernel_size) if isinstance(layer, _CONVOLUTIONS) else (),
                output=tuple(n for axis, n in enumerate(output.shape) if axis != batch),
                macs=_macs(layer, output, inputs, named)
                + (layers[name].macs if name in layers else 0),
                parameters=_trainable(layer.parameters(recurse=whole)),
            )

        return hook

    # Layers that are hooked run one by one: without, torch computes a transformer layer as a whole.
    handles = [
        layer.register_forward_hook(count(name), with_kwargs=True)
        for name, layer in network.named_modules()
        if isinstance(layer, Multiplies) or any(True for _ in layer.parameters(recurse=False))
    ]
    device = next(network.parameters()).device
    was_training = network.training
    try:
        with torch.no_grad():
            # Evaluating: batch norm in training would move its statistics, and refuse one value.
            network.eval()(torch.empty(1, n_bands, n_frames, device=device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return tuple(layers.values())


def _macs(
    layer: nn.Module, output: torch.Tensor, inputs: tuple[Any, ...], named: dict[str, Any]
) -> int:
    """Multiply-accumulates of a call, by its first output and its arguments, of one input."""
    if isinstance(layer, (*_CONVOLUTIONS, nn.Linear)):
        # A weight is (c_out, c_in / groups, *kernel): one output value costs all but c_out.
        return output.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.RNNBase):
        n_steps = output.numel() // output.shape[-1]
        matrices = (p for name, p in layer.named_parameters() if name.startswith("weight"))
        return n_steps * sum(matrix.numel() for matrix in matrices)
    if isinstance(layer, nn.MultiheadAttention):
        given: dict[str, torch.Tensor] = dict(zip(_ATTENDED, inputs, strict=False)) | named
        query, key, value = (given[name] for name in _ATTENDED)
        width: int = layer.embed_dim
        n_keys = key.shape[-2] if layer.batch_first else key.shape[0]
        # The output has the query's shape: its projection costs the same.
        projections = (2 * query.numel() + key.numel() + value.numel()) * width
        return projections + 2 * query.numel() * n_keys
    return layer.macs(output) if isinstance(layer, Multiplies) else 0


def _trainable(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters if p.requires_grad)


def frames_of(spec: Spec, frames: Frames = "melgrid", duration: float = 29.1) -> int:
    """Frames in a clip of `duration` [s].

    ``melgrid`` is the store's own count, `Spec.n_frames`: 1365 and 1819 at x1. ``study`` is
    that of Ferraro et al., whose Essentia makes one frame more at x1 (1366 and 1820); hop k keeps
    every k-th of those.
    """
    if frames not in get_args(Frames):
        raise TrainingSettingsError(
            f"frames is {frames!r}; it must be one of {', '.join(get_args(Frames))}"
        )
    n_samples = round(duration * spec.sr)
    if frames == "melgrid":
        return spec.n_frames(n_samples)
    hop = spec.frame_step * spec.sr / HOP_UNIT
    return math.ceil((2 + n_samples // HOP_UNIT) / hop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MacsRow:
    """Cost of a network at a spec.

    Attributes
    ----------
    spec : Spec
    model : str
    n_frames : int
        Of a clip.
    cost : Cost
    """

    spec: Spec
    model: str
    n_frames: int
    cost: Cost

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values, without the layers."""
        return {
            "spec": self.spec.name,
            "model": self.model,
            "n_frames": self.n_frames,
            "n_segments": self.cost.n_windows,
            "segment_frames": self.cost.window_frames,
            "gmac": self.cost.gmac,
            "parameters": self.cost.parameters,
        }

    def layer_lines(self) -> list[str]:
        """A table of the layers."""
        cost = self.cost
        title = (
            f"{self.spec.name}, {self.model}: {cost.gmac:.3f} GMAC, {cost.parameters:,} "
            f"parameters, {cost.n_windows} x {cost.window_frames:,} frames"
        )
        layers = [
            {
                "layer": layer.name,
                "kind": f"{layer.kind} {result.shape(layer.kernel)}",
                "output": result.shape(layer.output),
                "MMAC": layer.macs / 1e6,
                "%": layer.macs / cost.gmac / 1e7,
                "parameters": layer.parameters,
            }
            for layer in cost.layers
        ]
        return [title, *result.table(layers), ""]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MacsTable:
    """Costs of networks at specs.

    Attributes
    ----------
    rows : tuple of MacsRow
    duration : float
        Of a clip [s].
    frames : {'melgrid', 'study'}
        See `frames_of`.
    layers : bool
        Whether to list the layers, too.
    """

    rows: tuple[MacsRow, ...]
    duration: float
    frames: Frames
    layers: bool

    def json(self) -> list[dict[str, Any]]:
        """Return the fields as plain values."""
        if not self.layers:
            return [row.json() for row in self.rows]
        return [
            row.json() | {"layers": [dataclasses.asdict(layer) for layer in row.cost.layers]}
            for row in self.rows
        ]

    def lines(self) -> list[str]:
        """A table; with `layers`, one per row."""
        clip = f"per clip of {self.duration:g} s; frames as {self.frames} counts them (--frames)"
        if self.layers:
            tables = [line for row in self.rows for line in row.layer_lines()]
            return [*tables, "MMAC of all segments of the clip, output of one", clip]
        rows = [
            {
                "spec": row.spec.name,
                "model": row.model,
                "frames": row.n_frames,
                "segments": f"{row.cost.n_windows} x {row.cost.window_frames:,}",
                "GMAC": f"{row.cost.gmac:8.3f}",
                "parameters": row.cost.parameters,
            }
            for row in self.rows
        ]
        return [*result.table(rows), clip]


def macs_table(
    specs: Iterable[Spec],
    *,
    models: Iterable[Architecture] = (ARCHITECTURES["vgg"],),
    width: float = 1.0,
    n_tags: int = 50,
    frames: Frames = "melgrid",
    duration: float = 29.1,
    layers: bool = False,
) -> MacsTable:
    """Count what each network costs at each spec.

    Raises
    ------
    SpecError
        If a network does not take one.
    """
    rows = []
    for spec, architecture in product(specs, models):
        n_frames = frames_of(spec, frames, duration)
        cost = clip_cost(architecture, spec, n_frames=n_frames, n_outputs=n_tags, width=width)
        rows.append(MacsRow(spec=spec, model=architecture.name, n_frames=n_frames, cost=cost))
    return MacsTable(rows=tuple(rows), duration=duration, frames=frames, layers=layers)
