"""Music Tagging Transformer: three residual blocks, then a transformer over 10 s.

The network of Won, Choi and Serra 2021 (*Semi-supervised music tagging transformer*), by their
public code: batch norm on the input, in decibels; three residual blocks of 3x3 convolutions, each
with a max pool by 2 along the bands, the first two along time, too; a dense layer on what is left
of the bands at each step; a learnt first token and learnt positions; four transformer layers, with
the norms before; a norm and a dense layer on the first token. Layers have the names that they have
there, so that its checkpoints can be read (`from_published`).

- The teacher and the student of the same size have 128 filters and an attention 256 wide, which
  are the defaults here; the compact student's is 64 wide, ``mtt-attention64``. The class's own
  default has 16 filters, ``mtt-conv16``.
- Any mel-spectrogram fits: where there are too few bands for three pools, the last ones are
  shorter. There are 512 positions, so that a window may have 2051 frames at most.
- Their input is padded by reflection; a store's clips are padded with silence.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.pools import cells_left, limited
from models.networks.won2021.blocks import ResidualBlock
from models.networks.won2021.transformer import HEADS, Transformer

CONV, ATTENTION = (128, 16), (256, 64)
"""Filters of the residual blocks, and units of the attention; the defaults first."""

POOLS = ((2, 2), (2, 2), (2, 1))
"""Of each block, along bands and time."""

MAX_STEPS = 512
"""Positions that are learnt, besides that of the first token."""

LAYERS, DROPOUT = 4, 0.1
"""Of the transformer."""

FRONT_END = ("spectrogram.window", "mel_scale.fb")
"""Endings of what a published network holds of its spectrogram. The spec has it here."""


class MusicTaggingTransformer(nn.Module):
    """MTT: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters and the units of each head, each rounded to the nearest whole number, at
        least 1; there are 8 heads at every width.
    conv : int
        Filters of each convolution, at a width of 1.
    attention : int
        Units of the attention, at a width of 1.

    Raises
    ------
    TrainingError
        If a window has more steps than there are positions.
    """

    has_cls: ClassVar[bool] = True

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        n_frames: int,
        n_outputs: int,
        width: float = 1.0,
        conv: int = CONV[0],
        attention: int = ATTENTION[0],
    ) -> None:
        super().__init__()
        n_filters = max(1, round(width * conv))
        n_units = HEADS * max(1, round(width * attention / HEADS))
        mel_pools = limited(spec.n_mels, [along_mel for along_mel, _ in POOLS])
        time_pools = limited(n_frames, [along_time for _, along_time in POOLS])
        self.frames_per_step = math.prod(time_pools)
        n_steps = cells_left(n_frames, time_pools)
        if n_steps > MAX_STEPS:
            raise TrainingError(
                f"mtt has {MAX_STEPS} positions, and a window of {n_frames} frames of {spec.name} "
                f"has {n_steps} steps; choose a spec of a larger hop"
            )
        self.frontend = _Frontend(
            n_filters,
            n_units,
            pools=list(zip(mel_pools, time_pools, strict=True)),
            n_bands=cells_left(spec.n_mels, mel_pools),
        )
        self.cls_token = nn.Parameter(torch.randn(n_units))
        self.pos_embedding = nn.Parameter(torch.randn(1, MAX_STEPS + 1, n_units))
        self.dropout = nn.Dropout(DROPOUT)
        self.transformer = Transformer(n_units, LAYERS, DROPOUT)
        self.mlp_head = nn.Sequential(nn.LayerNorm(n_units), nn.Linear(n_units, n_outputs))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        tokens = self.dropout(self._tokens(values))
        logits: torch.Tensor = self.mlp_head(self.transformer(tokens)[:, 0])
        return logits

    def attention(self, values: torch.Tensor) -> torch.Tensor:
        """What tokens pay to each other, `models.networks.attentive.Attentive`."""
        return self.transformer.attention(self._tokens(values))

    def _tokens(self, values: torch.Tensor) -> torch.Tensor:
        """What the transformer takes: ``(batch, 1 + n_steps, 256)``."""
        steps: torch.Tensor = self.frontend(values.unsqueeze(1))
        first = self.cls_token.expand(steps.shape[0], 1, -1)
        return torch.cat([first, steps], 1) + self.pos_embedding[:, : steps.shape[1] + 1]


class _Frontend(nn.Module):
    """Residual blocks, then a dense layer on filters and bands of each step."""

    def __init__(
        self, n_filters: int, n_units: int, *, pools: list[tuple[int, int]], n_bands: int
    ) -> None:
        super().__init__()
        first, second, third = pools
        self.input_bn = nn.BatchNorm2d(1)
        self.layer1 = ResidualBlock(1, n_filters, first)
        self.layer2 = ResidualBlock(n_filters, n_filters, second)
        self.layer3 = ResidualBlock(n_filters, n_filters, third)
        self.fc = nn.Linear(n_filters * n_bands, n_units)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Steps ``(batch, n_steps, n_units)`` of values ``(batch, 1, n_mels, n_frames)``."""
        maps = self.layer3(self.layer2(self.layer1(self.input_bn(values))))
        steps: torch.Tensor = self.fc(maps.permute(0, 3, 1, 2).flatten(2))
        return steps


ARCHITECTURE = Architecture(
    name="mtt",
    build=MusicTaggingTransformer,
    head="mlp_head.1",
    takes=FeatureSpec(sr=22050, n_mels=128, hop=2, n_fft=1024, htk=True, norm=None),
    window=10,
    is_centred=True,
    options={"conv": CONV, "attention": ATTENTION},
)


def from_published(
    state: Mapping[str, torch.Tensor], attention: int = ATTENTION[0]
) -> dict[str, torch.Tensor]:
    """A state dict of the authors' code as one of the network here.

    Their training keeps weights under ``network.``, and beside those of a student its
    ``teacher``'s, which are left out.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        Weights for any number of outputs.
    attention : int
        Units of the network's attention.

    Raises
    ------
    TrainingError
        If one of the weights is unknown, missing, or of a shape that is not the network's.
    """
    found = {
        name.removeprefix("network."): values
        for name, values in state.items()
        if not name.startswith("teacher") and not name.endswith(FRONT_END)
    }
    spec, window = ARCHITECTURE.takes, ARCHITECTURE.window
    assert spec is not None
    assert window is not None
    last = found.get("mlp_head.1.bias", torch.empty(1))
    with torch.device("meta"):
        network = MusicTaggingTransformer(
            spec,  # type: ignore[arg-type]  # a mel spec
            n_frames=spec.n_frames(round(window * spec.sr)),
            n_outputs=last.numel(),
            attention=attention,
        )
    expected = network.state_dict()
    name = "mtt" if attention == ATTENTION[0] else f"mtt-attention{attention}"
    for key in [*found, *expected]:
        problem = None
        if key not in expected:
            problem = f"{key} is unknown"
        elif key not in found:
            problem = f"{key} is missing"
        elif found[key].shape != expected[key].shape:
            problem = f"{key} is {tuple(found[key].shape)}, not {tuple(expected[key].shape)}"
        if problem:
            raise TrainingError(
                f"these are not the published weights of {name}: {problem}; choose the network "
                "that they are of"
            )
    return {key: found[key] for key in expected}
