import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, log_loss, roc_auc_score

from featurestore.errors import TrainingError
from models.evaluation.classification import ClassificationScores, evaluate_classes, wilson

NAMES = ("blues", "jazz", "rock", "ska")


@pytest.fixture
def judged():
    """Forty clips of three of four classes, and probabilities of them."""
    rng = np.random.default_rng(0)
    truth = np.eye(4)[rng.integers(3, size=40)]
    logits = rng.normal(size=(40, 4)) + 1.5 * truth
    return truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_scores_are_those_of_scikit_learn(judged):
    truth, probabilities = judged
    of, said = truth.argmax(1), probabilities.argmax(1)
    scores = evaluate_classes(truth, probabilities, NAMES)
    assert scores.accuracy == pytest.approx((of == said).mean())
    assert scores.f1 == pytest.approx(f1_score(of, said, average="macro"))
    assert scores.loss == pytest.approx(log_loss(of, probabilities, labels=range(4)))
    assert np.array_equal(scores.confusion, confusion_matrix(of, said, labels=range(4)))
    rest = [roc_auc_score(truth[:, i], probabilities[:, i]) for i in range(3)]
    assert scores.roc_auc == pytest.approx(np.mean(rest))
    assert scores.tags_left_out == ("ska",)
    assert scores.recall_per_class.keys() == {"blues", "jazz", "rock"}
    assert scores.recall_per_class["jazz"] == pytest.approx((said[of == 1] == 1).mean())
    assert ClassificationScores.from_json(scores.json()) == scores


def test_a_vote_says_the_class_and_probabilities_the_areas(judged):
    truth, probabilities = judged
    said = np.zeros(40, np.int64)
    plain = evaluate_classes(truth, probabilities, NAMES)
    voted = evaluate_classes(truth, probabilities, NAMES, said=said)
    assert voted.accuracy == pytest.approx(truth[:, 0].mean())
    assert (voted.roc_auc, voted.loss) == (plain.roc_auc, plain.loss)


def test_of_clips_that_have_two_classes_the_first_is_named():
    truth = np.array([[1, 0], [0, 1], [1, 1]])
    with pytest.raises(TrainingError, match="clip 2 has 2 of the 2 classes"):
        evaluate_classes(truth, np.full((3, 2), 0.5), ("a", "b"))


def test_wilsons_interval_is_as_written_out():
    n, p, z = 100, 0.87, 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(p, n) == pytest.approx((middle - half, middle + half))
    assert wilson(1.0, 10)[1] == 1
    assert np.isnan(wilson(0.5, 0)).all()


def test_a_confusion_is_printed_within_80_columns(judged):
    lines = evaluate_classes(*judged, NAMES).details()
    assert lines[0].startswith("accuracy 0.")
    assert "95 % of 40 clips" in lines[0]
    assert lines[1].split() == ["is,", "said", "0", "1", "2", "3", "recall"]
    assert lines[5].split() == ["3", "ska", "0", "0", "0", "0", "-"]
    assert max(map(len, lines)) <= 80


def test_of_many_classes_the_most_frequent_mistakes_are_printed():
    names = [f"class {i}" for i in range(20)]
    truth = np.eye(20)[np.repeat(np.arange(20), 3)]
    probabilities = 0.01 + truth
    probabilities[:3] = 0.01 + np.eye(20)[[7, 7, 3]]
    first, _, *rows = evaluate_classes(truth, probabilities, names).details()
    assert first.startswith("accuracy 0.950")
    assert [row.split() for row in rows] == [
        ["class", "0", "class", "7", "2"],
        ["class", "0", "class", "3", "1"],
    ]
