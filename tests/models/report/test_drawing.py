import re
from xml.etree import ElementTree

import matplotlib.image
import pytest

from featurestore.errors import OutputError
from models.report.drawing import NARROW, draw, inline
from models.report.frontier import frontier
from models.report.marks import MARKS
from models.study.comparison import compare
from models.study.formatting import describe


def test_a_figure_is_a_png_in_the_colours_of_its_marks_and_nothing_is_left_beside_it(
    compared, tmp_path
):
    draw(frontier(compared), tmp_path / "frontier.png")
    pixels = matplotlib.image.imread(tmp_path / "frontier.png")
    assert pixels.shape == (784, 2112, 4)
    rgb = (255 * pixels[..., :3]).round().astype(int) @ [65536, 256, 1]
    assert {int(mark.light[1:], 16) for mark in MARKS[:3]} <= set(rgb.ravel().tolist())
    assert [path.name for path in tmp_path.iterdir()] == ["frontier.png"]


def test_words_in_an_svg_are_words_and_it_is_the_same_each_time(compared, tmp_path):
    draw(frontier(compared), tmp_path / "a.svg", tmp_path / "b.png", caption="all of it")
    draw(frontier(compared), tmp_path / "c.svg", caption="all of it")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "c.svg").read_text()
    said = {e.text for e in ElementTree.fromstring(text).iter() if e.tag.endswith("}text")}
    assert {
        "all of it",
        "96 bands",
        f"{compared.baseline.label} ○",
        f"{compared.recommended.label} ✓",
    } <= said
    assert not re.search(r"<image|href=\"http", text)


def test_one_point_of_one_run_is_drawn(make_rows, few, tmp_path):
    draw(frontier(compare(few[:1])), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 5_000


def test_a_name_that_looks_like_a_formula_is_a_name(few, tmp_path):
    rows = [row | {"model": "$x_{$"} for row in few[:3]] + [row | {"model": "$y$"} for row in few]
    draw(frontier(compare(rows)), tmp_path / "dollars.svg", caption="$\\frac")
    text = (tmp_path / "dollars.svg").read_text()
    assert all(name in text for name in ("$x_{$", "$y$", "$\\frac"))


def test_a_file_that_cannot_be_written_is_an_error(compared, tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        draw(frontier(compared), tmp_path / "none" / "frontier.png")


SVG = "{http://www.w3.org/2000/svg}"


def test_every_dot_of_an_svg_says_its_numbers_cheapest_first(compared, tmp_path):
    draw(frontier(compared), tmp_path / "frontier.svg")
    groups = ElementTree.parse(tmp_path / "frontier.svg").iter(f"{SVG}g")
    titles = [group.findtext(f"{SVG}title") for group in groups if group.get("class") == "dot"]
    points = sorted(compared.points, key=lambda point: (point.gmac, point.roc_auc))
    assert titles[: len(points)] == [describe(point) for point in points]
    assert len(titles) == 3 * len(points)


def test_what_is_drawn_into_a_page_has_no_style_and_no_id_that_another_has(compared):
    drawn = [inline(frontier(compared), NARROW, name=name) for name in ("a", "b")]
    roots = [ElementTree.fromstring(text) for text in drawn]
    for root in roots:
        assert not [e for e in root.iter() if "style" in e.attrib or e.tag.endswith("}style")]
        # What is defined takes its use's colour: the page's style sheet does not reach it.
        defined = [path for defs in root.iter(f"{SVG}defs") for path in defs.iter(f"{SVG}path")]
        assert defined
        assert not [path for path in defined if "stroke" in path.attrib]
        assert {"0", "-1"} == {e.get("tabindex") for e in root.iter() if e.get("class") == "dot"}
        ids = {e.get("id") for e in root.iter() if e.get("id")}
        hrefs = {v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")}
        assert {href.removeprefix("#") for href in hrefs} <= ids
    first, second = ({e.get("id") for e in root.iter() if e.get("id")} for root in roots)
    assert not first & second


def _places(path):
    """Left edges of the panels, and where each text begins [1/72 inch]."""
    root = ElementTree.parse(path).getroot()
    axes = [e for e in root.iter(f"{SVG}g") if (e.get("id") or "").startswith("axes_")]
    panels = [float(next(a.iter(f"{SVG}path")).get("d").split()[1]) for a in axes]
    texts = {e.text: float(e.get("x")) for e in root.iter(f"{SVG}text") if e.get("x")}
    return panels, texts


def test_a_caption_of_many_words_moves_no_panel_and_a_legend_of_many_stays_within(
    compared_zoo, tmp_path
):
    figure = frontier(compared_zoo)
    common = ", ".join(["batches of 32"] * 20)
    draw(figure, tmp_path / "long.svg", caption=common)
    draw(figure, tmp_path / "short.svg", caption="16 kHz")
    (long, texts), (short, _) = (_places(tmp_path / f"{name}.svg") for name in ("long", "short"))
    assert long == short
    width = float(ElementTree.parse(tmp_path / "long.svg").getroot().get("width")[:-2])
    assert all(texts[key.text] < width - 6 * len(key.text) for key in figure.legend)
