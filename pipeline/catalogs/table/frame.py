"""Tables that are pandas' data frames already."""

from typing import TYPE_CHECKING

from featurestore.errors import CatalogError
from pipeline.catalogs.table.columns import Columns

if TYPE_CHECKING:
    import pandas as pd


def columns_of(frame: "pd.DataFrame") -> Columns:
    """A data frame's columns; its index does not count.

    Raises
    ------
    CatalogError
        If it is no data frame, or if a column is not called by a text, or like another one.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise CatalogError(
            f"audio is a {type(frame).__name__}; give a path, a URL or a pandas DataFrame"
        )
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise CatalogError(f"DataFrame: a column is called {name!r}; give it a name of text")
        if names.count(name) > 1:
            raise CatalogError(f"DataFrame: the column {name!r} occurs twice; drop or rename one")
    cells = {}
    for name in names:
        column = frame[name]
        # Whatever it has for nothing (None, nan, NaT, NA) is None.
        cells[name] = column.astype(object).where(column.notna(), None).tolist()
    return Columns(
        source="DataFrame",
        name="frame",
        cells=cells,
        typed=True,
        place=lambda row: f"DataFrame, row {row}",
    )
