"""Collections of music, each listed as a `Catalog`: a folder, a table, or a known data set."""

import os
from collections.abc import Callable
from functools import partial

from featurestore.errors import CatalogError
from featurestore.files import file_system, refuse_secrets
from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.fma import list_fma
from pipeline.catalogs.folder import list_folder
from pipeline.catalogs.gtzan import list_gtzan
from pipeline.catalogs.jamendo import list_jamendo
from pipeline.catalogs.msd import list_msd
from pipeline.catalogs.mtat import list_mtat
from pipeline.catalogs.table import list_table

__all__ = ["CATALOGS", "Catalog", "open_catalog"]

CATALOGS: dict[str, Callable[[str], Catalog]] = {
    "fma-full": partial(list_fma, edition="full"),
    "fma-large": partial(list_fma, edition="large"),
    "fma-medium": partial(list_fma, edition="medium"),
    "fma-small": partial(list_fma, edition="small"),
    "gtzan": list_gtzan,
    "jamendo": list_jamendo,
    "msd": list_msd,
    "mtat": list_mtat,
    "mtat-all": partial(list_mtat, tags="all"),
    "mtat-clean": partial(list_mtat, split="clean"),
}
"""Data sets by name: from the folder that holds one to its catalog."""


def open_catalog(audio: str, catalog: str | None = None) -> Catalog:
    """List a collection.

    Parameters
    ----------
    audio : str
        A folder of audio, a CSV or TSV that lists tracks, or a data set's folder; a path or an
        fsspec URL. A path is made absolute, so that every process on the machine finds the audio.
    catalog : str or None
        The data set's name in `CATALOGS`; None for a folder or a table.

    Raises
    ------
    CatalogError
        If there is nothing at `audio`, if there is no such data set, or if the collection cannot
        be listed.
    SettingsError, StorageError
        If it is at a URL that cannot be used, see `file_system` and `refuse_secrets`.
    """
    refuse_secrets(audio)
    audio = audio.rstrip("/") if "://" in audio else os.path.abspath(audio)
    if catalog is not None and catalog not in CATALOGS:
        raise CatalogError(f"no catalog is called {catalog!r}; choose from {', '.join(CATALOGS)}")
    with file_system(audio) as (fs, path):
        is_there, is_folder = fs.exists(path), fs.isdir(path)
    if not is_there:
        raise CatalogError(
            f"{audio} does not exist; give a folder of audio, a CSV with a column 'path', "
            "or a data set's folder and --catalog"
        )
    if is_folder:
        return CATALOGS[catalog](audio) if catalog else list_folder(audio)
    if catalog is None and audio.removesuffix(".gz").endswith((".csv", ".tsv")):
        return list_table(audio)
    raise CatalogError(
        f"{audio} is a file; give "
        + (
            f"the folder of {catalog}"
            if catalog
            else "a folder, or a table that ends in .csv or .tsv"
        )
    )
