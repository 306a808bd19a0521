import numpy as np
import pytest
import torch

from models.evaluation.metrics import TaggingScores, evaluate
from models.tasks import TASKS
from models.tasks.tagging import Tagging

TASK = Tagging(tags=("loud", "fast"))


def test_it_is_in_the_registry():
    assert TASKS["tagging"](tags=("loud", "fast")) == TASK


def test_there_is_an_output_for_each_tag():
    assert TASK.n_outputs == 2


def test_the_loss_is_binary_cross_entropy_of_the_probabilities_as_written_out():
    outputs = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.3, 1.0]])  # 0.3: two clips mixed
    p = TASK.predict(outputs)
    torch.testing.assert_close(p, 1 / (1 + (-outputs).exp()))
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    torch.testing.assert_close(TASK.loss(outputs, targets), expected)


def test_scores_are_the_tags_own_and_pr_auc_is_monitored():
    targets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    predictions = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.3], [0.7, 0.4]], np.float32)
    scores = TASK.evaluate(targets, predictions)
    assert scores == evaluate(targets, predictions, ("loud", "fast"))
    assert scores.metrics == pytest.approx(
        {
            "roc_auc": scores.roc_auc,
            "pr_auc": scores.pr_auc,
            "loss": -np.log([0.9, 0.9, 0.8, 0.8, 0.6, 0.3, 0.3, 0.6]).mean(),
            "accuracy": 6 / 8,
            "precision": (2 / 3 + 1) / 2,
            "recall": (1 + 1 / 2) / 2,
            "f1": (4 / 5 + 2 / 3) / 2,
        }
    )
    assert scores.metrics[TASK.scores.monitored] == scores.pr_auc
    assert scores.roc_auc_per_tag == {"loud": 0.75, "fast": pytest.approx(0.75)}
    assert scores.line() == "ROC AUC 0.750  PR AUC 0.833  F1 0.733"


def test_scores_read_back_from_their_json():
    scores = TaggingScores(
        roc_auc=0.5, pr_auc=0.25, n_tags_scored=1, tags_left_out=("fast",),
        roc_auc_per_tag={"loud": 0.5}, pr_auc_per_tag={"loud": 0.25},
    )  # fmt: skip
    assert TASK.scores.from_json(scores.json()) == scores
