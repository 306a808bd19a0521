import re
from xml.etree import ElementTree

import pytest

from featurestore import FeatureSpec
from models.evaluation.confusion import Confusion
from models.report import write_report
from models.report.confusion import confusion_figure, confusion_keys, drawn_classes, shade
from models.report.page import Figures, render
from models.report.shades import STRONGEST
from models.study.comparison import compare

CLASSES = ["blues", "<b>jazz</b>", "声楽"]
COUNTS = [[12, 1, 0], [2, 10, 2], [0, 0, 13]]
SPECS = [FeatureSpec(sr=16000, n_mels=n_mels) for n_mels in (96, 16)]


@pytest.fixture
def rows(make_rows):
    return make_rows(SPECS, task="classification", classes=CLASSES, confusion=COUNTS, runs=2)


def test_a_cell_is_coloured_by_its_share_of_the_class():
    confusion = Confusion(classes=tuple(CLASSES), counts=tuple(map(tuple, COUNTS)))
    assert shade(confusion, 2, 2) == -STRONGEST
    assert shade(confusion, 0, 2) == 0
    assert shade(confusion, 0, 1) == 4  # 1 of 13 is between 4 % and 8 %
    assert shade(confusion, 1, 0) == 5  # 2 of 14 is between 8 % and 16 %
    keys = [key.text for key in confusion_keys(confusion)]
    assert keys == ["said rightly", "4 to 8 % of the class", "8 to 16 % of the class"]


def test_the_recommended_points_matrix_is_drawn_summed_over_its_runs(rows):
    comparison = compare(rows)
    figure = confusion_figure(comparison)
    (panel,) = figure.rows[0]
    assert {(c.x, 2 - c.y): c.text for c in panel.cells} == {
        (0, 0): "24", (1, 0): "2", (0, 1): "4", (1, 1): "20", (2, 1): "4", (2, 2): "26"
    }  # fmt: skip
    assert "accuracy 0.875, 95 % 0.7" in figure.note
    assert "summed over 2 runs" in figure.note


def test_of_many_classes_those_recalled_worst_are_drawn():
    n = 50
    counts = tuple(tuple(9 * (a == b) + (a < 45 and b == 49) for b in range(n)) for a in range(n))
    confusion = Confusion(classes=tuple(f"{i}" for i in range(n)), counts=counts)
    assert drawn_classes(confusion) == list(range(40))


def test_the_page_has_both_matrices_and_escapes_names(rows, tmp_path):
    comparison = compare(rows, baseline="sr16000-mel16-x1-db")
    text = render(rows, comparison, Figures.of(comparison))
    assert 'href="#classes"' in text
    assert text.count('class="heat confusion"') == 2
    assert "<b>jazz" not in text
    assert re.search(r'class="number lost-5" title="&lt;b&gt;j.*, said blues: 4 \(14%\)">4<', text)
    written = write_report(rows, comparison, tmp_path)
    assert {"confusion.png", "confusion.svg"} <= {path.name for path in written}
    svg = (tmp_path / "confusion.svg").read_text("utf-8")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "24" in svg


def test_the_table_and_json_say_the_accuracy_with_its_interval(rows):
    comparison = compare(rows)
    said = " ".join(comparison.lines())
    assert re.search(r"with its 95 % interval over clips: mel16 x1 0.875 \(0.7\d\d to", said)
    point = comparison.json()["points"][0]
    assert point["accuracy"] == 0.875
    assert point["confusion"]["n_runs"] == 2


def test_taggings_have_none(few, compared):
    assert confusion_figure(compared) is None
    assert 'id="classes"' not in render(few, compared, Figures.of(compared))
    assert not any("Accuracy" in line for line in compared.lines())


def test_a_point_whose_runs_have_other_classes_has_no_matrix(rows):
    rows[0] = rows[0] | {"classes": ["a", "b", "c"]}
    points = compare(rows).points
    assert sorted(point.confusion is None for point in points) == [False, True]
