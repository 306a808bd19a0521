import pytest

from models.report.figure import Key
from models.report.robustness import robustness_figure
from models.robustness import compare_conditions
from models.study.comparison import compare


@pytest.fixture(scope="module")
def losses():
    return {"noise0.1": 0.08, "gain0": 0.0, "pitch1": 0.02}


def figure_of(rows):
    comparison = compare(rows)
    robustness = compare_conditions(rows, comparison)
    return robustness, robustness_figure(robustness, comparison)


def test_a_mark_stands_at_its_condition_and_loss_with_its_interval_and_sign(
    few, losses, with_conditions
):
    robustness, figure = figure_of(with_conditions(few, losses))
    ((panel,),) = figure.rows
    assert panel.x.slanted
    assert [name for _, name in panel.x.ticks] == ["gain0", "pitch1", "noise0.1"]
    assert len(panel.dots) == len(robustness.losses) == 18
    signs = {"worse": "▼", "no worse": "✓", "better": "▲", "not told": "?"}
    for dot, loss in zip(panel.dots, robustness.losses, strict=True):
        assert robustness.conditions[round(dot.x)] == loss.condition
        assert dot.y == 100 * loss.loss
        assert dot.y + dot.std == pytest.approx(100 * loss.loss_interval[1])
        assert panel.y.low < dot.y - dot.std <= dot.y + dot.std < panel.y.high
        assert dot.sign == signs[loss.verdict]
        assert f"{loss.point.label} under {loss.condition}" in dot.tip
        assert loss.verdict in dot.tip
    assert len({dot.x for dot in panel.dots}) == 18  # side by side


def test_each_point_has_a_mark_and_a_line_of_the_legend(few, losses, with_conditions):
    robustness, figure = figure_of(with_conditions(few, losses))
    assert figure.legend == tuple(
        Key(text=str(point.label), mark=i) for i, point in enumerate(robustness.points)
    )
    assert "▼ worse" in figure.note
    ((panel,),) = figure.rows
    no_loss, margin = panel.lines
    assert {y for _, y in no_loss.points} == {0}
    assert ({y for _, y in margin.points}, margin.is_dashed) == ({1}, True)


def test_of_more_points_than_marks_the_baseline_the_recommended_and_some_are_drawn(
    many, with_conditions
):
    rows = with_conditions(many, {"noise0.1": 0.05})
    comparison = compare(rows)
    robustness = compare_conditions(rows, comparison)
    figure = robustness_figure(robustness, comparison)
    assert len(robustness.points) == 176
    texts = [key.text for key in figure.legend]
    assert {str(comparison.baseline.label), str(comparison.recommended.label)} < set(texts)
    assert len(texts) == len(set(texts)) == 14
    assert len({(key.mark, key.hollow) for key in figure.legend}) == 14


def test_a_single_run_is_drawn_without_bars(make_rows, few, with_conditions):
    rows = [row for row in with_conditions(few, {"noise0.1": 0.05}) if row["seed"] == 0]
    _, figure = figure_of(rows)
    ((panel,),) = figure.rows
    assert {dot.sign for dot in panel.dots} == {"?"}
    assert all(dot.std != dot.std for dot in panel.dots)
