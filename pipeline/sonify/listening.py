"""The listening page: specs and conditions of clips, to be heard beside their pictures."""

import base64
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import RowNotReadyError, SettingsError
from featurestore.inspect.captions import (
    condition_in_words,
    meaning_of,
    resolution_in_words,
    shortened,
    spec_in_words,
    tags_of,
)
from featurestore.inspect.choice import Conditions, choose
from featurestore.inspect.picture import draw_thumbnails, read_panels, valid_seconds
from featurestore.specs.spec import Spec
from featurestore.storage.atomic import atomic_write, output_errors
from featurestore.store import FeatureStore
from pipeline.sonify.phases import Method
from pipeline.sonify.players import player_of
from pipeline.sonify.sonify import Format, Sound, sonify_clip

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates that MP3 knows [Hz]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListeningPage:
    """A page that was written.

    Attributes
    ----------
    path : Path
    nbytes : int
    """

    path: Path
    nbytes: int

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {"page": str(self.path), "bytes": self.nbytes}

    def lines(self) -> list[str]:
        """One line."""
        return [f"{self.path}, {result.size(self.nbytes)}: open it in a browser"]


def write_listening_page(
    store: FeatureStore,
    folder: str | os.PathLike[str],
    *,
    n_clips: int = 3,
    specs: Sequence[Spec | str] | None = None,
    conditions: Conditions | None = None,
    method: Method = "griffin-lim",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ListeningPage:
    """Write ``listen.html``: one file that needs no network and nothing beside it.

    Sounds are MP3, which every browser plays: a quarter of FLAC's bytes, and of a Griffin-Lim
    sound's error in dB a fifth on top. Where MP3 does not know the sample rate they are FLAC, and
    where they are as stored, such as waveforms.

    Parameters
    ----------
    store : FeatureStore
    folder : path
        Made if it is not there.
    n_clips : int
        Clips, spread over the tags; fewer if fewer are ready.
    specs : sequence of (Spec or str)
    conditions : 'all' or sequence of (Condition or str)
        Which, as in `featurestore.inspect.choice.choose`.
    method : {'griffin-lim', 'noise'}
    seed : int
        Which clips.
    progress : callable
        Called with the number of clips done and their total.

    Returns
    -------
    ListeningPage

    Raises
    ------
    SettingsError
        If `n_clips` is less than 1, or `method` is neither.
    RowNotReadyError
        If no clip is ready at all of the specs.
    SpecError, UnknownSpecError, CorruptDataError
        As the store says.
    OutputError
        If the page cannot be written.
    """
    if n_clips < 1:
        raise SettingsError(f"clips is {n_clips}; it must be at least 1")
    chosen = choose(store, specs, conditions)
    made = {spec.kind: f"{spec.kind}: {player_of(spec).made}" for spec in chosen}
    has_phases = any(player_of(spec).makes_phases for spec in chosen)
    ready = np.logical_and.reduce([store[spec].ready for spec in chosen])
    rows = spread_over_tags(np.flatnonzero(ready), store.table.labels, n_clips, seed)
    if not rows:
        raise RowNotReadyError(
            f"{store.path}: no clip is ready at {', '.join(spec.name for spec in chosen)}; "
            "run featurize to compute some"
        )
    clips = []
    for done, row in enumerate(rows):
        progress(done, len(rows))
        clips.append(_clip(store, row, sonify_clip(store, row, chosen, method=method)))
    progress(len(rows), len(rows))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.sonify"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template("listen.html")
    path = Path(folder, "listen.html")
    with output_errors(path, what="the page"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, what="the page") as partial:
        text = page.render(
            catalog=store.catalog,
            made=list(made.values()),
            phases=_PHASES[method] if has_phases else None,
            clips=clips,
        )
        partial.write_text(text, encoding="utf-8")
    return ListeningPage(path=path, nbytes=path.stat().st_size)


def spread_over_tags(
    rows: npt.NDArray[np.intp], labels: npt.NDArray[np.uint8], n_clips: int, seed: int
) -> list[int]:
    """Choose clips by chance, each with the tag that was chosen least so far.

    Parameters
    ----------
    rows : np.ndarray [shape=(n,)]
        To choose from.
    labels : np.ndarray [shape=(n_clips, n_tags)]
    n_clips : int
        How many; all of `rows` if they are fewer.
    seed : int
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(labels.shape[1])  # which of the tags that are chosen equally little
    chosen: list[int] = []
    left = list(rng.permutation(rows))
    while left and len(chosen) < n_clips:
        counts = labels[chosen][:, order].sum(axis=0)
        for tag in order[np.argsort(counts, kind="stable")]:
            with_tag = [row for row in left if labels[row, tag]]
            if with_tag:
                break
        else:
            with_tag = left
        chosen.append(int(with_tag[0]))
        left.remove(with_tag[0])
    return chosen


def _clip(store: FeatureStore, row: int, sounds: dict[Spec, Sound]) -> dict[str, Any]:
    """What the page says of a clip: a group of cards per spec where there are conditions."""
    gain = next(iter(sounds.values())).gain
    loudness = "as loud as the clip" if gain > -0.05 else f"{-gain:.1f} dB softer than the clip"
    pictures = draw_thumbnails(read_panels(store, row, list(sounds)))
    groups: dict[str, list[dict[str, Any]]] = {}
    for (spec, sound), picture in zip(sounds.items(), pictures, strict=True):
        heading = spec_in_words(spec) if any(s.condition for s in sounds) else ""
        groups.setdefault(heading, []).append(_card(store, spec, sound, picture, heading))
    return {
        "name": shortened(store.table.clip_id[row], 200),
        "tags": tags_of(store, row),
        "length": f"{valid_seconds(store, row):.1f} s, {loudness}",
        "groups": groups,
    }


def _card(
    store: FeatureStore, spec: Spec, sound: Sound, picture: bytes, heading: str
) -> dict[str, Any]:
    """What it says of the clip at one spec, under one condition."""
    array = store[spec]
    is_made_up = player_of(spec).makes_phases
    file_format: Format = "mp3" if is_made_up and sound.sr in _MP3_RATES else "flac"
    kind = "audio/mpeg" if file_format == "mp3" else "audio/flac"
    kilobytes = array.nbytes_stored / np.count_nonzero(array.ready) / 1000
    source = f" as {array.view_of}, which it is cut from" if array.view_of else ""
    values = f"{float(spec.n_bands / spec.frame_step):,.0f} values/s"
    resolution = resolution_in_words(spec)
    meaning = meaning_of(spec.condition)
    return {
        "title": condition_in_words(spec.condition) if heading else spec_in_words(spec),
        "meaning": meaning if heading else "",
        "name": spec.name,
        "speed": spec.condition.speed,
        "image": _data_uri("image/png", picture),
        "audio": _data_uri(kind, sound.encoded(file_format)),
        "resolution": resolution if spec.n_bands == 1 else f"{resolution} = {values}",
        "stored": f"{kilobytes:,.3g} kB per clip in {array.encoding}{source}",
    }


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


_PHASES: dict[Method, str] = {
    "griffin-lim": "found by Griffin and Lim's method",
    "noise": "those of white noise",
}
