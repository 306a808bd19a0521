import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

import models.student.soft_labels as module
from models.data import training_data, unlabelled_clips
from models.student.soft_labels import labels_digest, soft_labels
from models.training.checkpoint import Checkpoint, new_network
from models.training.predict import predict
from models.training.settings import TrainSettings
from tests.models.conftest import COARSE, FINE

SETTINGS = TrainSettings(width=0.03, batch_size=6, device="cpu", amp="off")


def teacher_of(seed=0, spec=FINE):
    """A teacher that has learnt nothing, and says something all the same."""
    torch.manual_seed(seed)
    tags = ("loud", "tilted", "coin")
    return Checkpoint(
        network=new_network(SETTINGS, spec, n_frames=24, n_outputs=3).eval(),
        spec=spec, n_frames=24, tags=tags, settings=SETTINGS, training=None,
    )  # fmt: skip


@pytest.fixture
def clips(toy_store, monkeypatch):
    """13 clips of which the labels are hidden, in parts of 5."""
    monkeypatch.setattr(module, "PART", 5)
    data = training_data(toy_store, COARSE, labelled_share=0.28)
    return unlabelled_clips(data, FINE, toy_store)


@pytest.fixture
def asked(monkeypatch):
    """How many clips the teacher was asked for, part by part."""
    sizes = []

    def watched(network, dataset, task, settings):
        sizes.append(len(dataset))
        return predict(network, dataset, task, settings)

    monkeypatch.setattr(module, "predict", watched)
    return sizes


def compute(folder, teacher, clips):
    return soft_labels(folder, teacher, clips, device="cpu", progress=False)


def test_labels_are_what_the_teacher_predicts_of_the_clips_as_they_are(clips, tmp_path):
    teacher = teacher_of()
    before = {name: values.clone() for name, values in teacher.network.state_dict().items()}
    labels = compute(tmp_path / "labels", teacher, clips)
    assert labels.shape == (13, 3)
    assert labels.dtype == np.float32
    expected = predict(teacher.network, clips.heard(slice(None)), teacher.task, SETTINGS)
    np.testing.assert_allclose(labels, expected, rtol=0, atol=1e-6)  # batches of other sizes
    assert labels.std(axis=0).min() > 0
    # The teacher is as it was.
    assert not teacher.network.training
    for name, values in teacher.network.state_dict().items():
        assert torch.equal(values, before[name])


def test_each_part_says_whose_labels_of_what_it_holds(clips, tmp_path):
    teacher = teacher_of()
    labels = compute(tmp_path / "labels", teacher, clips)
    files = sorted((tmp_path / "labels").iterdir())
    assert [file.name for file in files] == [f"part-0000{n}.safetensors" for n in range(3)]
    found = []
    for number, file in enumerate(files):
        with safe_open(file, framework="np") as part:
            found.append(part.get_tensor("labels"))
            said = json.loads(part.metadata()["provenance"])["of"]
        assert said["clip_id"] == list(clips.clip_id[5 * number : 5 * number + 5])
        assert said["spec"] == FINE.name
        assert said["tags"] == ["loud", "tilted", "coin"]
        assert said["computed"] == {"encoding": "float16"}
        assert len(said["teacher"]) == 12
    assert np.array_equal(np.concatenate(found), labels)


def test_what_is_there_is_not_computed_again(clips, tmp_path, asked):
    first = compute(tmp_path / "labels", teacher_of(), clips)
    assert asked == [5, 5, 3]
    assert np.array_equal(compute(tmp_path / "labels", teacher_of(), clips), first)
    assert asked == [5, 5, 3]


def test_a_kill_costs_the_part_that_was_computed(clips, tmp_path, asked, monkeypatch):
    whole = compute(tmp_path / "whole", teacher_of(), clips)
    del asked[:]
    write = module._write

    def killed(path, labels, said):
        if path.name == "part-00001.safetensors":
            raise KeyboardInterrupt
        write(path, labels, said)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            compute(tmp_path / "labels", teacher_of(), clips)
    assert asked == [5, 5]
    again = compute(tmp_path / "labels", teacher_of(), clips)
    assert asked == [5, 5, 5, 3]
    assert np.array_equal(again, whole)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "renamed"])
def test_a_part_that_is_damaged_or_anothers_is_computed_again(clips, tmp_path, asked, damage):
    folder = tmp_path / "labels"
    labels = compute(folder, teacher_of(), clips)
    path = folder / "part-00001.safetensors"
    content = path.read_bytes()
    if damage == "renamed":
        path.write_bytes((folder / "part-00000.safetensors").read_bytes())
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        damaged = {"cut": content[:-7], "empty": b"", "text": b"hello\n", "flipped": flipped}
        path.write_bytes(damaged[damage])
    assert np.array_equal(compute(folder, teacher_of(), clips), labels)
    assert asked == [5, 5, 3, 5]
    assert path.read_bytes() == content


def test_labels_of_another_teacher_or_other_clips_are_replaced(clips, tmp_path, asked):
    folder = tmp_path / "labels"
    labels = compute(folder, teacher_of(), clips)
    assert not np.array_equal(compute(folder, teacher_of(1), clips), labels)
    assert asked == [5, 5, 3] * 2
    new_audio = dataclasses.replace(clips, audio=("changed", *clips.audio[1:]))
    compute(folder, teacher_of(1), new_audio)
    assert asked == [5, 5, 3] * 2 + [5]
    fewer = dataclasses.replace(
        clips, clip_id=clips.clip_id[:5], audio=new_audio.audio[:5], _rows=clips._rows[:5]
    )
    assert len(compute(folder, teacher_of(1), fewer)) == 5
    assert asked == [5, 5, 3] * 2 + [5]
    assert [path.name for path in folder.iterdir()] == ["part-00000.safetensors"]


def test_a_digest_is_of_the_clips_and_of_the_labels(clips):
    labels = np.random.default_rng(0).random((13, 3), np.float32)
    digest = labels_digest(clips, labels)
    assert len(digest) == 12
    assert labels_digest(clips, labels.copy()) == digest
    assert labels_digest(clips, labels + np.float32(1e-6)) != digest
    other = dataclasses.replace(clips, audio=("changed", *clips.audio[1:]))
    assert labels_digest(other, labels) != digest
