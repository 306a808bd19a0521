"""What others published, beside what was measured here: a file a publication, with a CSV file."""

from collections.abc import Sequence

from models.report.published import ferraro2020, mtat_report_2, won2020
from models.report.published.table import Pair, PublishedTable, Score
from models.study.comparison import Comparison

__all__ = ["DATA_SETS", "TABLES", "Pair", "PublishedTable", "Score", "beside_published"]

# A line a publication.
TABLES: tuple[PublishedTable, ...] = (
    ferraro2020.TABLE,
    won2020.TABLE,
    mtat_report_2.TABLE,
)

DATA_SETS = {
    "mtat": "MagnaTagATune",
    "mtat-clean": "the clips of MagnaTagATune that have one of the 50 tags",
    "msd": "the Million Song Dataset",
}
"""Catalogs in words."""


def beside_published(comparison: Comparison) -> list[tuple[PublishedTable, Sequence[Pair]]]:
    """The tables that have scores of points' networks on their specs and test clips."""
    found = [
        (table, [pair for point in comparison.points if (pair := table.beside(point))])
        for table in TABLES
    ]
    return [(table, pairs) for table, pairs in found if pairs]
