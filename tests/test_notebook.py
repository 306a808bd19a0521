"""docs/notebook.ipynb runs from its first cell to its last, and lies in git without its outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_lies_in_git_without_outputs():
    """They would be of one machine and one version; the pages have those of their own build."""
    cells = code_cells(NOTEBOOK)
    assert len(cells) > 5
    assert [cell["source"] for cell in cells if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_pictures(tmp_path):
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    execute = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook"]
    subprocess.run(
        [*execute, "--output-dir", tmp_path, NOTEBOOK],
        env={**os.environ, "PATH": programs},
        check=True,  # a cell that fails ends it
    )
    cells = code_cells(tmp_path / NOTEBOOK.name)
    drawn = [cell["source"] for cell in cells if "image/png" in str(cell["outputs"])]
    assert ["plot" in "".join(source) for source in drawn] == [True, False, False]
    assert "clip.png" in "".join(drawn[1])
    assert "frontier.png" in "".join(drawn[2])
