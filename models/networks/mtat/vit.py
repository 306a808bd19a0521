"""ViT: convolutions, then a transformer over patches of their maps.

The vision transformer of the first report on MagnaTagATune, which takes 15 s of a mel-spectrogram
in decibels. Its layers and their 25,066,804 parameters are the report's; what is open is here:

- Spec: the report trains and tests as Won et al. 2020 do, so it is theirs with 128 bands, whose
  three pools of 2 leave the 16 rows of one patch.
- Pools along the bands: 2 at each convolution, and more at the last where more than 16 rows would
  be left. A patch is as high as the maps, 16 rows or less.
- Pools along time: as few as leave at most 64 patches, so that most of the 64 positions are learnt,
  and the sequence stays long at a coarse resolution. At 16 kHz and a hop of 256 none is needed:
  15 s are 58 patches. Otherwise 2 at the first convolution, then also at the second, and at the
  third what is needed. The attention network of Won et al. 2020 pools bands alone in the same way.
- A sequence of n patches has the first n positions, and the mean of what the transformer makes of
  them goes into the dense layer.
- 8 heads, which do not show in the number of parameters.
"""

import math
from typing import ClassVar

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.attentive import attention_weights
from models.networks.pools import cells_left, limited

FILTERS = (64, 128, 256)
"""Of the three convolutions."""

PATCH, MAX_PATCHES = 16, 64
"""Rows and columns of a patch, and positions that are learnt."""

HEADS, HEAD_UNITS, FEED_FORWARD, LAYERS = 8, 32, 2048, 6
"""Of the transformer."""


class ViT(nn.Module):
    """ViT: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters, the units of each head, and those of the feed-forward layers, each
        rounded to the nearest whole number, at least 1; there are 8 heads at every width.
    """

    has_cls: ClassVar[bool] = False

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()

        def scaled(n: int) -> int:
            return max(1, round(width * n))

        filters = [scaled(n) for n in FILTERS]
        mel_pools, time_pools = pools(spec.n_mels, n_frames)
        rows = cells_left(spec.n_mels, mel_pools)
        columns = min(PATCH, cells_left(n_frames, time_pools))
        n_units = HEADS * scaled(HEAD_UNITS)
        self.frames_per_step = columns * math.prod(time_pools)
        self.input_norm = nn.BatchNorm2d(1)
        self.layers = nn.Sequential(
            *(
                # The maximum of ReLUs is the ReLU of the maximum, for fewer of them.
                nn.Sequential(
                    nn.Conv2d(c_in, c_out, kernel_size=3, padding="same"),
                    nn.MaxPool2d(pool),
                    nn.ReLU(),
                )
                for c_in, c_out, pool in zip(
                    [1, *filters], filters, zip(mel_pools, time_pools, strict=True), strict=False
                )
            )
        )
        self.patches = nn.Conv2d(filters[-1], n_units, (rows, columns), stride=(rows, columns))
        self.positions = nn.Parameter(torch.empty(MAX_PATCHES, n_units))
        nn.init.normal_(self.positions, std=0.02)
        self.transformer = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(n_units, HEADS, scaled(FEED_FORWARD), batch_first=True),
            LAYERS,
            enable_nested_tensor=False,
        )
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        logits: torch.Tensor = self.dense(self.transformer(self._tokens(values)).mean(1))
        return logits

    def attention(self, values: torch.Tensor) -> torch.Tensor:
        """What patches pay to each other, `models.networks.attentive.Attentive`."""
        tokens, weights = self._tokens(values), []
        for layer in self.transformer.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            weights.append(attention_weights(layer.self_attn, tokens))
            tokens = layer(tokens)
        return torch.stack(weights, 1)

    def _tokens(self, values: torch.Tensor) -> torch.Tensor:
        """What the transformer takes: ``(batch, n_patches, 256)``."""
        maps = self.layers(self.input_norm(values.unsqueeze(1)))
        patches: torch.Tensor = self.patches(maps).flatten(2).transpose(1, 2)
        return patches + self.positions[: patches.shape[1]]


def pools(n_mels: int, n_frames: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pools of the three convolutions, along the bands and along time.

    They leave one row of patches, and at most `MAX_PATCHES` of them.

    >>> pools(128, 938), pools(24, 94), pools(512, 7500)
    (((2, 2, 2), (1, 1, 1)), ((2, 2, 2), (1, 1, 1)), ((2, 2, 8), (2, 2, 2)))
    """
    first = limited(n_mels, (2, 2))
    rows = cells_left(n_mels, first)
    mel = (*first, max(min(2, rows), math.ceil(rows / PATCH)))
    too_many = (MAX_PATCHES + 1) * PATCH
    last = 1 + n_frames // 4 // too_many
    time = next(
        pools
        for pools in ((1, 1, 1), (2, 1, 1), (2, 2, last))
        if cells_left(n_frames, pools) < too_many
    )
    return mel, time


ARCHITECTURE = Architecture(
    name="vit",
    build=ViT,
    takes=FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None),
    window=15,
    is_centred=True,
)
