"""A store as the study's own files: one npz a clip, all bands and both logs in it.

The layout of Ferraro et al. 2020 (https://github.com/andrebola/EUSIPCO2020), whose loaders read
these files: ``<path of the audio>.npz`` holds float32 arrays ``(n_mels, n_frames)``,

=================  ==============================================================================
``mel96``          ``db`` scaling, 96 bands. The study's decibels are **20** log10 of mel power,
                   twice melgrid's, with their floor at -200: doubled on writing, halved on reading
``mel96_log``      ``log`` scaling, 96 bands: log10(1 + 10000 P), as it is
``mel96_x2``, …    a hop multiple; ``mel96_hop160`` where it is none. The study keeps x1 alone
``classes``        int64 ``(n_tags,)``: 0 or 1, in the order of the tags in labels.csv
``n_valid``, …     ``sr``, ``start``, ``n_valid``, ``peak``, ``n_clipped``: what melgrid knows of
                   the clip; the study's files lack them
=================  ==============================================================================

One folder is of one sample rate. Where a spec of a clip is not ready, its key is absent; where
none is, so is the file. Beside them: ``labels.csv``, which `featurize` and ``melgrid import`` read
as a table of tracks (`featurize` must be told its columns of metadata, with ``--meta``);
``clips.csv`` with all that the store knows, failures among it; and ``melgrid.json``, which says
what each key is.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.array import FeatureArray
from featurestore.errors import SettingsError
from featurestore.export.manifest import Advance, write_manifest
from featurestore.export.selection import BATCH_NBYTES, Selection
from featurestore.specs.mel import HOP_UNIT, FeatureSpec, require_mel

CLIP_FACTS = ("sr", "start", "n_valid", "peak", "n_clipped")
"""Keys of a clip's own facts, as in `featurestore.format.commits.ClipRecord`."""

_KEY = re.compile(r"mel(?P<n_mels>\d+)(?:_x(?P<hop>\d+)|_hop(?P<hop_length>\d+))?(?P<log>_log)?")


def key_of(spec: FeatureSpec) -> str:
    """The name that a spec's values have in a file."""
    hop = f"_x{spec.hop}" if isinstance(spec.hop, int) else f"_hop{spec.hop_length}"
    return f"mel{spec.n_mels}{'' if spec.hop == 1 else hop}{'_log' if spec.log == 'log' else ''}"


def specs_of(keys: Iterable[str], like: FeatureSpec) -> dict[str, FeatureSpec]:
    """The specs that names in a file stand for; other names are passed over.

    Parameters
    ----------
    keys : iterable of str
    like : FeatureSpec
        With what the names do not say: sample rate, frame length, window, edges.

    Raises
    ------
    SpecError
        If a name stands for a spec that cannot be.
    """
    specs = {}
    for key in keys:
        if match := _KEY.fullmatch(key):
            f = match.groupdict()
            specs[key] = dataclasses.replace(
                like,
                n_mels=int(f["n_mels"]),
                hop=Fraction(int(f["hop_length"]), HOP_UNIT)
                if f["hop_length"]
                else int(f["hop"] or 1),
                log="log" if f["log"] else "db",
            )
    return specs


def write(selection: Selection, path: Path, advance: Advance) -> None:
    """Write a selection to a new folder.

    Raises
    ------
    SettingsError
        If the selection does not fit the layout: several sample rates, specs that the keys do not
        tell from each other, paths that occur twice or lead out of the folder.
    """
    if selection.encoding != "float32":
        raise SettingsError("npz files hold float32, as the study's do; leave --encoding out")
    keys = _keys(selection)
    names = _file_names(selection)
    table, clips = selection.store.table, selection.clips
    path.mkdir()
    clips.to_csv(path / "clips.csv", index=False)
    columns = ["path", "clip_id", "split", "fold", "artist", "album", *table.meta, *table.tags]
    labels = clips.assign(path=names)[columns]
    if (labels["fold"] < 0).any():  # which a table of tracks cannot say
        labels = labels.drop(columns="fold")
    labels.to_csv(path / "labels.csv", index=False)
    facts = {key: selection.facts(array) for key, array in keys.items()}
    write_manifest(path, selection, "npz", facts)
    ready = {key: selection.ready(array) for key, array in keys.items()}
    known = {name: clips[name].to_numpy() for name in CLIP_FACTS}
    row_nbytes = sum(4 * array.shape[1] * array.shape[2] for array in selection.arrays)
    step = max(1, BATCH_NBYTES // row_nbytes)
    for first in range(0, len(selection.rows), step):
        places = np.arange(first, min(first + step, len(selection.rows)))
        made: dict[int, dict[str, npt.NDArray[Any]]] = {place: {} for place in places.tolist()}
        for key, array in keys.items():
            there = places[ready[key][places]]
            values = array.read(selection.rows[there])
            if require_mel(array.spec, "npz files hold").log == "db":
                values *= 2  # exactly
            for place, clip in zip(there.tolist(), values, strict=True):
                made[place][key] = clip
        for place, arrays in made.items():
            if arrays:
                arrays["classes"] = table.labels[selection.rows[place]].astype(np.int64)
                arrays |= {name: known[name][place] for name in CLIP_FACTS}
                file = path / f"{names[place]}.npz"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez(file, **arrays)  # type: ignore[arg-type]  # keywords are names here
        advance(len(places) * len(keys))


def _keys(selection: Selection) -> dict[str, FeatureArray]:
    specs = [require_mel(array.spec, "npz files hold") for array in selection.arrays]
    rates = sorted({spec.sr for spec in specs})
    if len(rates) > 1:
        choices = " or ".join(f"'sr{sr}-*'" for sr in rates)
        raise SettingsError(
            f"npz folders are of one sample rate, as the study's are, and {selection.store.path} "
            f"holds {', '.join(map(str, rates))} Hz; choose one with --specs {choices}"
        )
    keys: dict[str, FeatureArray] = {}
    for array, spec in zip(selection.arrays, specs, strict=True):
        other = keys.setdefault(key_of(spec), array)
        if other is not array:
            raise SettingsError(
                f"{other.spec.name} and {array.spec.name} would both be called "
                f"{key_of(spec)} in npz files; choose one with --specs"
            )
    return keys


def _file_names(selection: Selection) -> list[str]:
    """Where each clip's file goes, without its ending: the audio's path, or with the tile."""
    clips = selection.clips
    tiled = selection.store.window.take == "all"
    names = [
        f"{path}#{tile:03}" if tiled else path
        for path, tile in zip(clips["path"], clips["tile"], strict=True)
    ]
    twice = next((name for name, n in Counter(names).items() if n > 1), None)
    if twice is not None:
        raise SettingsError(f"two clips have the path {twice!r}; npz files are named by paths")
    for name in names:
        if os.path.isabs(name) or {"", ".", ".."} & set(name.split("/")) or "\\" in name:
            raise SettingsError(
                f"a clip's path is {name!r}, which does not name a file below the folder"
            )
    return names
