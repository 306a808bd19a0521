"""SpecTNT: a transformer over each frame's bands within a transformer over time, of 4.54 s.

After Lu, Wang, Won, Choi and Song 2021 (*SpecTNT: a time-frequency transformer for music audio*):
a reading of the abstract, since nothing more of the tagging network was at hand. What it says: in
each frame a spectral transformer attends over bands and gathers what it finds in a frequency class
token; that is projected and added to the frame's temporal embedding, over which a temporal
transformer attends; such blocks are stacked. What is melgrid's choice:

- The sizes: 96 maps with 4 heads along the bands and 96 units with 8 heads along time, as a later
  paper on song structure has them, but three blocks, not five, and 4.54 s, as the public code for
  tagging; feed-forward layers four times as wide; that code's dropout of 0.15.
- The front: batch norm, and a residual block that leaves a fourth of bands and of frames
  (`models.networks.won2021.blocks`), so that 128 bands are 32 tokens and 196 frames 49 steps.
- A temporal class token in front of the steps is what is read in the end. It has no bands.
- Before a block the temporal embedding is projected back and added to the class tokens of the
  frames. All tokens begin as what is learnt, and bands and steps have learnt positions; of time,
  the temporal embedding with which a window begins is that.
- It takes decibels, or whatever scaling a spec has.

`models.networks.lu2021.spectnt_mwm` is another reading, whose code is public.
"""

from typing import ClassVar

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.attentive import attention_weights
from models.networks.won2021.blocks import ResidualBlock

MAPS, SPECTRAL_HEADS = 96, 4
UNITS, TEMPORAL_HEADS = 96, 8
BLOCKS, FEED_FORWARD, DROPOUT = 3, 4, 0.15
"""Feed-forward layers in the units of a token."""

POOL = 4
"""Of the front, along bands and time, at most."""


class SpecTNT(nn.Module):
    """SpecTNT: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the number of bands' tokens.
    n_frames : int
        Frames in a window; decides the number of steps.
    n_outputs : int
    width : float
        Scales the units of each head, each rounded to the nearest whole number, at least 1; the
        numbers of heads stay.
    """

    has_cls: ClassVar[bool] = True

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        n_maps = SPECTRAL_HEADS * max(1, round(width * MAPS / SPECTRAL_HEADS))
        n_units = TEMPORAL_HEADS * max(1, round(width * UNITS / TEMPORAL_HEADS))
        pool = min(POOL, spec.n_mels), min(POOL, n_frames)
        self.frames_per_step = pool[1]
        n_bands, n_steps = spec.n_mels // pool[0], n_frames // pool[1]
        self.input_norm = nn.BatchNorm2d(1)
        self.front = ResidualBlock(1, n_maps, pool)
        self.frequency_token = nn.Parameter(0.02 * torch.randn(n_maps))
        self.frequency_positions = nn.Parameter(0.02 * torch.randn(1 + n_bands, n_maps))
        self.time_token = nn.Parameter(0.02 * torch.randn(n_units))
        self.time_embedding = nn.Parameter(0.02 * torch.randn(n_steps, n_units))
        self.blocks = nn.ModuleList(Block(n_maps, n_units) for _ in range(BLOCKS))
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        spectral, temporal = self._embeddings(values)
        for block in self.blocks:
            spectral, temporal = block(spectral, temporal)
        logits: torch.Tensor = self.dense(temporal[:, 0])
        return logits

    def attention(self, values: torch.Tensor) -> torch.Tensor:
        """What steps pay to each other, `models.networks.attentive.Attentive`."""
        spectral, temporal = self._embeddings(values)
        weights = []
        for block in self.blocks:
            assert isinstance(block, Block)
            weights.append(block.attention(spectral, temporal))
            spectral, temporal = block(spectral, temporal)
        return torch.stack(weights, 1)

    def _embeddings(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of bands ``(batch, n_steps, 1 + n_bands, n_maps)``, and of steps, the class first.

        The latter are ``(batch, 1 + n_steps, n_units)``.
        """
        maps: torch.Tensor = self.front(self.input_norm(values.unsqueeze(1)))
        bands = maps.permute(0, 3, 2, 1)
        n, n_steps = bands.shape[:2]
        first = self.frequency_token.expand(n, n_steps, 1, -1)
        steps = torch.cat([self.time_token[None], self.time_embedding]).expand(n, -1, -1)
        return torch.cat([first, bands], 2) + self.frequency_positions, steps


class Block(nn.Module):
    """A spectral transformer layer in each frame, then a temporal one, and what leads over.

    Parameters
    ----------
    n_maps, n_units : int
        Of the tokens of bands, and of those of steps.
    """

    def __init__(self, n_maps: int, n_units: int) -> None:
        super().__init__()
        self.to_frequency = nn.Linear(n_units, n_maps)
        self.spectral = encoder_layer(n_maps, SPECTRAL_HEADS)
        self.to_time = nn.Linear(n_maps, n_units)
        self.temporal = encoder_layer(n_units, TEMPORAL_HEADS)

    def forward(
        self, spectral: torch.Tensor, temporal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both as they come; see `SpecTNT`."""
        spectral, temporal = self._gathered(spectral, temporal)
        return spectral, self.temporal(temporal)

    def attention(self, spectral: torch.Tensor, temporal: torch.Tensor) -> torch.Tensor:
        """What steps pay to each other: ``(batch, n_heads, 1 + n_steps, 1 + n_steps)``."""
        _, temporal = self._gathered(spectral, temporal)
        return attention_weights(self.temporal.self_attn, self.temporal.norm1(temporal))

    def _gathered(
        self, spectral: torch.Tensor, temporal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bands after their transformer, and steps with what it has gathered of each."""
        of_time = self.to_frequency(temporal[:, 1:])[:, :, None]
        spectral = torch.cat([spectral[:, :, :1] + of_time, spectral[:, :, 1:]], 2)
        spectral = self.spectral(spectral.flatten(0, 1)).unflatten(0, spectral.shape[:2])
        steps = temporal[:, 1:] + self.to_time(spectral[:, :, 0])
        return spectral, torch.cat([temporal[:, :1], steps], 1)


def encoder_layer(
    n_units: int, n_heads: int, n_inner: int | None = None
) -> nn.TransformerEncoderLayer:
    """A transformer layer with the norms before; `n_inner` is four times as wide if None."""
    return nn.TransformerEncoderLayer(
        n_units,
        n_heads,
        FEED_FORWARD * n_units if n_inner is None else n_inner,
        DROPOUT,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


ARCHITECTURE = Architecture(
    name="spectnt",
    build=SpecTNT,
    takes=FeatureSpec(sr=22050, n_mels=128, hop=2, n_fft=1024, htk=True, norm=None),
    window=4.54,
    is_centred=True,
)
