import math

import pytest

from models.report.tags import tag_rows
from models.study.comparison import compare


def test_losses_are_the_baselines_score_minus_the_points_the_largest_that_is_shown_first(compared):
    points, rows = tag_rows(compared)
    assert [p.gmac for p in points] == sorted((p.gmac for p in points), reverse=True)
    assert compared.baseline not in points
    assert len(points) == len(compared.points) - 1
    shown = [row.largest_shown for row in rows]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > 0
    for row in rows:
        expected = [row.baseline - p.roc_auc_per_tag[row.tag] for p in points]
        assert [loss.loss for loss in row.losses] == pytest.approx(expected)


def test_a_tag_of_which_no_loss_is_shown_is_no_headline(few):
    rows = [{k: v for k, v in row.items() if k != "n_positive_per_tag"} for row in few]
    _, found = tag_rows(compare(rows))
    assert [row.tag for row in found] == sorted(row.tag for row in found)
    assert {loss.verdict for row in found for loss in row.losses} == {"not told"}


def test_points_differ_from_the_baseline_in_resolution_alone_and_are_few(many):
    comparison = compare(many)
    points, _ = tag_rows(comparison)
    assert {p.model for p in points} == {comparison.baseline.model}
    fine = comparison.baseline.spec
    assert [p.spec.hop for p in points if p.spec.n_mels == fine.n_mels] == [2, 3, 4, 5, 10]
    assert {p.spec.n_mels for p in points if p.spec.hop == fine.hop} == {96, 48, 32, 24, 16, 8}
    assert {(p.spec.sr, p.spec.log) for p in points} == {(fine.sr, fine.log)}


def test_a_tag_that_a_point_has_not_scored_is_not_known_there(few):
    for_some = [
        row | {"roc_auc_per_tag": {"rock": 0.9} | ({"pop": 0.8} if "mel96" in row["spec"] else {})}
        for row in few
    ]
    points, rows = tag_rows(compare(for_some))
    pop = next(row for row in rows if row.tag == "pop")
    known = [not math.isnan(loss.loss) for loss in pop.losses]
    assert known == ["mel96" in p.spec.name for p in points]
