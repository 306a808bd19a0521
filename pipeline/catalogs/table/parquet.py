"""Tables in Parquet, read with PyArrow, which is an extra: ``pip install 'melgrid[parquet]'``."""

import re
from typing import IO

from featurestore.errors import CatalogError
from pipeline.catalogs.table.columns import Columns

_INDEX = re.compile("__index_level_[0-9]+__")
"""What pandas calls a frame's index where it keeps it; it does not count, as in frames."""


def read_parquet(file: IO[bytes], source: str, name: str, path_column: str) -> Columns:
    """Read a Parquet file, in which lists may be lists.

    Parameters
    ----------
    file : file of bytes
    source, name : str
        As in `Columns`.
    path_column : str
        Asked for by all readers.

    Raises
    ------
    CatalogError
        If PyArrow is not installed, or if a column holds what no tag nor number nor text is.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise CatalogError(
            f"{source} is Parquet, and PyArrow, which reads it, is not installed: "
            "pip install 'melgrid[parquet]', or write the table as CSV or JSON lines"
        ) from None
    parquet = pq.ParquetFile(file)
    kinds = dict(zip(parquet.schema_arrow.names, parquet.schema_arrow.types, strict=True))
    names = [name for name in parquet.schema_arrow.names if not _INDEX.fullmatch(name)]
    for column in names:
        kind = kinds[column]
        if names.count(column) > 1:
            raise CatalogError(f"{source}: the column {column!r} occurs twice; drop or rename one")
        if any(
            test(kind)  # before it is read: it may be the audio itself
            for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_nested)
        ) and not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise CatalogError(f"{source}: the column {column!r} is {kind}; drop it")
    table = parquet.read(columns=names)
    return Columns(
        source=source,
        name=name,
        cells={column: table.column(column).to_pylist() for column in names},
        typed=True,
        place=lambda row: f"{source}, row {row}",
    )
