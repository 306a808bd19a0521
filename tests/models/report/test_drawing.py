import re
from xml.etree import ElementTree

import matplotlib.image
import pytest

from featurestore.errors import OutputError
from models.report.drawing import draw
from models.report.frontier import frontier
from models.report.marks import MARKS
from models.study.comparison import judge


def test_a_figure_is_a_png_in_the_colours_of_its_marks_and_nothing_is_left_beside_it(
    judged, tmp_path
):
    draw(frontier(judged), tmp_path / "frontier.png")
    pixels = matplotlib.image.imread(tmp_path / "frontier.png")
    assert pixels.shape == (768, 2112, 4)
    rgb = (255 * pixels[..., :3]).round().astype(int) @ [65536, 256, 1]
    assert {int(mark.light[1:], 16) for mark in MARKS[:3]} <= set(rgb.ravel().tolist())
    assert [path.name for path in tmp_path.iterdir()] == ["frontier.png"]


def test_words_in_an_svg_are_words_and_it_is_the_same_each_time(judged, tmp_path):
    draw(frontier(judged), tmp_path / "a.svg", tmp_path / "b.png", caption="all of it")
    draw(frontier(judged), tmp_path / "c.svg", caption="all of it")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "c.svg").read_text()
    said = {e.text for e in ElementTree.fromstring(text).iter() if e.tag.endswith("}text")}
    assert {"all of it", "96 bands", judged.baseline.label, judged.recommended.label} <= said
    assert not re.search(r"<image|href=\"http", text)


def test_one_point_of_one_run_is_drawn(make_rows, few, tmp_path):
    draw(frontier(judge(few[:1])), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 5_000


def test_a_file_that_cannot_be_written_is_an_error(judged, tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        draw(frontier(judged), tmp_path / "none" / "frontier.png")
