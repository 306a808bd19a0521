import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError, UnknownSpecError
from models.data import training_data
from models.evaluation.classification import evaluate_classes
from models.evaluation.voting import vote
from models.networks import ARCHITECTURES
from models.networks.architecture import Architecture
from models.training.checkpoint import Checkpoint, save_checkpoint
from models.training.evaluate import evaluate, evaluate_checkpoint, weights_digest
from models.training.loop import train_to_checkpoint
from models.training.predict import predict_chunks
from models.training.settings import TrainSettings

SPEC = "sr16000-mel8-x10-db"
SETTINGS = TrainSettings(width=0.03, epochs=2, batch_size=9, device="cpu", amp="off")


@pytest.fixture
def checkpoint(perturbed_store, tmp_path):
    path = tmp_path / "model.pt"
    data = training_data(perturbed_store, SPEC)
    return path, train_to_checkpoint(path, data, SETTINGS, progress=False)


def test_a_checkpoint_scores_as_it_did_when_it_was_trained(perturbed_store, checkpoint):
    path, trained = checkpoint
    found = evaluate_checkpoint(path, perturbed_store, splits=["validation", "test"])
    assert [(s.split, s.condition, s.n_clips) for s in found.scores] == [
        ("validation", "clean", 9),
        ("test", "clean", 8),
    ]
    assert [s.scores for s in found.scores] == [trained.training.validation, trained.training.test]


def test_a_condition_is_scored_on_the_same_clips_by_the_network_as_it_was_trained(
    perturbed_store, checkpoint
):
    """Bands are normalised by the training clips' statistics, whatever the condition's are."""
    path, trained = checkpoint
    found = evaluate_checkpoint(path, perturbed_store, conditions=["all"])
    clean, same, noisy = (s.scores for s in found.scores)
    assert clean == same == trained.training.test
    noise = training_data(perturbed_store, f"{SPEC}~noise0.1")
    assert noisy == evaluate(trained.checkpoint, noise.test).scores
    assert noisy != clean
    first, head, *rows = found.lines()
    assert first == f"vgg on {SPEC}, {path}"
    assert " ".join(head.split()) == "split condition clips roc_auc pr_auc f1 loss of roc_auc %"
    assert [row.split()[1] for row in rows] == ["clean", "gain0", "noise0.1"]
    assert rows[1].endswith("+0.00")
    assert rows[2].endswith(f"{100 * (clean.roc_auc - noisy.roc_auc):+.2f}")
    assert found.json()["scores"][2]["condition"] == "noise0.1"
    assert found.json()["scores"][2]["roc_auc_per_tag"] == noisy.roc_auc_per_tag


def test_a_fold_is_tested_that_the_checkpoint_was_not_trained_on(perturbed_store, tmp_path):
    data = training_data(perturbed_store, SPEC, fold=1)
    trained = train_to_checkpoint(tmp_path / "fold.pt", data, SETTINGS, progress=False)
    found = evaluate_checkpoint(tmp_path / "fold.pt", perturbed_store)
    assert (found.fold, found.scores[0].scores) == (1, trained.training.test)
    assert "fold 1" in found.lines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": ["tset"]}, "split is 'tset'; it must be one of train, validation, test"),
        ({"conditions": ["noise0.4"]}, "the conditions of .* are: gain0, noise0.1; featurize"),
    ],
)
def test_what_is_not_there_is_refused(perturbed_store, checkpoint, arguments, message):
    with pytest.raises(TrainingError, match=message):
        evaluate_checkpoint(checkpoint[0], perturbed_store, **arguments)


def test_clips_of_another_length_or_spec_are_refused(toy_store, checkpoint, write_store):
    path, _ = checkpoint
    spec, table = toy_store.specs[0], toy_store.clips
    tags = {tag: table[tag][:35] for tag in toy_store.tags}
    shorter = toy_store[spec].read(range(35))[:, :, :20]
    store = write_store({spec: shorter}, tags=tags, split=table["split"][:35])
    with pytest.raises(TrainingError, match=r"clips of 24 frames, those of .* have 20; featurize"):
        evaluate_checkpoint(path, store)
    fine = toy_store.specs[1]
    store = write_store({fine: toy_store[fine].read(range(35))}, tags=tags)
    with pytest.raises(UnknownSpecError, match=SPEC):
        evaluate_checkpoint(path, store)


@pytest.fixture
def classified(write_store):
    """36 clips of 60 frames of three classes, by the band that is loud, in most of each clip."""
    spec = FeatureSpec(sr=16000, n_mels=16, hop=10)
    rng = np.random.default_rng(3)
    of = rng.permutation(np.arange(36) % 3)
    values = rng.normal(-60, 2, (36, 16, 60))
    for clip, number in enumerate(of):
        values[clip, 5 * number : 5 * number + 5, :40] += 30
        values[clip, :5, 40:] += 30  # the rest sounds like the first class
    return write_store(
        {spec: values.astype(np.float32)},
        tags={name: of == i for i, name in enumerate(("blues", "jazz", "rock"))},
        split=["train"] * 18 + ["validation"] * 9 + ["test"] * 9,
    )


class Loudest(nn.Module):
    """Which third of the bands is loudest."""

    def __init__(self, spec, *, n_frames, n_outputs):
        super().__init__()

    def forward(self, values):
        return torch.stack([values[:, 5 * i : 5 * i + 5].mean((1, 2)) for i in range(3)], 1)


def test_a_classification_is_scored_by_the_majority_of_random_windows(
    classified, tmp_path, monkeypatch
):
    architecture = Architecture(name="loudest", build=Loudest, window=0.9, has_width=False)
    monkeypatch.setitem(ARCHITECTURES, "loudest", architecture)
    spec = classified.specs[0]
    settings = TrainSettings(model="loudest", task="classification", device="cpu", amp="off")
    checkpoint = Checkpoint(
        network=Loudest(spec, n_frames=5, n_outputs=3), spec=spec, n_frames=60, settings=settings,
        tags=("blues", "jazz", "rock"), training=None,
    )  # fmt: skip
    save_checkpoint(tmp_path / "model", checkpoint)
    found = evaluate_checkpoint(tmp_path / "model", classified, chunks=21, seed=2)
    data = training_data(classified, spec)
    windows, _ = predict_chunks(
        checkpoint.network, data.test, checkpoint.task, settings, chunks=21, seed=2
    )
    said = np.array([vote(of_clip).winner for of_clip in windows])
    scores = found.scores[0].scores
    assert scores.accuracy == (said == data.test.labels.argmax(1)).mean()
    assert scores == evaluate_classes(
        data.test.labels, np.stack([w.mean(0) for w in windows]), checkpoint.tags, said=said
    )
    assert scores.accuracy > 0.7  # two windows of three say the class
    assert found.json()["chunks"] == 21
    assert found.json()["scores"][0]["confusion"] == scores.confusion
    first, _, _, empty, of, accuracy, *confusion = found.lines()
    assert first.startswith(f"loudest on {spec.name}, by 21 random windows a clip, ")
    assert (empty, of) == ("", "test, clean")
    assert accuracy.startswith(f"accuracy {scores.accuracy:.3f}, 95 % of 9 clips ")
    assert [line.split()[2] for line in confusion[1:]] == [str(r[0]) for r in scores.confusion]


def test_clips_without_a_class_are_refused_by_their_names(classified, write_store, tmp_path):
    spec = classified.specs[0]
    data = training_data(classified, spec)
    settings = dataclasses.replace(SETTINGS, task="classification")
    train_to_checkpoint(tmp_path / "model", data, settings, progress=False)
    table = classified.clips
    store = write_store(
        {spec: classified[spec].read(range(36))},
        tags={tag: table[tag] * (np.arange(36) != 30) for tag in classified.tags},
        split=table["split"],
    )
    with pytest.raises(TrainingError, match="clip 'clip 30' has none of the 3 classes"):
        evaluate_checkpoint(tmp_path / "model", store)


def test_weights_have_a_digest_that_tells_trainings_apart(perturbed_store, checkpoint, tmp_path):
    _, trained = checkpoint
    digest = weights_digest(trained.checkpoint.network)
    data = training_data(perturbed_store, SPEC)
    again = train_to_checkpoint(tmp_path / "again.pt", data, SETTINGS, progress=False)
    assert weights_digest(again.checkpoint.network) == digest
    with_other = TrainSettings(**{**vars(SETTINGS), "seed": 1})
    other = train_to_checkpoint(tmp_path / "other.pt", data, with_other, progress=False)
    assert weights_digest(other.checkpoint.network) != digest
