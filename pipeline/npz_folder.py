"""Folders of the study's npz files, one per clip: see `featurestore.export.npz`.

What the published files hold, and what becomes of it:

- Decibels are 20 log10 of mel power: halved, exactly. ``decibels=10`` takes them as they are.
- -inf in decibels, a power of 0, becomes the floor of -100 dB (the study's loader makes it
  0 dB, which is loud). Other infinities and nan fail the clip (``NonFinite``).
- Essentia's centred frames are one more than librosa's and melgrid's (1366 and 1820 at 12 and
  16 kHz): the last one, whose centre is beyond the clip's end, is cut off, so that an imported
  array has the shape of a computed one.
- Its Hann window is symmetric: specs are called ``…-symmetric`` unless told otherwise.
- A file that a killed run left truncated becomes a failed row (``DecodeError``).
"""

import dataclasses
import hashlib
import io
import lzma
import math
import os
import posixpath
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import (
    AudioError,
    CatalogError,
    SettingsError,
    StoreFormatError,
)
from featurestore.export.manifest import MANIFEST, read_manifest
from featurestore.export.npz import CLIP_FACTS, specs_of
from featurestore.format.commits import PENDING, ClipRecord
from featurestore.format.layout import IMPORTED, Layout
from featurestore.format.shard import Clip
from featurestore.format.statistics import Statistics
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec, require_mel
from featurestore.specs.spec import Spec
from pipeline.audio.file import opened
from pipeline.catalogs import Catalog, TableSettings, open_catalog
from pipeline.features.statistics import summarise

LABELS = "labels.csv"
"""What an export leaves in its folder: the table of tracks."""

_FACTS = {name: type(getattr(PENDING, name)) for name in CLIP_FACTS}

_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError, struct.error,
    OSError, ValueError, TypeError, EOFError, MemoryError, KeyError, RuntimeError,
)  # fmt: skip
"""What NumPy and zipfile raise for files that are damaged, or are something else."""

Decibels = Literal[20, 10]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NpzFolder:
    """A folder of npz files, one a clip, and what their arrays are.

    Parameters
    ----------
    folder : str
    keys : mapping of FeatureSpec to str
        What each spec is called in the files.
    specs : tuple of FeatureSpec
        Those of them to import.
    window : Excerpt
    decibels : {20, 10}
        A value in decibels is that many times log10 of mel power.
    settings : mapping of str to str
        Where the values come from, for the layouts.
    """

    folder: str
    keys: Mapping[FeatureSpec, str]
    specs: tuple[FeatureSpec, ...]
    window: Excerpt
    decibels: Decibels
    settings: Mapping[str, str]

    @classmethod
    def open(
        cls,
        folder: str,
        like: FeatureSpec,
        *,
        duration: float = 29.1,
        decibels: Decibels = 20,
        specs: Sequence[str] | None = None,
    ) -> Self:
        """Look at what a folder's first whole file holds, or at what an export says of it.

        Parameters
        ----------
        folder : str
            A local folder; that of an export says itself all that the others tell.
        like : FeatureSpec
            With what the names of arrays do not say: sample rate, frame length, window, edges.
        duration : float
            Length of the clips [s].
        decibels : {20, 10}
        specs : sequence of str
            Names of the specs to import; None for all that are there.

        Raises
        ------
        CatalogError
            If there is no such folder, or no whole file in it.
        SettingsError, SpecError, StoreFormatError
            If the files do not hold the specs asked for.
        """
        folder = os.path.abspath(folder)
        if not os.path.isdir(folder):
            raise CatalogError(f"{folder} is not a folder; give the one that holds the npz files")
        found: dict[str, FeatureSpec] = {}
        window = Excerpt(duration=duration)
        settings: dict[str, str] = {IMPORTED: "npz", "decibels": f"{decibels} log10"}
        mark = read_manifest(Path(folder))
        if mark is not None and mark["melgrid_export"] == "npz":
            try:
                found = {key: FeatureSpec.parse(f["spec"]) for key, f in mark["specs"].items()}
                window = Excerpt.from_json(mark["window"])
                (origin, *_) = [facts["settings"] for facts in mark["specs"].values()]
                settings = {**{k: str(v) for k, v in origin.items()}, IMPORTED: "npz"}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise StoreFormatError(f"{folder}/{MANIFEST} is damaged: {error!r}") from None
            decibels = 20
        else:
            found = specs_of(_first_names(folder), like)
        keys = {spec: key for key, spec in found.items()}
        if not keys:
            raise SettingsError(
                f"the npz files of {folder} hold no array called like mel96 or mel96_log"
            )
        wanted = tuple(keys) if specs is None else tuple(map(FeatureSpec.parse, specs))
        for spec in wanted:
            if spec not in keys:
                there = ", ".join(spec.name for spec in keys)
                raise SettingsError(f"{folder} holds no {spec.name}; it holds {there}")
        return cls(
            folder=folder,
            keys=keys,
            specs=wanted,
            window=window,
            decibels=decibels,
            settings=settings,
        )

    def catalog(
        self,
        labels: str | None = None,
        name: str | None = None,
        table: TableSettings | None = None,
    ) -> Catalog:
        """The clips, by the paths of their files without the ending ``.npz``.

        Parameters
        ----------
        labels : str
            A table of tracks, or with `name` a data set's folder, whose paths are those; None for
            the table that an export leaves, else for the files that are there, without labels.
        name : str
            A data set's name, as `open_catalog` knows it.
        table : TableSettings
            How the table is to be read; None for 0/1 columns, or as an export left it.

        Raises
        ------
        CatalogError
            If it cannot be listed, or if it names none of the files.
        """
        if labels is None and name is not None:
            raise CatalogError(f"catalog {name} needs --labels with the folder of its metadata")
        own = f"{self.folder}/{LABELS}"
        if labels is None and os.path.isfile(own):
            labels = own
            mark = read_manifest(Path(self.folder)) or {}
            table = table or TableSettings(meta=mark.get("meta", ()))
        if labels is not None:
            catalog = open_catalog(labels, name, table)
            if not any(map(self.file_of, catalog.path)):
                raise CatalogError(
                    f"{labels} lists {len(catalog)} tracks, and {self.folder} has a file of none; "
                    f"the first would be {catalog.path[0]}.npz"
                )
            return catalog
        paths = [path.removesuffix(".npz") for path in _npz_files(self.folder)]
        return Catalog(
            name=posixpath.basename(self.folder),
            root=self.folder,
            track_id=paths,
            path=paths,
            split=[""] * len(paths),
            labels=np.zeros((len(paths), 0), np.uint8),
        )

    def file_of(self, path: str) -> str | None:
        """Where the file of a track is; None if there is none."""
        file = f"{self.folder}/{path}.npz"
        return file if os.path.exists(file) else None

    @property
    def sr(self) -> int:
        """Sample rate of the analysed audio [Hz]: one for all files."""
        return self.specs[0].sr

    def compute(
        self, clip_id: str, path: str, tile: int, layouts: Iterable[Layout]
    ) -> tuple[ClipRecord, dict[Spec, tuple[Clip, Statistics]]]:
        """One clip's record and rows; a `Source` for `compute_shard`.

        Raises
        ------
        AudioError
            If the file is not whole, or holds something else.
        """
        with opened(path) as (file, signature):
            data = file.read()
        if not data:
            raise AudioError("EmptyFile", "0 bytes")
        facts: dict[str, Any] = {
            "sr": self.sr,
            "n_valid": self.window.n_samples(self.sr),
            "peak": -1.0,
        }
        made = {}
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as npz:
                for name, kind in _FACTS.items():
                    if name in npz:
                        facts[name] = kind(npz[name].item())
                if not _are_possible(facts):
                    raise AudioError("DecodeError", f"it says {facts}")
                record = ClipRecord(
                    status="ready",
                    digest=hashlib.blake2b(data, digest_size=16).hexdigest(),
                    size=signature.size,
                    mtime_ns=signature.mtime_ns,
                    **facts,
                )
                for layout in layouts:
                    made[layout.spec] = self._row(npz, layout, record)
        except AudioError:
            raise
        except _DAMAGED as error:
            raise AudioError("DecodeError", f"not a whole npz file: {error}") from None
        return record, made

    def _row(
        self, npz: Mapping[str, npt.NDArray[Any]], layout: Layout, record: ClipRecord
    ) -> tuple[Clip, Statistics]:
        spec = require_mel(layout.spec, "npz files hold")
        key = self.keys[spec]
        if key not in npz:
            raise AudioError("DecodeError", f"the file holds no {key}")
        values = npz[key]
        n_mels, n_frames = layout.clip_shape
        if values.dtype.kind != "f" or values.ndim != 2 or len(values) != n_mels:
            found = f"{values.dtype} of shape {values.shape}"
            raise AudioError("DecodeError", f"{key} is {found}, not floats ({n_mels}, {n_frames})")
        if values.shape[1] < n_frames:
            raise AudioError("TooShort", f"{key} has {values.shape[1]} frames, not {n_frames}")
        if values.shape[1] > n_frames + 1:  # one more is Essentia's
            detail = f"{key} has {values.shape[1]} frames, not {n_frames}: see --duration"
            raise AudioError("DecodeError", detail)
        values = values[:, :n_frames].astype(np.float32)
        if spec.log == "db":
            values /= np.float32(self.decibels / 10)
            values[np.isneginf(values)] = spec.value_range[0]
        if not np.isfinite(values).all():
            n_bad = np.count_nonzero(~np.isfinite(values))
            raise AudioError("NonFinite", f"{n_bad} values of {key}")
        valid = spec.n_valid_frames(record.n_valid, record.sr)
        limits = layout.encoding.limits(spec.value_range)
        statistics = summarise(values[:, : min(valid, n_frames)], {1}, limits)[1]
        stored = layout.encoding.encode(values, spec.value_range)
        return layout.chunks_of(stored), statistics


def _are_possible(facts: Mapping[str, Any]) -> bool:
    """Whether a clip can be so; what a table's columns do not hold would spoil the store."""
    return (
        1 <= facts["sr"] < 2**31
        and 1 <= facts["n_valid"] < 2**53
        and 0 <= facts.get("start", 0) < 2**53
        and 0 <= facts.get("n_clipped", 0) <= facts["n_valid"]
        and math.isfinite(facts["peak"])
    )


def _npz_files(folder: str) -> list[str]:
    """Paths of the npz files below a folder, relative to it, sorted."""
    found = sorted(
        posixpath.join(os.path.relpath(parent, folder).replace(os.sep, "/"), name).removeprefix(
            "./"
        )
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".npz") and not name.startswith(".")
    )
    if not found:
        raise CatalogError(f"{folder} holds no npz file; give the folder that the study wrote")
    return found


def _first_names(folder: str) -> list[str]:
    """Names of the arrays in the first file that is undamaged."""
    for path in _npz_files(folder):
        try:
            with (
                opened(f"{folder}/{path}") as (file, _),
                np.load(file, allow_pickle=False) as npz,
            ):
                return list(npz)
        except _DAMAGED:
            continue
    raise CatalogError(f"no npz file of {folder} is undamaged; make them again")
