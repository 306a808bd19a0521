"""The audio to measure with: a few files, listed as many times as a steady state needs."""

import dataclasses
import itertools
from pathlib import Path

import click
import numpy as np

from pipeline.catalogs import Catalog, open_catalog
from pipeline.demo.demo import make_demo

DEMO = "melgrid-demo"

audio_option = click.option("--audio", help="A folder or CSV of audio; by default the demo corpus.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """Audio files, warm in the page cache.

    Parameters
    ----------
    name : str
    root : str
    paths : tuple of str
        Relative to `root`.
    """

    name: str
    root: str
    paths: tuple[str, ...]

    def files(self, n_clips: int) -> list[str]:
        """`n_clips` absolute paths, the same ones again and again."""
        some = itertools.islice(itertools.cycle(self.paths), n_clips)
        return [f"{self.root}/{path}" for path in some]

    def catalog(self, n_clips: int) -> Catalog:
        """As `files`, each time under another id."""
        paths = list(itertools.islice(itertools.cycle(self.paths), n_clips))
        return Catalog(
            name=self.name,
            root=self.root,
            track_id=[f"{number}-{path}" for number, path in enumerate(paths)],
            path=paths,
            split=[""] * n_clips,
            labels=np.zeros((n_clips, 0), np.uint8),
        )


def open_corpus(audio: str | None) -> Corpus:
    """The files of a folder or CSV; of the demo corpus, made if need be, where it is None."""
    found = open_catalog(str(make_demo(DEMO)) if audio is None else audio)
    files = [Path(found.root, path) for path in found.path]
    for file in files:
        file.read_bytes()
    return Corpus(name=found.name if audio else "demo", root=found.root, paths=tuple(found.path))
