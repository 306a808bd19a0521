"""Known data sets, a module each: what is in this folder is what there is."""

import importlib
import pkgutil
from collections.abc import Callable

from pipeline.catalogs.catalog import Catalog


def _discovered() -> dict[str, Callable[[str], Catalog]]:
    found: dict[str, Callable[[str], Catalog]] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").CATALOGS
    return dict(sorted(found.items()))


CATALOGS = _discovered()
"""Data sets by name: from the folder that holds one to its catalog."""
