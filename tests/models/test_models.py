"""The networks and tasks that CONTRIBUTING.md adds: its code is taken from the page and run."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data import training_data
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost
from models.tasks import TASKS
from models.training.checkpoint import load_checkpoint, new_network
from models.training.loop import train_to_checkpoint
from models.training.predict import predict
from models.training.settings import TrainSettings

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
SETTINGS = TrainSettings(width=0.2, epochs=6, batch_size=6, seed=1, device="cpu", amp="off")


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


@pytest.fixture
def printed(tmp_path):
    """Import the module that a section of CONTRIBUTING.md prints."""

    def printed(heading):
        section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
        ((file, code),) = re.findall(
            r"Here `(\w+)`:\n\n```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE
        )
        (tmp_path / f"{file}.py").write_text(code)
        spec = importlib.util.spec_from_file_location(file, tmp_path / f"{file}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return printed


def test_the_network_that_the_page_adds_takes_a_step_is_counted_and_loaded_by_its_name(
    data, printed, tmp_path, monkeypatch
):
    mean = printed("Add a network")
    monkeypatch.setitem(ARCHITECTURES, mean.ARCHITECTURE.name, mean.ARCHITECTURE)
    settings = dataclasses.replace(
        SETTINGS, model="mean", recipe="modern", epochs=1, batch_size=36
    )  # one step
    trained = train_to_checkpoint(tmp_path / "model.pt", data, settings, progress=False)

    torch.manual_seed(settings.seed)
    first = mean.Mean(data.spec, n_frames=12, n_outputs=3, width=0.2)
    for name, values in first.named_parameters():
        assert not torch.equal(values, trained.checkpoint.network[1].get_parameter(name)), (
            "it has not learnt"
        )
    loaded = load_checkpoint(tmp_path / "model.pt")
    again = predict(loaded.network, data.test, loaded.task, settings)
    assert np.array_equal(again, trained.predictions)
    cost = clip_cost(
        loaded.settings.architecture, data.spec, n_frames=data.n_frames, n_outputs=3, width=0.2
    )
    # 24 frames of 0.16 s are two windows of 2 s; 51 units.
    assert cost.gmac == 2 * (8 * 51 + 51 * 3) / 1e9


def test_the_task_that_the_page_adds_is_learnt_scored_and_loaded_by_its_name(
    data, printed, tmp_path, monkeypatch
):
    regression = printed("Add a task")
    monkeypatch.setitem(TASKS, "regression", regression.Regression)
    settings = dataclasses.replace(SETTINGS, task="regression", batch_size=36)  # one batch
    trained = train_to_checkpoint(tmp_path / "model.pt", data, settings, progress=False)

    torch.manual_seed(settings.seed)
    network = new_network(settings, data.spec, n_frames=data.n_frames, n_outputs=3)
    outputs = (
        network(torch.stack([data.train[i].values for i in range(len(data.train))]))
        .detach()
        .numpy()
    )
    first = np.square(outputs - data.train.labels).mean()
    # Clips are in another order: batch norm sums differ in their last bits.
    assert trained.training.losses[0] == pytest.approx(first, rel=1e-4)
    assert trained.training.losses[-1] < trained.training.losses[0]
    with torch.inference_mode():
        outputs = trained.checkpoint.network(
            torch.stack([data.test[i].values for i in range(len(data.test))])
        )
    np.testing.assert_allclose(trained.predictions, outputs, atol=1e-6)  # no sigmoid
    errors = np.square(data.test.labels - trained.predictions)
    assert trained.training.test == regression.RegressionScores(mse=float(errors.mean()))
    log = [json.loads(line) for line in (tmp_path / "model.pt.jsonl").read_text().splitlines()]
    best = max(log, key=lambda epoch: epoch["validation_neg_mse"])
    assert trained.training.best_epoch == best["epoch"]
    assert trained.training.validation.mse == -best["validation_neg_mse"]
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.task == regression.Regression(tags=data.tags)
    assert (loaded.training.validation, loaded.training.test) == (
        trained.training.validation,
        trained.training.test,
    )
