"""MUSICNN as Won et al. 2020 train it: windows of 3 s, fewer filters, and all layers pooled.

After Pons et al. 2018 (*End-to-end learning for music audio tagging at scale*) and the later code
of its authors. It is not the network of Ferraro et al., `models.networks.ferraro2020.musicnn`:

- Timbre filters are 0.7 and 0.4 of the bands high, all 7 frames wide, 204 of each. The study has 67
  and 38 bands of 96, and keeps these with 128.
- Temporal filters, 51 each of 129, 65 and 33 frames, take the mean over the bands.
- Three convolutions of 64 filters in the middle are padded; the last two are added to what they
  take.
- What is pooled is all that: the front end and the three, by their maximum and mean over time.

Filters stay as they are in frames, at every resolution. On the Million Song Dataset the study has
512 filters in the middle and 500 dense units, which are not to be had here.
"""

from collections.abc import Mapping

import torch
from torch import nn

from featurestore.specs.mel import FeatureSpec
from models.networks.architecture import Architecture
from models.networks.won2020.blocks import Hidden, scaled
from models.networks.won2020.published import renamed

TIMBRE_HEIGHTS = (7, 4)
"""Heights of the timbre filters in tenths of the bands."""

TIMBRE_FILTERS, TIMBRE_WIDTH = 204, 7
"""Timbre filters of each height, and their width [frames]."""

TEMPORAL_FILTERS, TEMPORAL_WIDTHS = 51, (129, 65, 33)
"""Temporal filters of each width, and the widths [frames]."""

MIDDLE_FILTERS, MIDDLE_WIDTH = 64, 7
"""Filters of the three convolutions in the middle, and their width [frames]."""

DENSE_UNITS = 200


class MUSICNN(nn.Module):
    """MUSICNN: ``(batch, n_mels, n_frames)`` float32 to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : FeatureSpec
        What the input is; decides the heights of the timbre filters.
    n_frames : int
        Frames in a window; the layers are the same for any.
    n_outputs : int
    width : float
        Scales the filters, and the units of the hidden dense layer, each rounded to the nearest
        whole number, at least 1.
    """

    def __init__(
        self, spec: FeatureSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        n_timbre, n_temporal, n_middle, n_dense = (
            scaled(n, width)
            for n in (TIMBRE_FILTERS, TEMPORAL_FILTERS, MIDDLE_FILTERS, DENSE_UNITS)
        )
        self.input_norm = nn.BatchNorm2d(1)
        self.timbre = nn.ModuleList(
            _timbre(n_timbre, max(1, spec.n_mels * tenths // 10)) for tenths in TIMBRE_HEIGHTS
        )
        self.temporal = nn.ModuleList(
            _over_time(1, n_temporal, frames) for frames in TEMPORAL_WIDTHS
        )
        n_front = len(TIMBRE_HEIGHTS) * n_timbre + len(TEMPORAL_WIDTHS) * n_temporal
        self.middle = nn.ModuleList(
            _over_time(c_in, n_middle, MIDDLE_WIDTH) for c_in in (n_front, n_middle, n_middle)
        )
        self.hidden = Hidden(2 * (n_front + 3 * n_middle), n_dense)
        self.dense = nn.Linear(n_dense, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_mels, n_frames)``."""
        maps = self.input_norm(values.unsqueeze(1))
        mean = maps.mean(2)
        front = torch.cat(
            [layer(maps).amax(2) for layer in self.timbre]
            + [layer(mean) for layer in self.temporal],
            1,
        )
        one, two, three = self.middle
        first = one(front)
        second = first + two(first)
        third = second + three(second)
        features = torch.cat([front, first, second, third], 1)
        pooled = torch.cat([features.amax(2), features.mean(2)], 1)
        logits: torch.Tensor = self.dense(self.hidden(pooled))
        return logits


def _timbre(n: int, height: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, n, (height, TIMBRE_WIDTH), padding=(0, TIMBRE_WIDTH // 2)),
        nn.BatchNorm2d(n),
        nn.ReLU(),
    )


def _over_time(c_in: int, c_out: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(c_in, c_out, width, padding=width // 2), nn.BatchNorm1d(c_out), nn.ReLU()
    )


ARCHITECTURE = Architecture(
    name="musicnn-smc",
    build=MUSICNN,
    takes=FeatureSpec(sr=16000, n_mels=96, htk=True, norm=None),
    window=3,
    is_centred=True,
)

_LAYERS = {
    **{f"layers.{n}": f"timbre.{n}" for n in range(2)},
    **{f"layers.{n + 2}": f"temporal.{n}" for n in range(3)},
    **{f"layer{n + 1}": f"middle.{n}" for n in range(3)},
}

PUBLISHED = {
    "spec_bn": "input_norm",
    **{f"{theirs}.conv": f"{here}.0" for theirs, here in _LAYERS.items()},
    **{f"{theirs}.bn": f"{here}.1" for theirs, here in _LAYERS.items()},
    "dense1": "hidden.0",
    "bn": "hidden.1",
    "dense2": "dense",
}
"""Modules as the study's code names them, and their names here."""


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights that the study published, as `load_state_dict` takes them.

    Raises
    ------
    TrainingError
        If they are not those of this network, as it was trained on MagnaTagATune.
    """
    return renamed(state, PUBLISHED, ARCHITECTURE)
