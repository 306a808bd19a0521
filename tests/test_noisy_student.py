"""Noisy students from audio files on: clips without labels, kills, several processes, waveforms."""

import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import models.training.loop as loop
from featurestore.inspect.info import describe
from featurestore.specs.augmentation import Augmentation
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from models.data import training_data
from models.student.student import TeacherSettings, train_student
from models.training.checkpoint import load_checkpoint
from models.training.loop import train_to_checkpoint
from models.training.settings import TrainSettings
from pipeline.catalogs import open_catalog
from pipeline.perturber import Perturber
from pipeline.run.run import run
from pipeline.run.settings import RunSettings
from tests.test_perturber import WAVE

SR = 8000
SPEC = FeatureSpec(sr=SR, n_mels=16, hop=2)
SETTINGS = TrainSettings(
    width=0.03, epochs=6, batch_size=8, learning_rate=5e-3, device="cpu", amp="off"
)
SPLITS = ["train"] * 8 + ["validation"] * 6 + ["test"] * 6 + ["unlabelled"] * 12


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """32 tones, high or low; the last dozen without labels."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for number in range(len(SPLITS)):
        tone = np.sin(2 * np.pi * (300 if number % 2 else 2000) * np.arange(SR) / SR)
        samples = 0.3 * tone + 0.05 * rng.standard_normal(SR)
        soundfile.write(folder / f"{number:02}.wav", samples.astype(np.float32), SR)
    return folder


def featurize(music, store, splits):
    lines = [
        f"{number:02}.wav,{split},{'' if split == 'unlabelled' else number % 2}"
        for number, split in enumerate(splits)
    ]
    (music / "t.csv").write_text("\n".join(["path,split,low", *lines]) + "\n")
    settings = RunSettings(
        window=Excerpt(duration=1.0),
        workers=1,
        augmentation=Augmentation.parse("gauss0.005,stretch0.8:1.2", 0.9),
    )
    specs = [SPEC, *(SPEC.under(Condition(draw=number)) for number in range(2))]
    return run(open_catalog(str(music / "t.csv")), str(store), specs, settings, quiet=True)


@pytest.fixture(scope="module")
def store(music, tmp_path_factory):
    """Clean values, and two draws of what trains and of what has no labels."""
    return featurize(music, tmp_path_factory.mktemp("stores") / "s.zarr", SPLITS).store


def test_clips_without_labels_are_featurized_with_draws_and_are_counted(store):
    clean, *draws = (store[spec].ready for spec in store.specs)
    assert clean.all()
    may_train = np.array([split in ("train", "unlabelled") for split in SPLITS])
    for ready in draws:
        np.testing.assert_array_equal(ready, may_train)
    told = describe(store)
    assert told.splits == {"test": 6, "train": 8, "unlabelled": 12, "validation": 6}
    assert told.tags == {"low": 10}
    assert any("unlabelled" in line for line in told.lines())


def test_a_row_loses_and_gets_its_labels_by_another_table(music, tmp_path):
    path = tmp_path / "s.zarr"
    before = featurize(music, path, SPLITS)
    assert before.n_computed == len(SPLITS)
    fewer = ["unlabelled" if row < 4 else split for row, split in enumerate(SPLITS)]
    after = featurize(music, path, fewer)
    assert after.n_computed == 0  # they had draws, as what trains has
    data = training_data(after.store, SPEC)
    assert data.train.rows.tolist() == [4, 5, 6, 7]
    assert data.unlabelled.tolist() == [*range(4), *range(20, 32)]
    found = featurize(music, path, [*fewer[:30], "train", "train"])
    assert training_data(found.store, SPEC).train.rows.tolist() == [4, 5, 6, 7, 30, 31]


@pytest.fixture(scope="module")
def teacher(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    train_to_checkpoint(path, training_data(store, SPEC), SETTINGS, progress=False)
    return path


def test_the_student_hears_draws_and_the_teacher_does_not(store, teacher, tmp_path):
    path, said = tmp_path / "student", []
    trained = train_student(
        path,
        training_data(store, SPEC),
        SETTINGS,
        teacher=TeacherSettings(checkpoint=teacher),
        store=store,
        say=said.append,
        progress=False,
    )
    assert trained.training.test.roc_auc == 1
    draws = "2 draws of gauss0.005,stretch0.8:1.2 p0.9"
    assert said == [f"12 unlabelled clips of {store.path}, 8 labelled ones; noise: {draws}"]
    assert load_checkpoint(path).teacher["draws"] == draws
    assert not load_checkpoint(path).settings.draws  # clips with labels are read as they are


def command(store, teacher, path, *options):
    return [
        *("train", store.path, "--spec", SPEC.name, "--teacher", str(teacher), "-o", str(path)),
        *("--device", "cpu", "--amp", "off", "--width", "0.03", "--epochs", "20"),
        *("--batch-size", "8", "--learning-rate", "0.005", *options),
    ]


@pytest.mark.slow
def test_a_student_that_is_killed_goes_on_when_run_again_to_the_very_same_weights(
    store, teacher, tmp_path
):
    melgrid = [sys.executable, "-c", "from cli import melgrid; melgrid()"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, path = tmp_path / "whole", tmp_path / "student"
    subprocess.run([*melgrid, *command(store, teacher, whole)], check=True, env=environment)
    started = [*melgrid, *command(store, teacher, path)]
    log = tmp_path / "student.jsonl"
    os.mkfifo(log)  # a line comes out of it after each epoch
    killed = subprocess.Popen(started, stderr=subprocess.DEVNULL, env=environment)
    with log.open("rb") as lines:
        for _ in range(3):
            assert lines.readline()
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    log.unlink()
    assert (tmp_path / "student.state").exists()
    assert not path.exists()
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "student.labels").iterdir()}
    assert len(parts) == 1

    subprocess.run(started, check=True, env=environment)
    assert parts == {p: p.stat().st_mtime_ns for p in parts}  # the teacher was not asked again
    assert path.read_bytes()[-1000:] == whole.read_bytes()[-1000:]
    a, b = load_checkpoint(path), load_checkpoint(whole)
    assert a.training.losses == b.training.losses
    for name, values in b.network.state_dict().items():
        assert torch.equal(values, a.network.state_dict()[name])


@pytest.mark.slow
def test_two_processes_teach_and_train_one_student(store, teacher, tmp_path):
    (tmp_path / "program.py").write_text("from cli import melgrid; melgrid()")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    done = subprocess.run(
        [*torchrun, "--master-port", str(port), str(tmp_path / "program.py"),
         *command(store, teacher, tmp_path / "student", "--epochs", "3")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trained = load_checkpoint(tmp_path / "student")
    assert len(trained.training.losses) == 3
    assert trained.teacher["n_clips"] == 12
    # What the teacher says is the same, whoever asked it for how much.
    alone = tmp_path / "alone"
    data = training_data(store, SPEC)
    train_student(
        alone, data, SETTINGS, teacher=TeacherSettings(checkpoint=teacher), store=store,
        progress=False,
    )  # fmt: skip
    for part in (tmp_path / "alone.labels").iterdir():
        said = load_file(part)
        again = load_file(tmp_path / "student.labels" / part.name)
        assert said.keys() == again.keys()
        for name, values in said.items():
            torch.testing.assert_close(again[name], values, rtol=0, atol=1e-6)


STEPS = Perturber(augmentation=Augmentation.parse("gauss0.005,stretch0.8:1.2", 1.0))


def test_waveforms_are_perturbed_for_the_student_which_goes_on_to_the_very_same_weights(
    wave_store, tmp_path, monkeypatch
):
    settings = TrainSettings(
        model="sample", width=0.02, epochs=3, batch_size=4, device="cpu", amp="off"
    )
    data = training_data(wave_store, WAVE, fold=0, labelled_share=0.5)
    first = tmp_path / "teacher"
    train_to_checkpoint(first, data, settings, progress=False)

    def student(path):
        return train_student(
            path,
            data,
            settings,
            teacher=TeacherSettings(checkpoint=first),
            store=wave_store,
            perturber=STEPS,
            progress=False,
        )

    whole = student(tmp_path / "whole")
    assert load_checkpoint(tmp_path / "whole").teacher["draws"] == (
        "a draw each time of gauss0.005,stretch0.8:1.2 p1"
    )
    save = loop.save_state

    def interrupted(path, identity, saved):
        save(path, identity, saved)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            student(tmp_path / "ended")
    again = student(tmp_path / "ended")
    assert again.training.losses == whole.training.losses
    assert np.array_equal(again.predictions, whole.predictions)
