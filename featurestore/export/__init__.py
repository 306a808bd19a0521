"""A store's values in a format that other programs read, whole or not at all."""

import dataclasses
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from featurestore import result
from featurestore.errors import RunError, SettingsError
from featurestore.export.manifest import Advance, Format, read_manifest
from featurestore.export.selection import Selection
from featurestore.process.progress import Progress
from featurestore.specs.perturbation import split_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedSpec:
    """One spec that was written.

    Attributes
    ----------
    spec : str
    shape : list of int
    ready : int
        Clips that have values.
    dtype : str
        NumPy's name for it.
    """

    spec: str
    shape: list[int]
    ready: int
    dtype: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """Summary of an export.

    Attributes
    ----------
    out : str
        The file or folder.
    format : {'hdf5', 'npz', 'memmap'}
    clips : int
    bytes : int
        On disk.
    specs : tuple of ExportedSpec
    """

    out: str
    format: Format
    clips: int
    bytes: int
    specs: tuple[ExportedSpec, ...]

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """One line."""
        # Of random draws, which are of some clips alone, only where there is nothing else.
        every = [s for s in self.specs if not split_name(s.spec)[1].is_draw] or self.specs
        ready = min(spec.ready for spec in every)
        specs = result.count(len(self.specs), "spec")
        return [
            f"{ready:,} of {self.clips:,} clips, {specs}, {result.size(self.bytes)}, in {self.out}"
        ]


def export(
    selection: Selection, path: str, form: Format, *, force: bool = False, quiet: bool = True
) -> Exported:
    """Write a selection to a file (HDF5) or a folder (npz, memmap).

    It is made under another name beside its place and renamed at the end, so that `path` is never
    half-written, whenever the program is killed. Memory holds a few clips at a time.

    Parameters
    ----------
    selection : Selection
    path : str
        A local file or folder.
    form : {'hdf5', 'npz', 'memmap'}
        See `featurestore.export.hdf5`, `featurestore.export.npz` and `featurestore.export.memmap`.
    force : bool
        Whether to replace what an earlier export has left there.
    quiet : bool
        Whether to print no progress on stderr.

    Returns
    -------
    Exported

    Raises
    ------
    SettingsError
        If there is something at `path` that may not be replaced, or the format cannot hold the
        selection.
    RunError
        If there is too little space for it.
    OSError
        If it cannot be written.
    """
    from featurestore.export import hdf5, memmap, npz

    writers: dict[str, Callable[[Selection, Path, Advance], None]] = {
        "hdf5": hdf5.write,
        "npz": npz.write,
        "memmap": memmap.write,
    }
    write = writers.get(form)
    if write is None:
        raise SettingsError(f"format is {form!r}; it must be one of {', '.join(get_args(Format))}")
    if "://" in path:
        raise SettingsError(f"{path} is a URL; export writes to a local disk")
    if not selection.arrays:
        raise SettingsError(f"{selection.store.path} holds no spec to export")
    target = Path(os.path.abspath(path))
    _refuse(target, force)
    _require_space(selection, target, form)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    n_rows = len(selection.rows) * len(selection.arrays)
    try:
        with Progress(n_rows, unit="rows", what=form, quiet=quiet) as bar:
            write(selection, partial, bar.update)
        _refuse(target, force)  # again: this may have taken an hour
        _put(partial, target)
    finally:
        _remove(partial)
    return Exported(
        out=str(target),
        format=form,
        clips=len(selection.rows),
        bytes=_nbytes(target),
        specs=tuple(
            ExportedSpec(
                spec=array.spec.name,
                shape=[len(selection.rows), *array.shape[1:]],
                ready=int(selection.ready(array).sum()),
                dtype=selection.dtype(array).name,
            )
            for array in selection.arrays
        ),
    )


def _refuse(target: Path, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not force:
        raise SettingsError(f"{target} exists; give --force to replace it, or another place")
    if target.is_symlink() or not (_is_exported_file(target) or read_manifest(target)):
        raise SettingsError(
            f"{target} was not made by melgrid export, and --force replaces nothing else; "
            "give another place, or delete it yourself"
        )


def _is_exported_file(target: Path) -> bool:
    import h5py

    if not (target.is_file() and h5py.is_hdf5(target)):
        return False
    with h5py.File(target, "r") as file:
        return "melgrid_export" in file.attrs


def _require_space(selection: Selection, target: Path, form: Format) -> None:
    if form == "hdf5":
        return  # compressed: it cannot be known
    needed = sum(map(selection.nbytes, selection.arrays))
    existing = next(parent for parent in target.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise RunError(
            f"{target} would take {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free there; "
            "choose fewer --specs, --encoding stored, or --format hdf5, which compresses"
        )


def _put(partial: Path, target: Path) -> None:
    if not (target.is_dir() or (partial.is_dir() and target.exists())):
        partial.replace(target)
        return
    # A folder with something in it cannot be replaced in one step.
    old = partial.with_name(f"{partial.name}.old")
    target.replace(old)
    partial.replace(target)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _nbytes(target: Path) -> int:
    if target.is_file():
        return target.stat().st_size
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
