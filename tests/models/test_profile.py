import dataclasses

import pytest
import torch
from torch import nn
from torch.optim import optimizer
from torch.utils.data import DataLoader

import models.training.loop
from featurestore.errors import TrainingError
from featurestore.process.stages import process_memory
from models.data import training_data
from models.profile import STAGES, profile
from models.training.loop import train
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, epochs=1, batch_size=6, device="cpu", amp="off")


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


@pytest.fixture
def profiled(data):
    return profile(data, SETTINGS, n_batches=5)


def test_the_real_loop_goes_through_every_stage(profiled):
    assert [stage.stage for stage in profiled.stages] == [*STAGES, "other"]
    assert all(stage.seconds > 0 for stage in profiled.stages)
    known = sum(stage.seconds for stage in profiled.stages[:-1])
    assert known > profiled.stages[-1].seconds, "a stage is missed that takes long"


@pytest.mark.parametrize("augment", ["specaugment", "mixup"])
def test_what_a_recipe_adds_to_a_step_is_in_the_stages_too(data, augment):
    settings = dataclasses.replace(SETTINGS, recipe="modern", augment=augment)
    modern = profile(data, settings, n_batches=5)
    assert (modern.settings["recipe"], modern.settings["augment"]) == ("modern", augment)
    known = sum(stage.seconds for stage in modern.stages[:-1])
    assert known > modern.stages[-1].seconds


def test_batches_go_on_after_the_epochs_three_and_are_counted(profiled):
    assert (profiled.n_rounds, profiled.n_clips) == (5, 30)
    assert profiled.audio_seconds == pytest.approx(30 * 24 * 2560 / 16000)


@pytest.mark.skipif(process_memory() is None, reason="the system keeps no such peak")
def test_stages_have_their_memory(profiled):
    assert all(stage.nbytes is not None and stage.nbytes >= 0 for stage in profiled.stages)
    assert profiled.peak_nbytes > 10e6


def test_nothing_is_validated_and_no_random_number_taken(data, monkeypatch):
    monkeypatch.setattr(models.training.loop, "predict", None)  # would raise
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    profile(data, SETTINGS, n_batches=4)
    assert torch.equal(torch.rand(1), expected)


def test_training_runs_as_written_after_a_profile(data):
    watched = [DataLoader.__iter__, nn.Module.__call__, torch.Tensor.to, torch.Tensor.backward]
    before = train(data, SETTINGS, progress=False).training.losses
    profile(data, SETTINGS, n_batches=2)
    assert watched == [
        DataLoader.__iter__, nn.Module.__call__, torch.Tensor.to, torch.Tensor.backward,
    ]  # fmt: skip
    assert "to" not in vars(torch.Tensor), "it was inherited"
    assert not optimizer._global_optimizer_pre_hooks
    assert not optimizer._global_optimizer_post_hooks
    assert train(data, SETTINGS, progress=False).training.losses == before


def test_batches_can_be_read_from_the_store_though_they_would_fit_into_memory(data):
    read = profile(data, SETTINGS, n_batches=1, from_store=True)
    assert read.settings["data"] == "read from the store"
    assert not data.train.cached
    held = profile(data, SETTINGS, n_batches=1)
    assert held.settings["data"] == "cached in memory"


def test_a_data_set_smaller_than_a_batch_will_do(data):
    read = profile(data, dataclasses.replace(SETTINGS, batch_size=64), n_batches=2)
    assert read.n_clips == 36


def test_no_batch_is_no_profile(data):
    with pytest.raises(TrainingError, match="batches is 0; it must be at least 1"):
        profile(data, SETTINGS, n_batches=0)
