"""MUSICNN: a front end of musically motivated filters, over windows of a clip.

The network of Pons et al. 2018 (*End-to-end learning for music audio tagging at scale*), as
Ferraro et al. 2020 train it (section 3.3). The front end looks at one input with filters of
several shapes: nearly all bands high and a few frames wide (timbre), or the mean over bands and
many frames wide (temporal). Three convolutions with residual sums follow, then a dense back end.

There is public code of both papers; where they part, this is what is done here:

- Numbers of filters, the dropout before the dense layer, and `pooling` ``study``: the study's code.
  It has no batch norm between pooling and dropout, as later releases of MUSICNN have.
- Batch norm on the input, and a batch norm of each filter in the middle: Pons' later training code.
  The study's MUSICNN has none on the input, and two in the middle have one scale for all filters.
- Axes: the papers'. The study's code gives this network bands where it takes frames, and frames
  where it takes bands (its spectrograms are bands x frames, its filters frames x bands). There,
  pooling over the filters leaves a profile of the bands; here, one of time, which says less of a
  clip (on 200 clips and 4 genres, ``original`` pooling scored higher each time).
- Windows: 3 s at every resolution, as the papers say; the study's code takes 128 frames.
"""

from functools import partial
from typing import Literal

import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture

TIMBRE_HEIGHTS = (9, 4)
"""Heights of the timbre filters in tenths of the bands."""

TIMBRE_FILTERS = {7: 64, 3: 128, 1: 256}
"""Width of the timbre filters [frames], and how many there are of each height."""

TEMPORAL_FILTERS = {165: 32, 128: 32, 64: 32, 32: 32}
"""Width of the temporal filters [frames], and how many there are."""

MIDDLE_FILTERS, MIDDLE_WIDTH = 512, 7
"""Filters of the three convolutions in the middle, and their width [frames]."""

DENSE_UNITS = 500

MIN_FRAMES = MIDDLE_WIDTH + 1
"""The first convolution in the middle is not padded, and two frames must be left to pool."""

Pooling = Literal["study", "original"]


class MUSICNN(nn.Module):
    """MUSICNN: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the heights of the timbre filters. All widths stay as they are
        in frames, at every resolution.
    n_frames : int
        Frames in a window.
    n_outputs : int
    width : float
        Scales the filters, and the units of the hidden dense layer, each rounded to the nearest
        whole number, at least 1. 1 is the study's network on MagnaTagATune.
    pooling : {'study', 'original'}
        What is left of ``(512, n_steps)`` maps. ``study``: mean and maximum over the filters, at
        each step of time, so ``2 n_steps`` values. ``original``: mean and maximum over time, of
        each filter, so 1024 values.

    Raises
    ------
    TrainingError
        If `n_frames` is below 8. When called, if it trains on a batch of one window.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        *,
        n_frames: int,
        n_outputs: int,
        width: float = 1.0,
        pooling: Pooling = "study",
    ) -> None:
        super().__init__()
        if n_frames < MIN_FRAMES:
            raise TrainingError(
                f"musicnn takes windows of {MIN_FRAMES} frames or more, and those of {spec.name} "
                f"have {n_frames}; use a smaller hop or longer clips"
            )

        def scaled(n: int) -> int:
            return max(1, round(width * n))

        self._pooling = pooling
        self.input_norm = nn.BatchNorm2d(1)
        self.timbre = nn.ModuleList(
            _timbre(scaled(n), max(1, spec.n_mels * tenths // 10), frames)
            for tenths in TIMBRE_HEIGHTS
            for frames, n in TIMBRE_FILTERS.items()
        )
        self.temporal = nn.ModuleList(
            _temporal(scaled(n), frames) for frames, n in TEMPORAL_FILTERS.items()
        )
        n_front = len(TIMBRE_HEIGHTS) * sum(map(scaled, TIMBRE_FILTERS.values()))
        n_front += sum(map(scaled, TEMPORAL_FILTERS.values()))
        n_middle, n_dense = scaled(MIDDLE_FILTERS), scaled(DENSE_UNITS)
        self.middle = nn.ModuleList(
            [
                _middle(n_front, n_middle, padding=0),
                _middle(n_middle, n_middle, padding=MIDDLE_WIDTH // 2),
                _middle(n_middle, n_middle, padding=MIDDLE_WIDTH // 2),
            ]
        )
        self.pool = nn.MaxPool1d(2)
        n_steps = (n_frames - MIDDLE_WIDTH + 1) // 2
        self.hidden = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(2 * (n_steps if pooling == "study" else n_middle), n_dense),
            nn.ReLU(),
            nn.BatchNorm1d(n_dense),
            nn.Dropout(0.5),
        )
        self.dense = nn.Linear(n_dense, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        if self.training and len(values) == 1:
            raise TrainingError(
                "musicnn cannot train on a batch of one window: its batch norm needs two; use more "
                "clips, and a batch_size of at least 3"
            )
        maps = self.input_norm(values.unsqueeze(1))
        mean = maps.mean(2)
        front = [layer(maps).amax(2) for layer in self.timbre]
        front += [layer(mean) for layer in self.temporal]
        first, second, third = self.middle
        features = first(torch.cat(front, 1))
        features = self.pool(features + second(features))
        features = features + third(features)
        over = 1 if self._pooling == "study" else 2
        pooled = torch.cat([features.mean(over), features.amax(over)], 1)
        logits: torch.Tensor = self.dense(self.hidden(pooled))
        return logits


def _timbre(n: int, height: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, n, (height, width), padding=(0, width // 2)), nn.ReLU(), nn.BatchNorm2d(n)
    )


def _temporal(n: int, width: int) -> nn.Sequential:
    # padding="same" warns of a copy where the width is even.
    same = nn.ZeroPad1d(((width - 1) // 2, width // 2))
    return nn.Sequential(same, nn.Conv1d(1, n, width), nn.ReLU(), nn.BatchNorm1d(n))


def _middle(c_in: int, c_out: int, *, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(c_in, c_out, MIDDLE_WIDTH, padding=padding), nn.ReLU(), nn.BatchNorm1d(c_out)
    )


ARCHITECTURE = Architecture(name="musicnn", build=MUSICNN, window=3)
"""As the study trains it, at each of its specs."""

ORIGINAL = Architecture(
    name="musicnn-original",
    build=partial(MUSICNN, pooling="original"),
    takes=FeatureSpec(sr=16000, n_mels=96, log="log"),
    window=3,
)
"""With the pooling of Pons et al. 2018, whose spec it takes."""
