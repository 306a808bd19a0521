from xml.etree import ElementTree

import pytest

from models.report.drawing import draw
from models.report.heatmap import half_interval, heat_lines, heat_map, shade
from models.report.shades import shade_of
from models.robustness import compare_conditions
from models.study.comparison import compare

LOSSES = {"noise0.1": 0.08, "gain0": 0.0, "pitch1": 0.02}


def mapped(rows, **options):
    comparison = compare(rows, **options)
    robustness = compare_conditions(rows, comparison)
    return robustness, heat_map(robustness, comparison)


def test_a_cell_has_its_loss_its_sign_and_half_its_interval(few, with_conditions):
    robustness, figure = mapped(with_conditions(few, LOSSES))
    ((panel,),) = figure.rows
    assert [name for _, name in panel.x.ticks] == ["gain0", "pitch1", "noise0.1"]
    labels = [name for _, name in panel.y.ticks][::-1]  # y grows upwards
    assert labels == [str(point.label) for point in robustness.points]
    by_place = {(robustness.conditions[c.x], labels[len(labels) - 1 - c.y]): c for c in panel.cells}
    assert len(by_place) == len(robustness.losses) == 18
    signs = {"worse": "▼", "no worse": "✓", "better": "▲", "not told": "?"}
    for loss in robustness.losses:
        cell = by_place[loss.condition, str(loss.point.label)]
        low, high = loss.loss_interval
        assert loss.loss == pytest.approx((low + high) / 2)
        assert cell.text == (
            f"{signs[loss.verdict]} {100 * loss.loss:+.2f}\n± {50 * (high - low):.2f}"
        )
        assert cell.tip.startswith(f"{loss.point.label} under {loss.condition}\n")
        assert loss.verdict in cell.tip
    assert figure.note == "▲ better   ✓ no worse   ▼ worse   ? not told   (margin: 1 %)"


def test_a_loss_that_is_not_told_from_0_has_no_colour_and_a_gain_another_one(few, with_conditions):
    rows = with_conditions(few, {"gain0": 0.0, "noise0.1": 0.1, "mp3-64": -0.03})
    robustness, figure = mapped(rows)
    shades = {loss.condition: shade(loss) for loss in robustness.losses}
    assert shades == {"gain0": 0, "noise0.1": shade_of(0.1), "mp3-64": shade_of(-0.03)}
    assert all(loss.is_told == (loss.condition != "gain0") for loss in robustness.losses)
    assert [(key.text, key.shade) for key in figure.legend] == [
        ("gain 2 to 4 %", -3), ("not told from 0", 0), ("8 to 16 %", 5)
    ]  # fmt: skip


def test_points_of_one_network_are_together_and_what_was_not_tested_has_no_cell(
    zoo, compared_zoo, with_conditions
):
    tested = [row for row in zoo if row["model"] in ("vgg", "fcn", "sample")]
    rows = with_conditions(tested, {"noise0.1": 0.05})
    rows += with_conditions([r for r in tested if r["model"] != "fcn"], {"pitch1": 0.02})
    robustness = compare_conditions(rows, compared_zoo)
    lines = heat_lines(robustness)
    assert [(p.model, p.spec.n_bands) for p, _ in lines] == [
        ("fcn", 48), ("fcn", 96), ("vgg", 48), ("vgg", 96), ("sample", 1)
    ]  # fmt: skip
    assert robustness.conditions == ("pitch1", "noise0.1")
    assert [losses[0] is None for _, losses in lines] == [True, True, False, False, False]
    assert len(heat_map(robustness, compared_zoo).rows[0][0].cells) == 8


def test_of_more_points_than_there_is_room_for_the_baseline_and_the_recommended_are_drawn(
    many, with_conditions
):
    rows = with_conditions(many, {"noise0.1": 0.05})
    comparison = compare(rows)
    robustness = compare_conditions(rows, comparison)
    assert len(robustness.points) == len(heat_lines(robustness)) == 176
    ((panel,),) = heat_map(robustness, comparison).rows
    labels = [name for _, name in panel.y.ticks]
    assert {str(comparison.baseline.label), str(comparison.recommended.label)} < set(labels)
    assert len(labels) == len(set(labels)) == 40


def test_a_single_run_tells_nothing_and_has_no_interval(few, with_conditions):
    rows = [row for row in with_conditions(few, {"noise0.1": 0.05}) if row["seed"] == 0]
    robustness, figure = mapped(rows)
    assert {half_interval(loss) for loss in robustness.losses} == {""}
    assert {cell.shade for cell in figure.rows[0][0].cells} == {0}
    assert all(cell.text.startswith("? ") for cell in figure.rows[0][0].cells)


def test_it_is_drawn_with_its_words_and_no_cell_outside(few, with_conditions, tmp_path):
    _, figure = mapped(with_conditions(few, LOSSES | {"lowpass1000~noise0.4~mp3-16": 0.2}))
    draw(figure, tmp_path / "map.svg", tmp_path / "map.png")
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.parse(tmp_path / "map.svg").getroot()
    cells = [group for group in root.iter(f"{svg}g") if group.get("class") == "cell"]
    ((panel,),) = figure.rows
    assert [group.findtext(f"{svg}title") for group in cells] == [c.tip for c in panel.cells]
    for group, cell in zip(cells, panel.cells, strict=True):
        said = [text.text for text in group.iter(f"{svg}text")] or [
            part.text for part in group.iter(f"{svg}tspan")
        ]
        assert [text.strip() for text in said] == cell.text.split("\n")
    written = {text.text for text in root.iter(f"{svg}text")}
    assert {
        "mel48 x10",
        "lowpass1000~noise0.4~mp3-16",
        "16 % or more",
        "not told from 0",
    } <= written
    assert (tmp_path / "map.png").stat().st_size > 20_000
