"""What every task in the registry must do."""

import json

import numpy as np
import pytest
import torch

from featurestore.errors import TrainingError
from models.tasks import TASKS, parse_task

TAGS = ("loud", "fast", "coin")
TARGETS = {
    "tagging": np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], np.float32),
    "classification": np.array([[0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 0, 0]], np.float32),
}


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


@pytest.fixture
def task(name):
    return TASKS[name](tags=TAGS)


@pytest.fixture
def labels(name):
    return TARGETS[name]


@pytest.fixture
def outputs(task, labels):
    torch.manual_seed(3)
    return torch.randn(len(labels), task.n_outputs)


def test_its_loss_is_a_number_that_falls_down_its_gradient(task, labels, outputs):
    targets = torch.from_numpy(labels)
    outputs.requires_grad_()
    loss = task.loss(outputs, targets)
    assert loss.shape == ()
    loss.backward()
    assert task.loss(outputs.detach() - 0.1 * outputs.grad, targets) < loss


def test_a_prediction_has_a_value_for_each_output(task, outputs):
    predictions = task.predict(outputs)
    assert predictions.shape == outputs.shape
    assert predictions.isfinite().all()
    # Each clip for itself: batches may be cut anywhere.
    assert torch.equal(predictions[1:2], task.predict(outputs[1:2]))


def test_what_is_monitored_is_among_the_metrics_and_more_of_it_is_better(task, labels, outputs):
    better = outputs.clone().requires_grad_()
    optimizer = torch.optim.Adam([better], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        task.loss(better, torch.from_numpy(labels)).backward()
        optimizer.step()
    before, after = (
        task.evaluate(labels, task.predict(values.detach()).numpy()).metrics
        for values in (outputs, better)
    )
    assert after[task.scores.monitored] > before[task.scores.monitored]
    assert before.keys() == after.keys()


def test_scores_read_back_from_json_and_are_a_line(task, labels, outputs):
    scores = task.evaluate(labels, task.predict(outputs).numpy())
    assert isinstance(scores, task.scores)
    assert task.scores.from_json(json.loads(json.dumps(scores.json()))) == scores
    assert scores.line()
    assert "\n" not in scores.line()


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="task is 'mood'; it must be one of tagging"):
        parse_task("mood")
