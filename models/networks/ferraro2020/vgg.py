"""VGG-CNN: four convolution blocks over a whole clip.

The network of Ferraro et al. 2020 (section 3.3): batch norm on the input, then four blocks of 3x3
convolution, batch norm, ELU and max-pool, then one dense layer. The pools grow or shrink with the
resolution so that every spec ends in a 1x1 map, whatever its bands and frames.
"""

import dataclasses
from typing import Literal

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.pools import cells_left, pools_from_shape

FILTERS = (128, 384, 768, 2048)
"""Filters of the four blocks at width 1."""

# The study's table 3. Keys: sample rate [Hz] and hop multiple; mel bands.
TIME_POOLS = {
    (12000, 1): (4, 5, 8, 8),
    (12000, 2): (4, 5, 8, 4),
    (12000, 3): (4, 5, 8, 2),
    (12000, 4): (4, 5, 8, 2),
    (12000, 5): (4, 5, 8, 1),
    (12000, 10): (4, 5, 4, 1),
    (16000, 1): (4, 5, 9, 10),
    (16000, 2): (4, 5, 9, 5),
    (16000, 3): (4, 5, 9, 3),
    (16000, 4): (4, 5, 9, 2),
    (16000, 5): (4, 5, 9, 2),
    (16000, 10): (4, 5, 9, 1),
}
MEL_POOLS = {
    128: (2, 4, 4, 4),
    96: (2, 4, 3, 4),
    48: (2, 4, 3, 2),
    32: (2, 2, 3, 2),
    24: (2, 2, 3, 2),
    16: (2, 2, 2, 2),
    8: (2, 2, 2, 1),
}

Source = Literal["table", "shape"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooling:
    """Max-pool sizes of the four blocks along both axes, and where each axis has them from."""

    mel: tuple[int, ...]
    time: tuple[int, ...]
    mel_source: Source
    time_source: Source


def pooling(spec: FeatureSpec, n_frames: int) -> Pooling:
    """Choose the pools for clips of ``(spec.n_mels, n_frames)``.

    Along each axis on its own: the row of the study's table, where there is one and it leaves
    exactly one cell (29.1 s do, at the study's frame counts as at melgrid's, one fewer);
    otherwise `pools_from_shape`.
    """
    mel = MEL_POOLS.get(spec.n_mels)
    time = TIME_POOLS.get((spec.sr, spec.hop)) if isinstance(spec.hop, int) else None
    if time is not None and cells_left(n_frames, time) != 1:
        time = None
    return Pooling(
        mel=mel or pools_from_shape(spec.n_mels),
        time=time or pools_from_shape(n_frames),
        mel_source="table" if mel else "shape",
        time_source="table" if time else "shape",
    )


class VGG(nn.Module):
    """VGG-CNN: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the pools, with `n_frames`.
    n_frames : int
        Frames in a clip.
    n_outputs : int
    width : float
        Scales the filters of every block, each rounded to the nearest whole number, at least 1
        (``round(384 * 0.125) == 48``). Multiply-accumulates and parameters go nearly with its
        square. 1 is the study's network.

    Attributes
    ----------
    pooling : Pooling
        The max-pool sizes, and whether they are the table's or follow from the shape.
    """

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        self.pooling = pooling(spec, n_frames)
        filters = [max(1, round(width * n)) for n in FILTERS]
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                _block(c_in, c_out, pool)
                for c_in, c_out, pool in zip(
                    [1, *filters[:-1]],
                    filters,
                    zip(self.pooling.mel, self.pooling.time, strict=True),
                    strict=True,
                )
            )
        )
        self.dense = nn.Linear(filters[-1], n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of clips ``(batch, n_mels, n_frames)``."""
        maps: torch.Tensor = self.blocks(self.input_norm(values.unsqueeze(1)))
        logits: torch.Tensor = self.dense(maps.flatten(1))
        return logits


def _block(c_in: int, c_out: int, pool: tuple[int, int]) -> nn.Sequential:
    # The study pools after the ELU. ELU never decreases, so the maximum of ELUs is the ELU of the
    # maximum: the same output for a fraction of the exponentials.
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size=3, padding="same"),
        nn.BatchNorm2d(c_out),
        nn.MaxPool2d(pool),
        nn.ELU(),
    )


ARCHITECTURE = Architecture(name="vgg", build=VGG)
