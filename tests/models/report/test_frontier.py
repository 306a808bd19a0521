from itertools import pairwise

import pytest

from models.report.frontier import frontier
from models.study.comparison import compare
from models.study.formatting import describe


def test_there_is_a_panel_for_each_cost_and_a_dot_for_each_point(compared):
    (row,) = frontier(compared).rows
    assert [panel.name for panel in row] == ["gmac", "bytes", "seconds"]
    for panel in row:
        assert len(panel.dots) == len(compared.points)
        assert sum(dot.baseline for dot in panel.dots) == 1
        assert sum(dot.recommended for dot in panel.dots) == 1
        assert [dot.x for dot in panel.dots] == sorted(dot.x for dot in panel.dots)


def test_the_line_climbs_over_what_nothing_cheaper_beats(many):
    for panel in frontier(compare(many)).rows[0]:
        line, margin = panel.lines
        assert margin.is_dashed
        for (x0, y0), (x1, y1) in pairwise(line.points):
            assert x1 >= x0
            assert y1 >= y0
            assert x1 == x0 or y1 == y0
        for dot in panel.dots:
            best = max(y for x, y in line.points if x <= dot.x)
            assert dot.y <= best
            assert best == max(d.y for d in panel.dots if d.x <= dot.x)


def test_points_off_the_frontier_are_faint(compared):
    panel = frontier(compared).rows[0][0]
    assert [dot.label.rsplit(" ", 1)[0] for dot in panel.dots if dot.faint] == [
        str(point.label) for point in compared.points if not point.on_frontier
    ]


def test_a_cost_that_is_not_known_of_all_has_no_panel(few, make_rows):
    rows = [row | {"inference_seconds_per_clip": 0.0} for row in few]
    assert [panel.name for panel in frontier(compare(rows)).rows[0]] == ["gmac", "bytes"]


def test_several_networks_are_told_apart_by_full_and_hollow_marks(many, compared):
    figure = frontier(compare(many))
    assert [key.text for key in figure.legend[-2:]] == ["vgg", "musicnn"]
    assert [key.hollow for key in figure.legend[-2:]] == [False, True]
    for dot in figure.rows[0][0].dots:
        assert dot.hollow == ("musicnn" in dot.tip)
    assert all(key.mark is not None for key in frontier(compared).legend)


def test_of_many_points_only_the_baseline_and_the_recommended_one_are_labelled(many, compared):
    assert all(dot.label for dot in frontier(compared).rows[0][0].dots)
    for dot in frontier(compare(many)).rows[0][0].dots:
        assert bool(dot.label) == dot.is_key


def test_bars_stay_within_the_axis(compared):
    panel = frontier(compared).rows[0][0]
    for dot in panel.dots:
        assert panel.y.low < dot.y - dot.std
        assert dot.y + dot.std < panel.y.high
    assert panel.y.place(panel.y.low) == pytest.approx(0)


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.2])
def test_the_margin_is_a_line_below_the_baseline_within_the_axis(few, margin):
    comparison = compare(few, margin=margin)
    for panel in frontier(comparison).rows[0]:
        line = panel.lines[-1]
        heights = {y for _, y in line.points}
        assert heights == {comparison.baseline.roc_auc - margin}
        assert panel.y.low <= min(heights)
        assert line.text == f"margin: {100 * margin:g} % below the baseline"


def test_a_label_ends_with_the_sign_of_its_verdict(compared):
    signs = {"baseline": "○", "worse": "▼", "no worse": "✓", "not told": "?", "better": "▲"}
    labels = {dot.label for dot in frontier(compared).rows[0][0].dots}
    assert labels == {f"{point.label} {signs[point.verdict]}" for point in compared.points}


def test_of_more_than_two_networks_each_has_a_mark_and_a_key(compared_zoo):
    figure = frontier(compared_zoo)
    marks = {key.text: key.mark for key in figure.legend}
    assert len(marks) == len(set(marks.values())) == 10
    assert list(marks)[:3] == ["vgg", "attention", "crnn"]
    by_tip = {describe(point): point for point in compared_zoo.points}
    for panel in figure.rows[0]:
        assert len(panel.dots) == 18
        for dot in panel.dots:
            assert dot.mark == marks[by_tip[dot.tip].model]
            assert not dot.hollow  # the mark says whether
    assert "networks" in figure.title


def test_of_many_points_of_many_networks_those_on_the_frontier_are_labelled_too(compared_zoo):
    for dot in frontier(compared_zoo).rows[0][0].dots:
        assert bool(dot.label) == (dot.is_key or not dot.faint)


def test_waveforms_and_spectra_are_points_as_others_are(compared_zoo):
    panel = frontier(compared_zoo).rows[0][0]
    (wave,) = (p for p in compared_zoo.points if p.model == "sample")
    (dot,) = (dot for dot in panel.dots if dot.tip == describe(wave))
    assert (dot.x, dot.y) == (wave.gmac, wave.roc_auc)
    (key,) = (dot for dot in panel.dots if dot.baseline)
    assert key.label == "sr16000-stft512-x1-db hcnn ○"


def test_networks_on_one_spec_are_said_by_their_names_and_bytes_that_all_store_are_no_cost(zoo):
    rows = [row for row in zoo if row["spec"] == "sr16000-mel96-x1-db"]
    (row,) = frontier(compare(rows)).rows
    assert [panel.name for panel in row] == ["gmac"]
    assert {dot.label.rsplit(" ", 1)[0] for dot in row[0].dots} == {row["model"] for row in rows}
