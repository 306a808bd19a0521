"""A clip's spectrogram, and the attention that a network pays to each step of it.

As Won, Chun and Serra (*Toward interpretable music tagging with self-attention*, 2019) draw it:
below the spectrogram, the attention of what is read in the end, in the last layer, all heads
together (`models.networks.attentive.time_attention`).
"""

import dataclasses
import os
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featurestore import result
from featurestore.errors import TrainingError
from featurestore.storage.atomic import atomic_write
from models.data import ClipDataset
from models.networks import ARCHITECTURES
from models.networks.attentive import Attentive, time_attention
from models.training.checkpoint import Checkpoint, load_checkpoint
from models.training.predict import predict

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_MOST_TAGS = 5
"""That the title has."""

_TITLE_WIDTH = 130
"""Letters in a line."""

_HERTZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)
"""Frequencies that the axis names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionPicture:
    """A clip drawn with a network's attention.

    Attributes
    ----------
    row : int
    clip_id, model, spec : str
    attention : tuple of float or None
        What each step gets, in times of what it would get if all got the same; None where the
        network does not look.
    step_seconds : float
        From one step to the next [s].
    probabilities : dict of str to float
        What the network says of the clip, by tag, the likeliest first.
    path : Path
        Of the PNG file.
    """

    row: int
    clip_id: str
    model: str
    spec: str
    attention: tuple[float | None, ...]
    step_seconds: float
    probabilities: dict[str, float]
    path: Path

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        path = fields.pop("path")
        return fields | {"attention": list(self.attention), "picture": str(path)}

    def lines(self) -> list[str]:
        """Lines with the picture's path, the likeliest tags, and where most attention goes."""
        paid = [value or 0.0 for value in self.attention]
        at = int(np.argmax(paid))
        most = f"at {at * self.step_seconds:.1f} s, {paid[at]:.3g} times the mean"
        return [
            f"what {self.model} attends to in {self.clip_id}, drawn in {self.path}",
            *result.fact("tags", [_tag(*item) for item in _top(self.probabilities)]),
            *result.fact("most attention", [most]),
        ]


def draw_attention(
    store: "FeatureStore",
    row: int,
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
) -> AttentionPicture:
    """Draw a clip's spectrogram, and below it the attention that a network pays to its steps.

    Where the network takes windows, as few as cover the clip's audio, evenly spaced; where they
    overlap, their attention is averaged. The title has the likeliest tags, by the windows that the
    checkpoint's recipe judges by; those that the clip has are marked.

    Parameters
    ----------
    store : FeatureStore
        It holds the checkpoint's spec, or serves it as a view.
    row : int
        Of the clip.
    checkpoint : path
        Of a network with attention: `models.networks.attentive.Attentive`.
    path : path
        Of the PNG file.
    model : str, optional
        As `models.training.checkpoint.load_checkpoint` takes it.

    Raises
    ------
    TrainingError
        If there is no such checkpoint, its network has no attention, or the store's clips are not
        as long as those that it was trained on.
    UnknownSpecError
        If the store has not the checkpoint's spec.
    RowNotReadyError
        If the clip failed or is pending.
    OutputError
        If the file cannot be written.
    """
    found = load_checkpoint(checkpoint, model=model)
    before, network = _parts(found)
    array = store[found.spec]
    if array.shape[2] != found.n_frames:
        raise TrainingError(
            f"{os.fspath(checkpoint)} takes clips of {found.n_frames} frames, those of "
            f"{store.path} have {array.shape[2]}; featurize them with the --duration it was "
            "trained on"
        )
    dataset = ClipDataset(
        array,
        np.array([row]),
        np.zeros((1, len(found.tags)), np.float32),
        n_valid=array.n_valid_frames[[row]],
    )
    clip = dataset[0]
    window = found.settings.architecture.window_frames(found.spec, found.n_frames)
    paid = _attention(network, before(clip.values[None])[0], window=window, n_valid=clip.n_valid)
    probabilities = predict(found.network, dataset, found.task, found.settings)[0]
    by_tag = dict(zip(found.tags, map(float, probabilities), strict=True))
    clips = store.clips
    picture = AttentionPicture(
        row=row,
        clip_id=str(clips["clip_id"].iloc[row]),
        model=found.settings.architecture.name,
        spec=found.spec.name,
        attention=tuple(None if np.isnan(value) else float(value) for value in paid),
        step_seconds=float(network.frames_per_step * found.spec.frame_step),
        probabilities=dict(sorted(by_tag.items(), key=lambda item: -item[1])),
        path=Path(path),
    )
    own = {tag for tag in found.tags if tag in clips and clips[tag].iloc[row]}
    with atomic_write(picture.path, what="the picture") as partial:
        _draw(picture, found, clip.values.numpy(), own, partial)
    return picture


def _parts(checkpoint: Checkpoint) -> tuple[nn.Module, Attentive]:
    """What comes before the network, and the network."""
    *before, network = (
        checkpoint.network
        if isinstance(checkpoint.network, nn.Sequential)
        else [checkpoint.network]
    )
    if not isinstance(network, Attentive):
        others = [n for n, a in ARCHITECTURES.items() if hasattr(a.build, "attention")]
        raise TrainingError(
            f"{checkpoint.settings.architecture.name} has no attention that could be drawn; take a "
            f"checkpoint of {' or '.join(others)}"
        )
    return nn.Sequential(*before), network


def _attention(
    network: Attentive, values: torch.Tensor, *, window: int, n_valid: int
) -> npt.NDArray[np.float64]:
    """What each step of a clip ``(n_bands, n_frames)`` gets, in times of the mean of its window."""
    n_windows = -(-n_valid // window)
    spare = max(0, n_valid - window)
    starts = [round(i * spare / max(1, n_windows - 1)) for i in range(n_windows)]
    windows = torch.stack([values[:, start : start + window] for start in starts])
    with torch.inference_mode():
        shares = time_attention(network, windows).double().numpy()
    paid, n_paid = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start, of_window in zip(starts, shares * shares.shape[1], strict=True):
        frames = np.repeat(of_window, network.frames_per_step)[:window]
        paid[start : start + len(frames)] += frames
        n_paid[start : start + len(frames)] += 1
    # Steps of the clip's first window; those of others may lie between them.
    edges = np.arange(0, values.shape[1], network.frames_per_step)
    paid, n_paid = (np.add.reduceat(totals, edges) for totals in (paid, n_paid))
    return np.where(n_paid > 0, paid / np.maximum(n_paid, 1), np.nan)


def _draw(
    picture: AttentionPicture,
    checkpoint: Checkpoint,
    values: npt.NDArray[np.float32],
    own: set[str],
    path: Path,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spec = checkpoint.spec
    bands = spec.coordinates(values.shape[1])[0]
    seconds = values.shape[1] * float(spec.frame_step)
    figure = Figure(figsize=(10, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
    image = above.imshow(
        values, origin="lower", aspect="auto", cmap="magma", interpolation="nearest",
        extent=(0, seconds, 0, len(values)),
    )  # fmt: skip
    hertz = [f for f in _HERTZ if bands.values[0] <= f <= bands.values[-1]]
    places = np.interp(hertz, bands.values, np.arange(len(values)) + 0.5)
    above.set_yticks(places, [f"{f:,}" for f in hertz])
    above.set_ylabel(f"{bands.long_name} [{bands.unit}]", fontsize=9)
    figure.colorbar(image, ax=above, pad=0.01, fraction=0.04).set_label(
        f"{spec.long_name} [{spec.unit}]", fontsize=8
    )
    paid = np.array([np.nan if value is None else value for value in picture.attention])
    strip = below.imshow(
        paid[None], aspect="auto", cmap="Oranges", interpolation="nearest",
        vmin=0, vmax=max(2.0, np.nanmax(paid)),  # even attention has no strong colour
        extent=(0, len(paid) * picture.step_seconds, 0, 1),
    )  # fmt: skip
    below.set_yticks([])
    below.set_ylabel("attention", fontsize=9)
    below.set_xlabel("time [s]", fontsize=9)
    below.set_xlim(0, seconds)
    bar = figure.colorbar(strip, ax=below, pad=0.01, fraction=0.04, aspect=20 / 6)
    bar.set_label("times\nthe mean", fontsize=8)
    tags = [_tag(tag, p) + (" ✓" if tag in own else "") for tag, p in _top(picture.probabilities)]
    lines = (picture.clip_id, f"{picture.model} on {picture.spec}: {', '.join(tags)}")
    title = "\n".join(textwrap.fill(line, _TITLE_WIDTH, max_lines=2) for line in lines)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, parse_math=False)
    with warnings.catch_warnings():  # of letters that the font lacks: names are in any script
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(path, format="png", metadata={"Software": None})


def _top(probabilities: dict[str, float]) -> list[tuple[str, float]]:
    return list(probabilities.items())[:_MOST_TAGS]


def _tag(tag: str, probability: float) -> str:
    return f"{tag} {probability:.2f}"
