"""Pictures of a clip's stored values: its spectrograms, side by side."""

import dataclasses
import io
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import UnknownSpecError
from featurestore.specs.grid import subsample
from featurestore.specs.mel import FeatureSpec, Log, mel_edges, require_mel
from featurestore.specs.spec import Spec
from featurestore.storage.atomic import atomic_write
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MOST = 9
"""Spectrograms that a picture holds, where it is not said which."""

UNITS: dict[Log, str] = {"db": "mel power [dB]", "log": "log10(1 + 10000 × mel power)"}
"""Label of the values, by amplitude scaling."""

_PIXELS = 400
"""Width of a spectrogram in a picture of three abreast."""

_DYNAMICS: dict[Log, float] = {"db": 80.0, "log": np.inf}
"""How far below the loudest value of a picture its colours reach."""

_HERTZ = (0.0, *(500.0 * 2**octave for octave in range(10)))
"""Frequencies that axes name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn clip.

    Attributes
    ----------
    row : int
    clip_id : str
    specs : tuple of FeatureSpec
        Drawn, in order.
    left_out : tuple of Spec
        Stored, and left out for want of space.
    path : Path
        Of the PNG file.
    """

    row: int
    clip_id: str
    specs: tuple[FeatureSpec, ...]
    left_out: tuple[Spec, ...]
    path: Path

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "row": self.row,
            "clip_id": self.clip_id,
            "specs": [spec.name for spec in self.specs],
            "left_out": [spec.name for spec in self.left_out],
            "picture": str(self.path),
        }

    def lines(self) -> list[str]:
        """Lines with the picture's path, and the specs that it lacks."""
        drawn = result.count(len(self.specs), "spectrogram")
        lines = [f"{drawn} of {self.clip_id} in {self.path}"]
        if self.left_out:
            lines += result.fact("left out", [spec.name for spec in self.left_out])
        return lines


def draw_clip(
    store: FeatureStore,
    row: int,
    path: str | os.PathLike[str] | None = None,
    specs: Sequence[str] | None = None,
) -> Picture:
    """Draw one clip's spectrograms side by side, frequencies level with each other, to a PNG file.

    Parameters
    ----------
    store : FeatureStore
    row : int
        Of the clip.
    path : path
        Of the file; None for one that is named after the clip, here.
    specs : sequence of str
        Names of specs, or of views; None for what is stored, the finest first, and `MOST` of
        them spread over the fineness where there are more.

    Raises
    ------
    RowNotReadyError
        If the clip failed or is pending.
    SpecError, UnknownSpecError
        If `specs` names what is no spec, or what the store cannot give.
    CorruptDataError
        As `FeatureArray.read` says.
    OutputError
        If the file cannot be written.
    """
    arrays = [store[spec] for spec in (subsample(store.specs, MOST) if specs is None else specs)]
    if not arrays:
        raise UnknownSpecError(f"{store.path} holds no specs; featurize adds some")
    values = [array[row] for array in arrays]
    drawn = tuple(require_mel(array.spec, "pictures are of") for array in arrays)
    scales = _colour_scales(drawn, values)
    highest = max(float(spec.edges[-1]) for spec in drawn)
    columns = min(len(drawn), 2 if len(drawn) == 4 else 3)
    rows = -(-len(drawn) // columns)
    figure = _figure(max(6.4, 4.6 * columns), 1.1 + 2.7 * rows)
    every = np.atleast_1d(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True))
    for axes in every.flat[len(drawn) :]:
        axes.remove()
    duration, valid = store.window.duration, valid_seconds(store, row)
    for number, (spec, values_of_spec) in enumerate(zip(drawn, values, strict=True)):
        axes = every.flat[number]
        image = _spectrogram(axes, spec, values_of_spec, highest, scales[spec.log])
        axes.set_xlim(0, duration)
        _shade_padding(axes, valid, duration)
        axes.set_title(spec.name, loc="left", fontsize=9, family="monospace")
        axes.tick_params(labelbottom=number + columns >= len(drawn))
        if number + columns >= len(drawn):
            axes.set_xlabel("time [s]")
        if number % columns == 0:
            axes.set_ylabel("frequency [Hz]")
        bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.05)
        bar.set_label(UNITS[spec.log], fontsize=8)
        bar.ax.tick_params(labelsize=8)
    clip_id = store.table.clip_id[row]
    title = f"{shortened(clip_id, 100)}\n{shortened(', '.join(tags_of(store, row)), 100)}"
    figure.suptitle(title.rstrip(), x=0.01, ha="left", fontsize=11, parse_math=False)
    left_out = () if specs else tuple(spec for spec in store.specs if spec not in drawn)
    path = Path(f"{file_stem(clip_id)}.png" if path is None else path)
    with atomic_write(path, what="the picture") as partial:
        partial.write_bytes(_png(figure))
    return Picture(row=row, clip_id=clip_id, specs=drawn, left_out=left_out, path=path)


def draw_thumbnail(spec: FeatureSpec, values: npt.NDArray[np.float32], duration: float) -> bytes:
    """Draw one spectrogram for a page, without a title: PNG, 720 x 300 pixels.

    Parameters
    ----------
    spec : FeatureSpec
    values : np.ndarray [shape=(n_mels, n_frames)]
    duration : float
        How much of it is audio [s].
    """
    figure = _figure(4.5, 1.875)
    axes = figure.subplots()
    highest = float(spec.edges[-1])
    scales = _colour_scales([spec], [values])
    _spectrogram(axes, spec, values, highest, scales[spec.log])
    axes.set_xlim(0, duration)
    axes.tick_params(labelsize=8)
    axes.set_ylabel("Hz", fontsize=8)
    axes.set_xlabel("s", fontsize=8)
    return _png(figure)


def tags_of(store: FeatureStore, row: int) -> list[str]:
    """Names of the tags that a clip has."""
    labels = store.table.labels[row]
    return [tag for tag, has in zip(store.tags, labels, strict=True) if has]


def valid_seconds(store: FeatureStore, row: int) -> float:
    """Length of a clip's audio without padding [s]."""
    status = store.status
    if not status["sr"][row]:
        return store.window.duration
    return min(store.window.duration, float(status["n_valid"][row] / status["sr"][row]))


def file_stem(clip_id: str) -> str:
    """A clip's id as the beginning of a file's name: letters, digits, dots and dashes."""
    stem = re.sub(r"\.(mp3|wav|flac|ogg|opus|m4a|aiff?)$", "", clip_id, flags=re.IGNORECASE)
    return re.sub(r"[^\w.]+", "-", stem).strip(".-")[-100:] or "clip"


def shortened(text: str, length: int) -> str:
    """A text on one line and at most so long, its middle left out if need be."""
    text = " ".join(text.split())
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160 if width < 5 else 110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colour_scales(
    specs: Sequence[FeatureSpec], values: Sequence[npt.NDArray[np.float32]]
) -> dict[Log, tuple[float, float]]:
    """Values of the first and the last colour, the same for all spectrograms of one scaling."""
    scales: dict[Log, tuple[float, float]] = {}
    for log, dynamics in _DYNAMICS.items():
        there = [v for spec, v in zip(specs, values, strict=True) if spec.log == log]
        if there:
            high = max(float(v.max()) for v in there)
            low = max(min(float(v.min()) for v in there), high - dynamics)
            scales[log] = (low, high) if high > low else (low - 1, high)  # all is silence
    return scales


def _spectrogram(
    axes: "Axes",
    spec: FeatureSpec,
    values: npt.NDArray[np.float32],
    highest: float,
    scale: tuple[float, float],
) -> "AxesImage":
    """Draw values over mel [as a part of the way from 0 Hz to `highest`] and time [s].

    A band is drawn around its centre, a frame around its time: half a band's step and half a hop
    to either side. So the picture ends half a step inside the filter bank's outer edges.
    """
    lowest, *_, last = spec.edges
    halves = mel_edges(2 * spec.n_mels + 1, lowest, last, htk=spec.htk)
    borders = _height(halves[1::2], highest)
    if spec.htk:  # bands that are even on HTK's scale are not in the picture
        inside = np.linspace(borders[0], borders[-1], 8 * spec.n_mels + 1)[:-1]
        values = values[np.searchsorted(borders, inside, "right") - 1]
    half_hop = 0.5 / spec.frame_rate
    times = (-half_hop, values.shape[1] / spec.frame_rate - half_hop)
    image = axes.imshow(
        values,
        extent=(*times, borders[0], borders[-1]),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=scale[0],
        vmax=scale[1],
        # Frames that are wider than a pixel are drawn as they are; narrower ones are averaged.
        interpolation="nearest" if values.shape[1] < _PIXELS else "hanning",
        interpolation_stage="data",
    )
    ticks = [hertz for hertz in _HERTZ if hertz <= highest * 1.001]
    axes.set_yticks(_height(np.array(ticks), highest), [f"{hertz:g}" for hertz in ticks])
    axes.set_ylim(0, 1)
    axes.set_facecolor("0.85")  # what lies outside the bands
    axes.tick_params(labelsize=8)
    return image


def _height(hertz: npt.NDArray[np.float64], highest: float) -> npt.NDArray[np.float64]:
    """Where frequencies lie on the mel scale, as a part of the way from 0 Hz to `highest`."""
    fine = mel_edges(4095, 0.0, highest)
    return np.interp(hertz, fine, np.linspace(0, 1, len(fine)))


def _shade_padding(axes: "Axes", valid: float, duration: float) -> None:
    if duration - valid < 1e-3:
        return
    axes.axvspan(valid, duration, facecolor="white", alpha=0.25, hatch="///", edgecolor="0.6")
    axes.axvline(valid, color="white", linewidth=1.2)
    axes.annotate(
        f"audio ends, {valid:.1f} s",
        (valid, 1), (-3, -4), textcoords="offset points", xycoords=("data", "axes fraction"),
        ha="right", va="top", fontsize=8, color="white",
        bbox={"facecolor": "0.1", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():  # of letters that the font lacks: ids are in any script
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
