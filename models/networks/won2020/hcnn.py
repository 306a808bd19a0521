"""Harmonic CNN: filters whose bandwidth is learnt, in six harmonics as the channels of a map.

The network of Won et al. 2020 (*Data-driven harmonic filters for audio representation learning*),
as the comparison of Won et al. 2020 has it. It takes the power of all bins of an STFT. What a store
holds of that are decibels, so it begins by turning them back; the filters then apply to power, as
in the public code of both papers, and give decibels again.

- The filters are the same in hertz at every rate and `n_fft`; the public code makes their number
  follow from the rate. Those that hold no bin, as they lie beyond half the rate or between two
  bins, give -100 dB. At 16 kHz and an `n_fft` of 512 that is one of the lowest.
- The maps have 128 rows at every spec. Along time, a pool is never longer than what is left, and
  what is left at the end goes through a maximum.
"""

import contextlib
import math

import torch
from torch import nn

from featurestore.specs.stft import StftSpec
from models.networks.architecture import Architecture
from models.networks.pools import limited
from models.networks.won2020.blocks import Hidden, convolution, scaled

HARMONICS, STEPS = 6, 128
"""Harmonics, and steps of half a semitone from the lowest note."""

LOWEST_MIDI = 24
"""C1, 32.7 Hz."""

FILTERS, LAST_FILTERS, DENSE_UNITS = 128, 256, 256

TIME_POOLS = (2, 2, 2, 2, 2, 3, 3)
"""After each of the seven layers; along frequency they are 2."""

_FLOOR = 1e-10


class HarmonicCNN(nn.Module):
    """Harmonic CNN: ``(batch, n_bins, n_frames)`` float32, in dB, to logits ``(batch, n_outputs)``.

    Parameters
    ----------
    spec : StftSpec
        What the input is; decides which bins the filters span.
    n_frames : int
        Frames in a window; decides the pools.
    n_outputs : int
    width : float
        Scales the convolutions' filters, and the units of the hidden dense layer, each rounded to
        the nearest whole number, at least 1. The harmonic filters stay as they are.

    Raises
    ------
    TrainingError
        When called, if it trains on a batch of one window.
    """

    def __init__(
        self, spec: StftSpec, *, n_frames: int, n_outputs: int, width: float = 1.0
    ) -> None:
        super().__init__()
        n_filters, n_last, n_units = (
            scaled(n, width) for n in (FILTERS, LAST_FILTERS, DENSE_UNITS)
        )
        pools = [(2, pool) for pool in limited(n_frames, TIME_POOLS)]
        self.harmonics = HarmonicFilters(spec)
        self.input_norm = nn.BatchNorm2d(HARMONICS)
        self.layers = nn.Sequential(
            convolution(HARMONICS, n_filters, pools[0]),
            *(Block(n_filters, pool) for pool in pools[1:4]),
            convolution(n_filters, n_last, pools[4]),
            *(Block(n_last, pool) for pool in pools[5:]),
        )
        self.hidden = Hidden(n_last, n_units)
        self.dense = nn.Linear(n_units, n_outputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_outputs)`` of windows ``(batch, n_bins, n_frames)``."""
        # What is at the floor is silence, and a filter holds many bins of it.
        power = (values * (math.log(10) / 10)).exp() - _FLOOR
        maps = self.layers(self.input_norm(self.harmonics(power)))
        logits: torch.Tensor = self.dense(self.hidden(maps.amax((2, 3))))
        return logits


class HarmonicFilters(nn.Module):
    """Triangles around harmonics: power ``(batch, n_bins, n_frames)`` to decibels.

    Gives ``(batch, 6, 128, n_frames)``: ``10 log10(max(P, 1e-10))`` of the power P in each filter.
    A filter is 1 at the centre f, h times one of 128 frequencies from C1 on in steps of half a
    semitone, and 0 at half its bandwidth from it: ``(0.1079 f + 24.7) / Q`` [Hz].

    Parameters
    ----------
    spec : StftSpec

    Attributes
    ----------
    q : nn.Parameter [shape=(1,)]
        Q, the same for all filters.
    """

    frequencies: torch.Tensor
    centres: torch.Tensor

    def __init__(self, spec: StftSpec) -> None:
        super().__init__()
        midi = LOWEST_MIDI + torch.arange(STEPS, dtype=torch.float64) / 2
        notes = 440 * 2 ** ((midi - 69) / 12)
        centres = torch.arange(1, HARMONICS + 1)[:, None] * notes
        # They follow from the spec, so a checkpoint needs none of them.
        self.register_buffer("centres", centres.flatten().float(), persistent=False)
        frequencies = torch.tensor(spec.frequencies, dtype=torch.float32)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.q = nn.Parameter(torch.ones(1))

    def filters(self) -> torch.Tensor:
        """Weights of the bins, ``(6 * 128, n_bins)``."""
        bandwidths = (0.1079 * self.centres + 24.7) / self.q
        distances = (self.frequencies - self.centres[:, None]).abs()
        return (1 - 2 * distances / bandwidths[:, None]).clamp(min=0)

    def forward(self, power: torch.Tensor) -> torch.Tensor:
        """Decibels in each filter, in float32 whatever autocast says: bfloat16 keeps 0.5 dB."""
        device = power.device.type
        available = torch.amp.is_autocast_available(device)  # not on the meta device
        with torch.autocast(device, enabled=False) if available else contextlib.nullcontext():
            filtered = self.filters() @ power
        decibels: torch.Tensor = 10 * filtered.clamp(min=_FLOOR).log10()
        return decibels.reshape(power.shape[0], HARMONICS, STEPS, -1)

    def macs(self, output: torch.Tensor) -> int:
        """Multiply-accumulates, for `models.networks.cost`: of the matrix with all frames."""
        return output.numel() * len(self.frequencies)


class Block(nn.Module):
    """Two convolutions, what they take added to what they give, and a pool."""

    def __init__(self, n: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(n, n, 3, padding=1),
            nn.BatchNorm2d(n),
            nn.ReLU(),
            nn.Conv2d(n, n, 3, padding=1),
            nn.BatchNorm2d(n),
        )
        self.pool = nn.MaxPool2d(pool)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``(batch, n, height, width)``, both smaller by the pool."""
        # The maximum of ReLUs is the ReLU of the maximum, for fewer of them.
        pooled: torch.Tensor = self.pool(values + self.convolutions(values)).relu()
        return pooled


ARCHITECTURE = Architecture(
    name="hcnn",
    build=HarmonicCNN,
    accepts=StftSpec,
    takes=StftSpec(sr=16000),
    window=5,
    is_centred=True,
    needs_unit=True,
)
