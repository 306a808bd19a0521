import math

import pytest

from models.evaluation.classification import wilson
from models.evaluation.confusion import Confusion

RUNS = [[[5, 1, 0], [2, 2, 0], [0, 0, 0]], [[6, 0, 0], [1, 3, 0], [0, 0, 0]]]
TWO_RUNS = Confusion.summed(("blues", "jazz", "ska"), RUNS, n_runs=2)


def test_runs_are_summed_and_do_not_add_to_the_clips():
    assert TWO_RUNS.counts == ((11, 1, 0), (3, 5, 0), (0, 0, 0))
    assert TWO_RUNS.n_clips == 10
    assert TWO_RUNS.accuracy == 16 / 20
    assert TWO_RUNS.interval == wilson(0.8, 10)


def test_recall_is_a_share_of_the_classs_clips_and_not_known_without_any():
    assert TWO_RUNS.recalls[:2] == pytest.approx((11 / 12, 5 / 8))
    assert math.isnan(TWO_RUNS.recalls[2])
    assert TWO_RUNS.share(1, 0) == 3 / 8
    assert TWO_RUNS.share(2, 0) == 0
