import math

import pytest

from models.report.tags import tag_losses
from models.study.comparison import judge


def test_losses_are_the_baselines_score_minus_the_points_the_worst_tag_first(judged):
    points, losses = tag_losses(judged)
    assert [p.gmac for p in points] == sorted((p.gmac for p in points), reverse=True)
    assert judged.baseline not in points
    assert len(points) == len(judged.points) - 1
    worst = [tag.worst for tag in losses]
    assert worst == sorted(worst, reverse=True)
    for tag in losses:
        expected = [tag.baseline - p.roc_auc_per_tag[tag.tag] for p in points]
        assert tag.losses == pytest.approx(expected)


def test_points_differ_from_the_baseline_in_resolution_alone_and_are_few(many):
    judgement = judge(many)
    points, _ = tag_losses(judgement)
    assert {p.model for p in points} == {judgement.baseline.model}
    fine = judgement.baseline.spec
    assert [p.spec.hop for p in points if p.spec.n_mels == fine.n_mels] == [2, 3, 4, 5, 10]
    assert {p.spec.n_mels for p in points if p.spec.hop == fine.hop} == {96, 48, 32, 24, 16, 8}
    assert {(p.spec.sr, p.spec.log) for p in points} == {(fine.sr, fine.log)}


def test_a_tag_that_a_point_has_not_scored_is_not_known_there(few):
    for_some = [
        row | {"roc_auc_per_tag": {"rock": 0.9} | ({"pop": 0.8} if "mel96" in row["spec"] else {})}
        for row in few
    ]
    points, losses = tag_losses(judge(for_some))
    pop = next(tag for tag in losses if tag.tag == "pop")
    known = [not math.isnan(loss) for loss in pop.losses]
    assert known == ["mel96" in p.spec.name for p in points]
