"""A store as one HDF5 file.

::

    /                       attributes: melgrid_export, version, catalog, duration, take, short,
                            specs
    /clips/<column>         one value a clip: clip_id, path, split, fold, status, reason, sr,
                            start, n_valid, …, and row, the clip's row in the store
    /tags                   names                                       (n_tags,)
    /labels                 0 or 1                                      (n_clips, n_tags)
    /<spec>/values          nan where not ready; one chunk a clip, or   (n_clips, n_bands, n_frames)
                            as many as the store has
    /<spec>/ready           whether a clip holds values                 (n_clips,)
    /<spec>/n_valid_frames  frames that are audio; padding follows      (n_clips,)
    /<spec>/mel             centre frequencies [Hz], a dimension scale  (n_mels,)
                            (``channel`` of a waveform)
    /<spec>/time            centres of the frames [s], the same         (n_frames,)

The group of a spec has its fields as attributes, under librosa's names; ``settings`` and
``software`` among them are JSON. Values are shuffled, deflated and checksummed (Fletcher's), which
every HDF5 library reads.
"""

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featurestore.array import FeatureArray
from featurestore.export.manifest import Advance
from featurestore.export.selection import Selection

_DEFLATE = 1
"""Level 4 saves another 2 % of the bytes and takes 1.4 times as long (real music, 96 bands)."""


class _File(io.FileIO):
    """A file that notes the first write that fails, and then takes all others for written.

    HDF5 cannot close a file on a full disk: it ends the process. This one it can.
    """

    _error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of it, or note why not."""
        left = memoryview(data).cast("B")
        while left and self._error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self._error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length, or note why not."""
        if self._error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self._error = error
        return size or 0

    def require_written(self) -> None:
        """Raise what was noted."""
        if self._error is not None:
            raise self._error


def write(selection: Selection, path: Path, advance: Advance) -> None:
    """Write a selection to a new file."""
    with _File(path, "x+") as raw:
        with h5py.File(raw, "w") as file:
            _write_all(file, selection, advance, raw)
        raw.require_written()


def _write_all(file: h5py.File, selection: Selection, advance: Advance, raw: _File) -> None:
    store = selection.store
    file.attrs.update(
        {
            "melgrid_export": "hdf5",
            "version": 1,
            "catalog": store.catalog,
            "duration": store.window.duration,
            "take": store.window.take,
            "short": store.window.short,
            "specs": [array.spec.name for array in selection.arrays],
        }
    )
    text = h5py.string_dtype()
    columns = selection.clips.drop(columns=store.tags)
    for name in columns:
        data = columns[name].to_numpy()
        kind = text if data.dtype.kind not in "biuf" else data.dtype
        file.create_dataset(f"clips/{name}", data=data, dtype=kind)
    file.create_dataset("tags", data=np.array(store.tags, object), dtype=text)
    file["labels"] = store.table.labels[selection.rows]
    for array in selection.arrays:
        _write_spec(file.create_group(array.spec.name), selection, array, advance, raw)


def _write_spec(
    group: h5py.Group,
    selection: Selection,
    array: FeatureArray,
    advance: Advance,
    raw: _File,
) -> None:
    facts = selection.facts(array)
    for key, value in facts.items():
        group.attrs[key] = json.dumps(value) if isinstance(value, dict | list) else value
    ready = selection.ready(array)
    group["ready"] = ready
    group["n_valid_frames"] = array.n_valid_frames[selection.rows]
    n_clips, (_, n_bands, n_frames) = len(ready), array.shape
    axes = array.spec.coordinates(n_frames)
    for axis in axes:
        group[axis.name] = axis.values
    values = group.create_dataset(
        "values",
        (n_clips, n_bands, n_frames),
        selection.dtype(array),
        chunks=(1, n_bands, array.spec.chunk_frames(n_frames)),
        compression=_DEFLATE,
        shuffle=True,
        fletcher32=True,
        fillvalue=selection.fill_value(array),
    )
    for key in ("long_name", "units", "scale_factor", "add_offset"):
        if key in facts:
            values.attrs[key] = facts[key]
    values.attrs["_FillValue"] = selection.dtype(array).type(selection.fill_value(array))
    values.dims[0].label = "clip"
    for dimension, axis in enumerate(axes, 1):
        group[axis.name].attrs["units"] = axis.unit
        group[axis.name].make_scale(axis.name)
        values.dims[dimension].label = axis.name
        values.dims[dimension].attach_scale(group[axis.name])
    for first, batch in selection.batches(array):
        for place, clip in enumerate(batch, first):
            if ready[place]:
                values[place] = clip
        raw.require_written()
        advance(len(batch))
