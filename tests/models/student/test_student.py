import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import models.training.loop as loop
from featurestore.errors import TrainingError
from models.data import SoftLabelled, training_data, unlabelled_clips
from models.student.student import TeacherSettings, train_student
from models.tasks.tagging import Tagging
from models.training.checkpoint import load_checkpoint
from models.training.loop import _Training, train, train_to_checkpoint
from models.training.settings import TrainSettings
from tests.models.conftest import COARSE, FINE

SETTINGS = TrainSettings(
    width=0.03, epochs=8, batch_size=6, learning_rate=5e-3, seed=1, device="cpu", amp="off"
)
SHORT = dataclasses.replace(SETTINGS, epochs=3)


@pytest.fixture
def teacher(toy_store, tmp_path):
    """A teacher that knows all labels, of another spec than the students'."""
    path = tmp_path / "teacher.safetensors"
    train_to_checkpoint(path, training_data(toy_store, FINE), SETTINGS, progress=False)
    return path


@pytest.fixture
def data(toy_store):
    """Six clips with labels and twelve without."""
    return training_data(toy_store, COARSE, labelled_share=1 / 3)


def student(path, data, store, teacher, settings=SHORT, **changes):
    return train_student(
        path,
        data,
        settings,
        teacher=TeacherSettings(checkpoint=teacher, **changes),
        store=store,
        progress=False,
    )


def weights_of(trained):
    return trained.checkpoint.network.state_dict()


def assert_same(trained, other):
    assert trained.training.losses == other.training.losses
    assert np.array_equal(trained.predictions, other.predictions)
    for name, values in weights_of(other).items():
        assert torch.equal(values, weights_of(trained)[name])


def soft_of(data, store, labels, mixing=1.0):
    clips = unlabelled_clips(data, COARSE, store)
    return SoftLabelled(dataset=clips.taught(labels), mixing=mixing, provenance={"by": "hand"})


def test_without_a_weight_of_the_teacher_training_is_as_it_is_without_one(
    data, toy_store, teacher, tmp_path
):
    alone = train(data, SHORT, progress=False)
    asked = student(tmp_path / "student", data, toy_store, teacher, mixing=0)
    assert_same(asked, alone)
    assert asked.checkpoint.teacher is None
    assert not (tmp_path / "student.labels").exists()


def test_what_a_teacher_says_is_learnt_where_there_are_no_labels(toy_store, teacher, tmp_path):
    few = training_data(toy_store, COARSE, labelled_share=0.25, labelled_seed=1)
    assert len(few.train) == 4
    settings = dataclasses.replace(SETTINGS, epochs=12)
    taught = student(tmp_path / "student", few, toy_store, teacher, settings)
    alone = train(few, settings, progress=False)
    for tag in ("loud", "tilted"):
        assert taught.training.test.roc_auc_per_tag[tag] > 0.9
    assert taught.training.test.roc_auc > alone.training.test.roc_auc


def test_the_teacher_stays_as_it_is(data, toy_store, teacher, tmp_path):
    before = teacher.read_bytes()
    student(tmp_path / "student", data, toy_store, teacher)
    assert teacher.read_bytes() == before


def test_a_step_is_the_sum_of_both_halves_losses(data, toy_store):
    rng = np.random.default_rng(0)
    labels = rng.random((12, 3), np.float32)
    training = _Training(data, SETTINGS, soft_of(data, toy_store, labels, mixing=0.25))
    seen = []
    forward = training._parallel.forward

    def watched(values):
        outputs = forward(values)
        seen.append((values, outputs))
        return outputs

    training._parallel.forward = watched
    halves = soft_of(data, toy_store, labels).batches(0, batch_size=3, length=24, seed=1)
    training._second_halves = halves
    (clips, *_) = training.batches
    second = next(soft_of(data, toy_store, labels).batches(0, batch_size=3, length=24, seed=1))
    loss = training._step(0, clips)
    ((values, outputs),) = seen
    assert torch.equal(values, torch.cat([clips.values, second.values]))
    assert (len(clips.values), len(second.values)) == (3, 3)
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    own, teachers = (
        cross_entropy(part, of) for part, of in
        ((outputs[:3], clips.labels), (outputs[3:], second.labels))
    )  # fmt: skip
    torch.testing.assert_close(loss, (own + 0.25 * teachers).detach(), rtol=0, atol=1e-6)
    assert set(second.labels.flatten().tolist()) - {0.0, 1.0}


def test_the_loss_of_soft_labels_is_least_where_the_student_says_what_the_teacher_says():
    soft = torch.tensor([[0.03, 0.5, 0.92]])
    task = Tagging(tags=("a", "b", "c"))
    logits = soft.logit().requires_grad_()
    least = task.loss(logits, soft)
    least.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), rtol=0, atol=1e-7)
    for change in torch.eye(3).flatten(1) * 0.05:
        for sign in (1, -1):
            assert task.loss((logits + sign * change).detach(), soft) > least


@pytest.mark.parametrize("n_done", [1, 2])
def test_a_student_that_was_ended_goes_on_to_the_very_same_weights(
    data, toy_store, teacher, tmp_path, monkeypatch, n_done
):
    settings = dataclasses.replace(SETTINGS, epochs=4, augment="specaugment", batch_size=5)
    whole = student(tmp_path / "whole", data, toy_store, teacher, settings)
    save, done = loop.save_state, []

    def interrupted(path, identity, saved):
        save(path, identity, saved)
        done.append(path)
        if len(done) == n_done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            student(tmp_path / "ended", data, toy_store, teacher, settings)
    assert (tmp_path / "ended.state").exists()
    again = student(tmp_path / "ended", data, toy_store, teacher, settings)
    assert_same(again, whole)


def test_a_state_of_another_weight_or_teacher_is_not_gone_on_from(data, toy_store, tmp_path):
    labels = np.full((12, 3), 0.5, np.float32)
    first = soft_of(data, toy_store, labels)
    state = tmp_path / "state"
    training = _Training(data, SETTINGS, first)
    training.run_epoch(lambda: None)
    loop.save_state(state, training.identity, training.state_dict())
    for other in (None, dataclasses.replace(first, mixing=0.5)):
        with pytest.raises(
            TrainingError, match=r"differs \(teacher \w+ of 12 clips, mixing 1, now"
        ):
            train(data, SETTINGS, unlabelled=other, state=state, progress=False)
    train(data, SETTINGS, unlabelled=first, state=state, progress=False)


def test_a_checkpoint_says_who_the_teacher_was_and_of_what(data, toy_store, teacher, tmp_path):
    path = tmp_path / "student"
    student(path, data, toy_store, teacher, mixing=0.5)
    said = load_checkpoint(path).teacher
    assert (said["model"], said["spec"], said["recipe"]) == ("vgg", FINE.name, "ferraro2020")
    assert (said["n_clips"], said["mixing"], said["draws"]) == (12, 0.5, None)
    assert len(said["labels"]) == len(said["teacher"]) == 12
    assert load_checkpoint(teacher).teacher is None
    assert sorted(p.name for p in tmp_path.glob("student*")) == [
        "student", "student.jsonl", "student.labels",
    ]  # fmt: skip


def test_a_student_is_the_next_students_teacher(data, toy_store, teacher, tmp_path):
    first = student(tmp_path / "first", data, toy_store, teacher)
    second = student(tmp_path / "second", data, toy_store, tmp_path / "first")
    taught = [load_checkpoint(tmp_path / name).teacher for name in ("first", "second")]
    assert taught[0]["teacher"] != taught[1]["teacher"]
    assert taught[1]["spec"] == COARSE.name
    assert first.training.losses != second.training.losses


def test_a_teacher_of_more_tags_teaches_those_that_are_learnt(toy_store, teacher, tmp_path):
    tags = ["tilted", "loud"]
    data = training_data(toy_store, COARSE, tags=tags, labelled_share=1 / 3)
    settings = dataclasses.replace(SETTINGS, epochs=12)
    taught = student(tmp_path / "student", data, toy_store, teacher, settings)
    assert taught.training.test.roc_auc > 0.9  # exchanged, they would be learnt from each other


def test_what_the_student_is_given_is_said(data, toy_store, teacher, tmp_path):
    said = []
    train_student(
        tmp_path / "student",
        data,
        dataclasses.replace(SETTINGS, epochs=1, augment="specaugment"),
        teacher=TeacherSettings(checkpoint=teacher),
        store=toy_store,
        say=said.append,
        progress=False,
    )
    assert said == [f"12 unlabelled clips of {toy_store.path}, 6 labelled ones; noise: specaugment"]


def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_computed(
    data, toy_store, teacher, tmp_path
):
    with pytest.raises(TrainingError, match="would replace its teacher; name another"):
        student(teacher, data, toy_store, teacher)
    with pytest.raises(TrainingError, match="there is no checkpoint at"):
        student(tmp_path / "student", data, toy_store, tmp_path / "none")
    of_one = tmp_path / "one"
    known = training_data(toy_store, COARSE, tags=["loud"])
    train_to_checkpoint(of_one, known, dataclasses.replace(SETTINGS, epochs=1), progress=False)
    with pytest.raises(TrainingError, match=r"knows no tilted, coin; choose --tags .*: loud"):
        student(tmp_path / "student", data, toy_store, of_one)
    whole = training_data(toy_store, COARSE)
    with pytest.raises(TrainingError, match="no unlabelled clip that is ready"):
        student(tmp_path / "student", whole, toy_store, teacher)
    with pytest.raises(TrainingError, match="mixing is -1; it must be a number from 0"):
        TeacherSettings(checkpoint=teacher, mixing=-1)
    assert not list(tmp_path.glob("student*"))
