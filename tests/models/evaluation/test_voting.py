import numpy as np
import pytest

from models.evaluation.voting import vote


def test_the_class_that_most_windows_say_wins_with_their_mean_probability():
    windows = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.3, 0.5, 0.2]], np.float32)
    found = vote(windows)
    assert found.winner == 1
    assert found.confidence == pytest.approx((0.7 + 0.5) / 2)
    assert found.shares == pytest.approx([1 / 3, 2 / 3, 0])
    assert windows.mean(axis=0).argmax() == 0  # the mean would say another


def test_of_as_many_votes_the_lowest_class_wins():
    assert vote(np.array([[0.1, 0.8, 0.1], [0.0, 0.1, 0.9]])).winner == 1
    assert vote(np.array([[0.0, 0.1, 0.9], [0.1, 0.8, 0.1]])).winner == 1


def test_a_window_that_is_in_doubt_votes_for_the_first():
    assert vote(np.array([[0.2, 0.4, 0.4]])).winner == 1
