"""The report of a study: a text table, figures and a page, from its results file alone."""

import os
from collections.abc import Sequence
from pathlib import Path

from featurestore.storage.atomic import output_errors
from models.report.drawing import draw
from models.report.frontier import frontier
from models.report.page import Figures, write_page
from models.robustness import Robustness
from models.study.comparison import Comparison
from models.study.results import Row

__all__ = ["draw", "frontier", "write_report"]


def write_report(
    rows: Sequence[Row],
    comparison: Comparison,
    folder: str | os.PathLike[str],
    robustness: Robustness | None = None,
) -> list[Path]:
    """Write a page, ``index.html``, and its figures as PNG and SVG to a folder.

    What the folder holds under these names is written anew; a ``listen.html`` that is there is
    linked to.

    Parameters
    ----------
    rows : sequence of dict
        As `models.study.results.read_results` gives them.
    comparison : Comparison
        Of these rows.
    folder : path
        Made where there is none.
    robustness : Robustness, optional
        Of these rows; a section and a figure are left out where it is None.

    Returns
    -------
    list of Path
        What was written, the page first.

    Raises
    ------
    OutputError
        If the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    with output_errors(folder, what="the report"):
        folder.mkdir(parents=True, exist_ok=True)
    figures = Figures.of(comparison, robustness)
    pictures: list[Path] = []
    drawn = [figures.frontier, *figures.resolutions, figures.robustness, figures.confusion]
    for figure in filter(None, drawn):
        paths = [folder / f"{figure.name}{suffix}" for suffix in (".png", ".svg")]
        caption = ", ".join(comparison.common) if figure is figures.frontier else ""
        draw(figure, *paths, caption=caption)
        pictures += paths
    return [write_page(rows, comparison, figures, folder, robustness), *pictures]
