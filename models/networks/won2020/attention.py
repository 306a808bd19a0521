"""CNN and self-attention: residual blocks over 15 s, then a transformer over what is left of time.

The network of Won et al. 2019 (*Toward interpretable music tagging with self-attention*), as Won
et al. 2020 train it: batch norm on the input; seven residual blocks that halve the bands, and the
first three of them time, too; two transformer layers, which gather what they find in a place in
front of the steps, which begins with the same numbers for every clip; two dense layers. The
transformer knows no positions: what comes before what is known to the blocks alone.

Every resolution fits as it is: a stride of 2 leaves half of the cells, rounded up, and of a single
cell that one. Where more than one band is left, of more than 128, the largest of them is taken.
"""

import itertools
import math
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.attentive import attention_weights
from models.networks.won2020.blocks import Residual, scaled

FILTERS = (128, 128, 256, 256, 256, 256, 256)
STRIDES = ((2, 2),) * 3 + ((2, 1),) * 4
"""Of each block, along bands and time."""

HEADS, FEED_FORWARD, LAYERS = 8, 1024, 2
"""Of the transformer, which is as wide as the last block."""


class Attention(nn.Module):
    """CNN and self-attention: ``(batch, n_mels, n_frames)`` float32 to logits.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters and units, each rounded to the nearest whole number, at least 1; what is
        256 wide, to the nearest multiple of the 8 heads. There are 8 heads at every width.

    Attributes
    ----------
    cls_token : torch.Tensor [shape=(1, 1, 256), dtype=float32]
        What the transformer takes in front of the steps: not learnt, but kept with the weights. As
        in the study's code, the first numbers that NumPy's legacy generator (`numpy.random.seed`,
        `numpy.random.random`) draws uniformly from 0 to 1 with the seed 0.
    """

    has_cls: ClassVar[bool] = True
    frames_per_step = math.prod(along_time for _, along_time in STRIDES)
    cls_token: torch.Tensor

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        n_units = HEADS * scaled(FILTERS[-1] // HEADS, width)
        filters = [n_units if n == FILTERS[-1] else scaled(n, width) for n in FILTERS]
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                Residual(c_in, c_out, stride)
                for (c_in, c_out), stride in zip(
                    itertools.pairwise([1, *filters]), STRIDES, strict=True
                )
            )
        )
        # The generator of the study's code, for its numbers.
        uniform = np.random.RandomState(0).random_sample(n_units)
        self.register_buffer("cls_token", torch.tensor(uniform, dtype=torch.float32)[None, None])
        self.transformer = nn.Sequential(
            *(_TransformerLayer(n_units, scaled(FEED_FORWARD, width)) for _ in range(LAYERS))
        )
        self.hidden = nn.Sequential(nn.Linear(n_units, n_units), nn.Tanh(), nn.Dropout(0.5))
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        gathered = self.transformer(self._tokens(values))[:, 0]
        logits: torch.Tensor = self.dense(self.hidden(gathered))
        return logits

    def attention(self, values: torch.Tensor) -> torch.Tensor:
        """What tokens pay to each other, `models.networks.attentive.Attentive`."""
        tokens, weights = self._tokens(values), []
        for layer in self.transformer:
            assert isinstance(layer, _TransformerLayer)
            weights.append(attention_weights(layer.attention, tokens))
            tokens = layer(tokens)
        return torch.stack(weights, 1)

    def _tokens(self, values: torch.Tensor) -> torch.Tensor:
        """What the transformer takes: ``(batch, 1 + n_steps, 256)``."""
        maps: torch.Tensor = self.blocks(self.input_norm(values.unsqueeze(1)))
        steps = maps.amax(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(steps.shape[0], -1, -1), steps], 1)


class _TransformerLayer(nn.Module):
    """Self-attention and feed-forward, each with a norm after the sum.

    torch's own has one dropout for all, one more after the feed-forward's first layer, and a larger
    epsilon.
    """

    def __init__(self, n_units: int, n_inner: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(n_units, HEADS, dropout=0.5, batch_first=True)
        self.attention_norm = nn.LayerNorm(n_units, eps=1e-12)
        self.feed_forward = nn.Sequential(
            nn.Linear(n_units, n_inner), nn.GELU(), nn.Linear(n_inner, n_units)
        )
        self.feed_forward_norm = nn.LayerNorm(n_units, eps=1e-12)
        self.dropout = nn.Dropout(0.4)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(steps, steps, steps, need_weights=False)
        steps = self.attention_norm(steps + self.dropout(attended))
        normed: torch.Tensor = self.feed_forward_norm(
            steps + self.dropout(self.feed_forward(steps))
        )
        return normed


ARCHITECTURE = Architecture(
    name="attention",
    build=Attention,
    takes=FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None),
    window=15,
    is_centred=True,
)
