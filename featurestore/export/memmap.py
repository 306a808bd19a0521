"""A store as NumPy files, of which ``np.load(…, mmap_mode="r")`` reads what is asked for.

::

    melgrid.json             which collection, which specs
    clips.csv                a line a clip: clip_id, path, split, fold, status, …, the tags
    <spec>/values.npy        (n_clips, n_bands, n_frames); nan where not ready
    <spec>/ready.npy         bool (n_clips,): whether a clip holds values
    <spec>/n_valid_frames.npy  int64 (n_clips,): frames that are audio; padding follows
    <spec>/spec.json         what the values mean, with mel [Hz] and hop [s]
"""

import json
from pathlib import Path

import numpy as np

from featurestore.export.manifest import Advance, write_manifest
from featurestore.export.selection import Selection


def write(selection: Selection, path: Path, advance: Advance) -> None:
    """Write a selection to a new folder."""
    path.mkdir()
    selection.clips.to_csv(path / "clips.csv", index=False)
    write_manifest(path, selection, "memmap", {array.spec.name: {} for array in selection.arrays})
    for array in selection.arrays:
        spec = array.spec
        bands, _ = spec.coordinates(array.shape[2])
        folder = path / spec.name
        folder.mkdir()
        np.save(folder / "ready.npy", selection.ready(array))
        np.save(folder / "n_valid_frames.npy", array.n_valid_frames[selection.rows])
        facts = {
            **selection.facts(array),
            "hop_seconds": float(spec.frame_step),
            f"{bands.name}_frequencies": bands.values.tolist(),
        }
        (folder / "spec.json").write_text(json.dumps(facts, indent=2), "utf-8")
        header = {
            "shape": (len(selection.rows), *array.shape[1:]),
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(selection.dtype(array)),
        }
        # Not through a memmap: writing to one on a full disk ends the process (SIGBUS).
        with open(folder / "values.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, batch in selection.batches(array):
                batch.tofile(file)
                advance(len(batch))
