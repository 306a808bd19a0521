"""The report of a study: a text table, figures and a page, from its results file alone."""

import os
from collections.abc import Sequence
from pathlib import Path

from featurestore.storage.atomic import output_errors
from models.report.drawing import draw
from models.report.frontier import frontier
from models.report.page import write_page
from models.report.resolution import resolutions
from models.report.table import table
from models.study.comparison import Judgement
from models.study.results import Row

__all__ = ["draw", "frontier", "table", "write_report"]


def write_report(
    rows: Sequence[Row], judgement: Judgement, folder: str | os.PathLike[str]
) -> list[Path]:
    """Write a page, ``index.html``, and its figures as PNG and SVG to a folder.

    What the folder holds under these names is written anew; a ``listen.html`` that is there is
    linked to.

    Parameters
    ----------
    rows : sequence of dict
        As `models.study.results.read_results` gives them.
    judgement : Judgement
        Of these rows.
    folder : path
        Made where there is none.

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
    pictures: list[Path] = []
    for figure in (frontier(judgement), *resolutions(judgement)):
        paths = [folder / f"{figure.name}{suffix}" for suffix in (".png", ".svg")]
        draw(figure, *paths, caption=judgement.common if figure.name == "frontier" else "")
        pictures += paths
    return [write_page(rows, judgement, folder), *pictures]
