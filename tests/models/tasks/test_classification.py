import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from featurestore.errors import TrainingError, TrainingSettingsError
from models.data import training_data
from models.tasks.classification import Classification
from models.training.checkpoint import load_checkpoint
from models.training.loop import train, train_to_checkpoint
from models.training.settings import TrainSettings

CLASSES = ("blues", "jazz", "rock")
TASK = Classification(tags=CLASSES)
LABELS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]], np.float32)
HOW = {"task": "classification", "width": 0.03, "epochs": 2, "batch_size": 9, "device": "cpu"}


def test_the_loss_is_cross_entropy_of_the_probabilities_as_written_out():
    outputs = torch.tensor([[0.5, -1.0, 0.1], [2.0, 0.0, -2.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.0, 0.7]])  # two clips mixed
    p = TASK.predict(outputs)
    torch.testing.assert_close(p, outputs.exp() / outputs.exp().sum(1, keepdim=True))
    expected = -(targets * p.log()).sum(1).mean()
    torch.testing.assert_close(TASK.loss(outputs, targets), expected)


def test_balanced_classes_weigh_the_same_in_sum():
    labels = np.repeat(np.eye(3, dtype=np.float32), [6, 3, 1], axis=0)
    weights = TASK.balanced(labels).weights
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels.argmax(1))
    assert weights == pytest.approx(theirs)
    assert labels.sum(0) * weights == pytest.approx([10 / 3] * 3)
    outputs = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    each = -(torch.from_numpy(labels) * outputs.log_softmax(1)).sum(1)
    expected = (each * torch.tensor(weights)[labels.argmax(1)]).mean()
    found = TASK.balanced(labels).loss(outputs, torch.from_numpy(labels))
    torch.testing.assert_close(found, expected.float())
    assert TASK.balanced(LABELS).weights == pytest.approx([4 / 3, 4 / 9, 4 / 3])  # rock has none


@pytest.mark.parametrize(
    ("row", "has"), [([1, 0, 1], "blues, rock"), ([0, 0, 0], "none")], ids=["two", "none"]
)
def test_a_clip_without_exactly_one_class_is_named(row, has):
    labels = np.concatenate([LABELS, np.array([row], np.float32)])
    ids = [f"clip {i}" for i in range(5)]
    TASK.require(LABELS, ids[:4])
    with pytest.raises(
        TrainingError, match=f"clip 'clip 4' has {has} of the 3 classes, and 1 of 5 clips .*--tags"
    ):
        TASK.require(labels, ids)


def of_classes(store):
    """The toy store's ``loud`` as two classes, ``loud`` and ``quiet``."""
    return {"loud": store.clips["loud"], "quiet": 1 - store.clips["loud"]}


@pytest.fixture
def classified(toy_store, write_store):
    spec = toy_store.specs[0]
    values = np.zeros((36, spec.n_mels, 24), np.float32)
    values[:35] = toy_store[spec].read(range(35))
    return write_store(
        {spec: values}, tags=of_classes(toy_store), split=toy_store.clips["split"], failed=[35]
    )


def test_a_network_learns_classes_and_its_checkpoint_keeps_what_it_confuses(classified, tmp_path):
    data = training_data(classified, classified.specs[0])
    settings = TrainSettings(**HOW | {"epochs": 30, "class_weights": "balanced"})
    trained = train_to_checkpoint(tmp_path / "model", data, settings, progress=False)
    scores = trained.training.test
    assert scores.accuracy == 1
    assert scores.confusion == (
        (int(data.test.labels[:, 0].sum()), 0),
        (0, int(data.test.labels[:, 1].sum())),
    )
    np.testing.assert_allclose(trained.predictions.sum(axis=1), 1, rtol=1e-5)
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.training.test == scores
    assert isinstance(loaded.task, Classification)
    assert loaded.task.tags == ("loud", "quiet")


def test_the_epoch_of_the_best_accuracy_is_kept(classified):
    data = training_data(classified, classified.specs[0])
    epochs = []
    settings = TrainSettings(**HOW | {"epochs": 4})
    trained = train(data, settings, progress=False, after_epoch=epochs.append)
    accuracies = [epoch["validation_accuracy"] for epoch in epochs]
    assert trained.training.best_epoch == 1 + int(np.argmax(accuracies))
    assert trained.training.validation.accuracy == max(accuracies)


def test_clips_of_several_tags_are_refused_before_anything_is_trained(toy_store):
    data = training_data(toy_store, toy_store.specs[0])
    with pytest.raises(TrainingError, match=r"clip 'clip \d+' has .* of the 3 classes"):
        train(data, TrainSettings(**HOW), progress=False)


def test_weights_of_classes_need_classes():
    with pytest.raises(TrainingSettingsError, match="class_weights is 'balanced', and the task ta"):
        TrainSettings(class_weights="balanced")
