"""What an exported folder says of itself."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from featurestore.export.selection import Selection

Format = Literal["hdf5", "npz", "memmap"]

MANIFEST = "melgrid.json"
"""Says of an exported folder what it is, so that ``--force`` replaces nothing else."""

Advance = Callable[[int], object]
"""Told how many more rows of an array are written."""


def write_manifest(
    folder: Path, selection: Selection, form: Format, specs: Mapping[str, Any]
) -> None:
    """Write `MANIFEST`: what the folder holds, for people and for ``melgrid import``."""
    store = selection.store
    facts = {
        "melgrid_export": form,
        "version": 1,
        "catalog": store.catalog,
        "window": dataclasses.asdict(store.window),
        "tags": store.tags,
        "meta": list(store.table.meta),
        "specs": specs,
    }
    (folder / MANIFEST).write_text(json.dumps(facts, indent=2, ensure_ascii=False), "utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read what `write_manifest` wrote; None where there is no manifest."""
    try:
        facts = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "melgrid_export" in facts else None
