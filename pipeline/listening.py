"""The listening page: clips at several resolutions, to be heard beside their spectrograms."""

import base64
import html
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from featurestore.errors import RowNotReadyError, SettingsError
from featurestore.grid import thinned
from featurestore.info import describe_spec
from featurestore.picture import draw_thumbnail, shortened, tags_of, valid_seconds
from featurestore.spec import FeatureSpec
from featurestore.store import FeatureStore
from pipeline.sonify import MOST, Format, Method, Sound, sonify_clip

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates that MP3 knows [Hz]."""


def write_listening_page(
    store: FeatureStore,
    folder: str | os.PathLike[str],
    *,
    n_clips: int = 3,
    specs: Sequence[FeatureSpec | str] | None = None,
    method: Method = "griffin-lim",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write ``listen.html``: one file that needs no network and nothing beside it.

    Sounds are MP3, which every browser plays: a quarter of FLAC's bytes, and of a Griffin-Lim
    sound's error in dB a fifth on top. Where MP3 does not know the sample rate they are FLAC.

    Parameters
    ----------
    store : FeatureStore
    folder : path
        Made if it is not there.
    n_clips : int
        Clips, spread over the tags; fewer if fewer are ready.
    specs : sequence of FeatureSpec or str
        Specs, or views; None for what is stored, and `MOST` of them spread over the fineness
        where there are more. The finest comes first on the page.
    method : {'griffin-lim', 'noise'}
    seed : int
        Which clips.
    progress : callable
        Called with the number of clips done and their total.

    Returns
    -------
    path : Path
        Of the page.

    Raises
    ------
    SettingsError
        If `n_clips` is less than 1, or `method` is neither.
    RowNotReadyError
        If no clip is ready at all of the specs.
    SpecError, UnknownSpecError, CorruptDataError
        As the store says.
    """
    if n_clips < 1:
        raise SettingsError(f"clips is {n_clips}; it must be at least 1")
    arrays = [store[spec] for spec in (thinned(store.specs, MOST) if specs is None else specs)]
    chosen = thinned([array.spec for array in arrays], len(arrays))
    ready = np.logical_and.reduce([array.ready for array in arrays]) if arrays else np.zeros(0)
    rows = spread_over_tags(np.flatnonzero(ready), store.table.labels, n_clips, seed)
    if not rows:
        raise RowNotReadyError(
            f"{store.path}: no clip is ready at {', '.join(s.name for s in chosen) or 'any spec'};"
            " run featurize to compute some"
        )
    sections = []
    for done, row in enumerate(rows):
        progress(done, len(rows))
        sections.append(_section(store, row, sonify_clip(store, row, chosen, method=method)))
    progress(len(rows), len(rows))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "listen.html"
    page = _PAGE.format(
        catalog=html.escape(store.catalog), made=_MADE[method], sections="\n".join(sections)
    )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


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


def _section(store: FeatureStore, row: int, sounds: dict[FeatureSpec, Sound]) -> str:
    tags = "".join(f"<li>{html.escape(tag)}</li>" for tag in tags_of(store, row))
    gain = next(iter(sounds.values())).gain
    loudness = "as loud as the clip" if gain > -0.05 else f"{-gain:.1f} dB softer than the clip"
    cards = "\n".join(_card(store, row, spec, sound) for spec, sound in sounds.items())
    return _SECTION.format(
        clip=html.escape(shortened(store.table.clip_id[row], 200)),
        tags=f"<ul>{tags}</ul>" if tags else "",
        length=f"{valid_seconds(store, row):.1f} s, {loudness}",
        cards=cards,
    )


def _card(store: FeatureStore, row: int, spec: FeatureSpec, sound: Sound) -> str:
    facts = describe_spec(store, spec)
    file_format: Format = "mp3" if sound.sr in _MP3_RATES else "flac"
    thumbnail = draw_thumbnail(spec, store[spec][row], valid_seconds(store, row))
    nbytes = facts["bytes_per_clip"]
    source = f" as {facts['view_of']}, which it is cut from" if facts["view_of"] else ""
    return _CARD.format(
        spec=spec.name,
        image=_data_uri("image/png", thumbnail),
        audio=_data_uri(
            "audio/mpeg" if file_format == "mp3" else "audio/flac", sound.encoded(file_format)
        ),
        bands=spec.n_mels,
        frames=f"{spec.frame_rate:.3g}",
        rate=f"{spec.values_per_second:,.0f}",
        nbytes=f"{nbytes / 1000:,.3g} kB a clip in {facts['encoding']}{source}",
    )


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


_MADE: dict[Method, str] = {
    "griffin-lim": "phases are found by Griffin and Lim's method",
    "noise": "the magnitudes are imposed on white noise",
}

_CARD = """<article>
<h3>{spec}</h3>
<img src="{image}" alt="Spectrogram of {spec}" width="720" height="300">
<audio controls preload="metadata" src="{audio}" aria-label="{spec}"></audio>
<p>{bands} bands × {frames} frames/s = {rate} values/s<br>{nbytes}</p>
</article>"""

_SECTION = """<section>
<h2>{clip}</h2>
{tags}
<p>{length}</p>
<div class="cards">
{cards}
</div>
</section>"""

# The policy lets the page reach nothing, whatever an id or a tag may hold.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Listening to {catalog}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 1240px; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.6rem; margin: .5rem 0; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 0; overflow-wrap: anywhere; }}
h3 {{ font: 600 .9rem ui-monospace, monospace; margin: 0 0 .5rem; overflow-wrap: anywhere; }}
p {{ margin: .4rem 0; }}
ul {{ list-style: none; display: flex; flex-wrap: wrap; gap: .4rem; margin: .4rem 0; padding: 0; }}
li {{ border: 1px solid #8888; border-radius: 1rem; padding: 0 .6rem; font-size: .85rem;
  overflow-wrap: anywhere; }}
.cards {{ display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }}
article {{ border: 1px solid #8886; border-radius: .6rem; padding: .8rem; min-width: 0; }}
article p {{ font-size: .85rem; opacity: .85; overflow-wrap: anywhere; }}
img {{ width: 100%; height: auto; border-radius: .3rem; display: block; background: white; }}
audio {{ width: 100%; margin-top: .6rem; display: block; }}
</style>
</head>
<body>
<h1>What is left to hear</h1>
<p>Clips of the collection “{catalog}”, made from nothing but their stored spectrograms, the \
finest first: the law and the mel bands are undone, frames are held until the next one, and \
{made}. All sounds of a clip have the same gain; the next one goes on where the last one was.</p>
{sections}
<script>
// One at a time; the next of the same clip goes on where the last one was.
document.addEventListener("play", event => {{
  const section = event.target.closest("section");
  for (const other of document.querySelectorAll("audio")) {{
    if (other === event.target || other.paused) continue;
    other.pause();
    if (other.closest("section") === section) event.target.currentTime = other.currentTime;
  }}
}}, true);
</script>
</body>
</html>
"""
