"""Known data sets, a module each: what is in this folder is what there is."""

import importlib
import pkgutil
from collections.abc import Callable

from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.data_sets.mtat import TOP50


def _discovered() -> dict[str, Callable[[str], Catalog]]:
    found: dict[str, Callable[[str], Catalog]] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").CATALOGS
    return dict(sorted(found.items()))


TAGS = dict.fromkeys(("mtat", "mtat-clean"), TOP50)
"""Tags of data sets in the order of the outputs of networks that were published for them."""

CATALOGS = _discovered()
"""Data sets by name: from the folder that holds one to its catalog."""
