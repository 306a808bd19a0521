"""One clip's values under one spec, drawn into axes: a spectrogram, or the line of a waveform.

A spec of any kind can be drawn: all that is asked of it is what `Spec` says.
"""

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from featurestore.specs.encoding import Range
from featurestore.specs.mel import mel_edges
from featurestore.specs.spec import Coordinate, Spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_PIXELS = 400
"""Width and height of a spectrogram in a picture of three abreast, or a little more."""

_DECIBELS = 80.0
"""How far below the loudest value of a picture its colours reach, where values are logarithmic."""

_DYNAMICS: dict[object, float] = {"db": _DECIBELS, "ln": _DECIBELS * math.log(10) / 10}
"""The same in the values' unit, by amplitude scaling; of any other, colours reach to the least."""

_HERTZ = (0.0, *(500.0 * 2**octave for octave in range(10)))
"""Frequencies that axes name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """What is drawn into one pair of axes.

    Attributes
    ----------
    spec : Spec
    values : np.ndarray [shape=(n_bands, n_frames), dtype=float32]
    seconds : float
        How much of it is audio and not padding [s].
    """

    spec: Spec
    values: npt.NDArray[np.float32] = dataclasses.field(repr=False)
    seconds: float

    @property
    def is_line(self) -> bool:
        """Return whether it is drawn as a line: there is one band alone."""
        return self.spec.n_bands == 1

    @property
    def scale_key(self) -> Hashable:
        """Equal for panels whose values can be compared, and so are drawn alike."""
        spec = self.spec
        return spec.kind, spec.long_name, spec.unit, spec.value_range

    @property
    def bands(self) -> Coordinate:
        """Positions of the bands."""
        return self.spec.coordinates(self.values.shape[1])[0]

    @property
    def axis_label(self) -> str:
        """Label of the vertical axis."""
        if self.is_line:
            return _with_unit(self.spec.long_name, self.spec.unit)
        return "frequency [Hz]" if self.bands.unit == "Hz" else _with_unit(*_named(self.bands))

    @property
    def colour_label(self) -> str:
        """Label of the colours."""
        return _with_unit(self.spec.long_name, self.spec.unit)


def scales_of(panels: Sequence[Panel]) -> dict[Hashable, Range]:
    """Values of the first and the last colour, or of the lower and upper end of a line's axis.

    The same for all panels whose values can be compared: see `Panel.scale_key`.
    """
    alike: dict[Hashable, list[Panel]] = {}
    for panel in panels:
        alike.setdefault(panel.scale_key, []).append(panel)
    return {key: _scale(some) for key, some in alike.items()}


def _scale(panels: Sequence[Panel]) -> Range:
    spec = panels[0].spec
    low = min(float(panel.values.min()) for panel in panels)
    high = max(float(panel.values.max()) for panel in panels)
    if panels[0].is_line:
        if spec.value_range[0] == -spec.value_range[1]:  # swings around zero
            high = max(high, -low)
            low = -high
        margin = 0.05 * (high - low) or 1.0
        return low - margin, high + margin
    low = max(low, high - _DYNAMICS.get(spec.fields().get("log"), math.inf))
    return (low, high) if high > low else (low - 1, high)  # all is silence


def highest_frequency(panels: Sequence[Panel]) -> float:
    """Upper edge of the highest band of all panels [Hz]; 1 where none has frequencies."""
    return max((_upper_edge(panel) for panel in panels if _has_frequencies(panel)), default=1.0)


def _upper_edge(panel: Panel) -> float:
    """A step above the last band: where a mel filter ends; half the sample rate at most."""
    nyquist = panel.spec.sr / 2
    heights = _height(panel.bands.values[-2:], nyquist)
    fine = mel_edges(4095, 0.0, nyquist)
    edge = np.interp(2 * heights[1] - heights[0], np.linspace(0, 1, len(fine)), fine)
    return float(round(edge))


def _has_frequencies(panel: Panel) -> bool:
    return not panel.is_line and panel.bands.unit == "Hz"


def draw_panel(axes: "Axes", panel: Panel, scale: Range, highest: float) -> "AxesImage | None":
    """Draw a panel; its image, whose colours mean something, or None for a line.

    Parameters
    ----------
    axes : Axes
    panel : Panel
    scale : (float, float)
        One of `scales_of`.
    highest : float
        Frequency at the upper end of the axis [Hz].
    """
    axes.tick_params(labelsize=8)
    if panel.is_line:
        _draw_line(axes, panel, scale)
        return None
    return _draw_spectrogram(axes, panel, scale, highest)


def _draw_line(axes: "Axes", panel: Panel, scale: Range) -> None:
    """Draw the values over time [s]; where they are too many, the range of those in a column."""
    values = panel.values[0]
    times = panel.spec.coordinates(len(values))[1].values
    if len(values) <= 2 * _PIXELS:
        axes.plot(times, values, color="#51127c", linewidth=0.8)
    else:
        starts = np.linspace(0, len(values), 2 * _PIXELS, endpoint=False).astype(np.intp)
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        axes.fill_between(times[starts], low, high, color="#51127c", linewidth=0.4)
    axes.set_ylim(*scale)


def _draw_spectrogram(axes: "Axes", panel: Panel, scale: Range, highest: float) -> "AxesImage":
    """Draw values over bands and time [s].

    Bands with frequencies are drawn over mel, as a part of the way from 0 Hz to `highest`,
    whatever they are spaced by: so spectrograms of all kinds are level with each other. A band is
    drawn around its centre, half way to its neighbours, and a frame around its time, half a step
    to either side.
    """
    bands, frames = panel.spec.coordinates(panel.values.shape[1])
    is_hertz = _has_frequencies(panel)
    edges = _edges(_height(bands.values, highest) if is_hertz else bands.values)
    half_step = float(panel.spec.frame_step) / 2
    values = _evenly_spaced(panel.values, edges)
    image = axes.imshow(
        values,
        extent=(frames.values[0] - half_step, frames.values[-1] + half_step, edges[0], edges[-1]),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=scale[0],
        vmax=scale[1],
        # Frames that are wider than a pixel are drawn as they are; narrower ones are averaged.
        interpolation="nearest" if values.shape[1] < _PIXELS else "hanning",
        interpolation_stage="data",
    )
    if is_hertz:
        ticks = [hertz for hertz in _HERTZ if hertz <= highest * 1.001]
        axes.set_yticks(
            np.minimum(_height(np.array(ticks), highest), 1), [f"{hertz:g}" for hertz in ticks]
        )
        axes.set_ylim(0, 1)
    axes.set_facecolor("0.85")  # what lies outside the bands
    return image


def _height(hertz: npt.NDArray[np.float64], highest: float) -> npt.NDArray[np.float64]:
    """Where frequencies lie on the mel scale, as a part of the way from 0 Hz to `highest`.

    What lies above has the same slope as at the upper end.
    """
    fine = mel_edges(4095, 0.0, highest)
    heights = np.interp(hertz, fine, np.linspace(0, 1, len(fine)))
    heights += np.maximum(hertz - highest, 0) / (fine[-1] - fine[-2]) / (len(fine) - 1)
    return heights


def _edges(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Edges half way between neighbours, and as far beyond the first and the last."""
    inner = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def _evenly_spaced(
    values: npt.NDArray[np.float32], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Rows of the same height: the bands themselves where they are, else means over bands."""
    steps = np.diff(edges)
    if np.allclose(steps, steps.mean(), rtol=1e-3):
        return values
    rows = np.linspace(edges[0], edges[-1], _PIXELS + 1)
    upper = np.minimum(rows[1:, None], edges[1:])
    lower = np.maximum(rows[:-1, None], edges[:-1])
    shares = np.maximum(upper - lower, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    even: npt.NDArray[np.float32] = shares.astype(np.float32) @ values
    return even


def _named(bands: Coordinate) -> tuple[str, str]:
    return bands.long_name, bands.unit


def _with_unit(name: str, unit: str) -> str:
    return name if unit == "1" else f"{name} [{unit}]"
