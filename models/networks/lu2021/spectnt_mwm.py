"""SpecTNT as MWM's public code has it: transformers over maps and features, of 4.54 s.

A re-implementation of *SpecTNT: a time-frequency transformer for music audio* (Lu et al. 2021) by
MWM, in its configuration for tagging. It is no transformer over bands and frames, as the paper's
abstract describes (`models.networks.lu2021.spectnt`): in each frame, the tokens are the 128 maps,
and what is transformed of a map are all of its bands at once, by dense layers of as many inputs as
there are bands; along time, the tokens are the 128 features, of all steps at once. So a window has
one length, which is that of the network's layers.

- It takes the mel power, by that configuration. Specs are scaled: what is stored in decibels is
  turned into power here, ``10**(dB / 10)``, and what is stored as ``log10(1 + 10000 P)``, too.
- Their training takes the cross-entropy of softmax, which is for one label a clip; the task's here
  is that of sigmoids.
"""

import math

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.lu2021.spectnt import encoder_layer
from models.networks.won2021.blocks import ResidualBlock

MAPS, UNITS = 128, 128
"""Of the spectral embedding and of the temporal one."""

SPECTRAL_HEADS, TEMPORAL_HEADS, HEAD_UNITS = 4, 8, 96
"""Of the transformers, both 96 wide within, their feed-forward layers, too."""

BLOCKS, POOL = 3, 4


class SpecTNTMWM(nn.Module):
    """SpecTNT of MWM: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is: its scaling, which is undone, and its bands.
    n_frames : int
        Frames in a window; no other number can be given.
    n_outputs : int
    width : float
        Scales maps, features and the units of each head, each rounded to the nearest whole number,
        at least 1; the numbers of heads stay.
    """

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        n_maps, n_units = (max(1, round(width * n)) for n in (MAPS, UNITS))
        pool = min(POOL, n_frames)
        n_bands, n_steps = spec.n_mels, n_frames // pool
        self._is_decibels = spec.log == "db"
        self.front = ResidualBlock(1, n_maps, (1, pool))
        self.frequency_token = nn.Parameter(torch.zeros(1, n_steps, 1, n_maps))
        self.frequency_positions = nn.Parameter(torch.zeros(1, 1, n_bands + 1, n_maps))
        self.time_token = nn.Parameter(torch.zeros(1, 1, n_units))
        self.time_embedding = nn.Parameter(torch.rand(1, n_steps, n_units))
        self.blocks = nn.ModuleList(
            _Block(n_maps, n_units, n_bands + 1, n_steps + 1, width) for _ in range(BLOCKS)
        )
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        maps = self.front(self.power(values).unsqueeze(1))
        n = maps.shape[0]
        bands = torch.cat([self.frequency_token.expand(n, -1, -1, -1), maps.permute(0, 3, 2, 1)], 2)
        # The first step is the class token's, which has no bands.
        spectral = nn.functional.pad(bands + self.frequency_positions, (0, 0, 0, 0, 1, 0))
        temporal = torch.cat([self.time_token, self.time_embedding], 1).expand(n, -1, -1)
        for block in self.blocks:
            spectral, temporal = block(spectral, temporal)
        logits: torch.Tensor = self.dense(temporal[:, 0])
        return logits

    def power(self, values: torch.Tensor) -> torch.Tensor:
        """Mel power of what a spec's scaling made of it."""
        exponential = (values * (math.log(10) / 10 if self._is_decibels else math.log(10))).exp()
        return exponential if self._is_decibels else (exponential - 1) / 1e4


class _Block(nn.Module):
    """What is between the embeddings, and a transformer layer over maps and one over features."""

    def __init__(self, n_maps: int, n_units: int, n_bands: int, n_steps: int, width: float) -> None:
        super().__init__()
        spectral, temporal = (
            n_heads * max(1, round(width * HEAD_UNITS / n_heads))
            for n_heads in (SPECTRAL_HEADS, TEMPORAL_HEADS)
        )
        self.to_frequency = nn.Linear(n_units, n_maps)
        self.spectral_in = nn.Linear(n_bands, spectral)
        self.spectral = encoder_layer(spectral, SPECTRAL_HEADS, spectral)
        self.spectral_out = nn.Linear(spectral, n_bands)
        self.to_time = nn.Linear(n_maps, n_units)
        self.temporal_in = nn.Linear(n_steps, temporal)
        self.temporal = encoder_layer(temporal, TEMPORAL_HEADS, temporal)
        self.temporal_out = nn.Linear(temporal, n_steps)

    def forward(
        self, spectral: torch.Tensor, temporal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``(batch, 1 + n_steps, 1 + n_bands, n_maps)``, ``(batch, 1 + n_steps, n_units)``."""
        of_time = self.to_frequency(temporal)[:, :, None]
        spectral = torch.cat([spectral[:, :, :1] + of_time, spectral[:, :, 1:]], 2)
        maps = self.spectral_in(spectral.flatten(0, 1).transpose(1, 2))
        maps = self.spectral_out(self.spectral(maps)).transpose(1, 2)
        spectral = maps.unflatten(0, spectral.shape[:2])
        temporal = temporal + self.to_time(spectral[:, :, 0])
        features = self.temporal(self.temporal_in(temporal.transpose(1, 2)))
        return spectral, self.temporal_out(features).transpose(1, 2)


ARCHITECTURE = Architecture(
    name="spectnt-mwm",
    build=SpecTNTMWM,
    takes=FeatureSpec(sr=22050, n_mels=128, hop=2, n_fft=1024, htk=True, norm=None),
    window=4.54,
    is_centred=True,
    needs_unit=True,
)
