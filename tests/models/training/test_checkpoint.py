import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from featurestore.errors import OutputError, TrainingError
from models.data import training_data
from models.networks import ARCHITECTURES
from models.tasks.tagging import Tagging
from models.training.checkpoint import Checkpoint, load_checkpoint, new_network, save_checkpoint
from models.training.loop import train
from models.training.predict import predict
from models.training.settings import TrainSettings
from tests.models.networks.kinds import SPECS
from tests.models.networks.norms import randomize_norms

SETTINGS = TrainSettings(width=0.03, epochs=2, batch_size=6, seed=1, device="cpu", amp="off")


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


@pytest.fixture
def trained(data):
    return train(data, SETTINGS, progress=False)


def test_a_checkpoint_gives_back_what_was_saved(data, trained, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, trained.checkpoint)
    loaded = load_checkpoint(path)

    for field in ("spec", "n_frames", "tags", "training", "source"):
        assert getattr(loaded, field) == getattr(trained.checkpoint, field)
    assert loaded.settings == dataclasses.replace(SETTINGS, device="auto")
    assert not loaded.network.training
    before = predict(trained.checkpoint.network, data.test, trained.checkpoint.task, SETTINGS)
    assert np.array_equal(predict(loaded.network, data.test, loaded.task, SETTINGS), before)
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("model", ["vgg", "musicnn"])
def test_networks_of_windows_and_their_normalisation_come_back_too(data, tmp_path, model):
    settings = dataclasses.replace(SETTINGS, model=model, recipe="modern")
    trained = train(data, settings, progress=False)
    save_checkpoint(tmp_path / "model.pt", trained.checkpoint)
    loaded = load_checkpoint(tmp_path / "model.pt").network
    assert np.array_equal(
        predict(loaded, data.test, trained.checkpoint.task, settings), trained.predictions
    )
    mean, std = data.train.band_statistics()
    values = data.test[0].values
    torch.testing.assert_close(loaded[0](values), (values - mean[:, None]) / std[:, None])


def test_a_checkpoint_of_an_own_network_is_loaded_where_the_user_says_its_file(
    data, tmp_path, my_net
):
    settings = dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet", recipe="modern")
    trained = train(data, settings, progress=False)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, trained.checkpoint)
    _, metadata, weights = saved(path)
    assert metadata["settings"]["model"] == settings.architecture.name
    assert str(tmp_path) not in json.dumps(metadata)

    with pytest.raises(TrainingError, match=r"MyNet-\w{8} is a network from a file of its maker"):
        load_checkpoint(path)
    loaded = load_checkpoint(path, model=f"{my_net}:MyNet")
    assert loaded.settings == dataclasses.replace(settings, device="auto")
    assert np.array_equal(
        predict(loaded.network, data.test, loaded.task, settings), trained.predictions
    )
    my_net.write_text(my_net.read_text() + "# better\n")
    with pytest.raises(TrainingError, match="the file was changed since"):
        load_checkpoint(path, model=f"{my_net}:MyNet")

    evil = tmp_path / "evil.py"  # whoever sends both, a checkpoint and a file
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + my_net.read_text())
    metadata["settings"]["model"] = f"{evil}:MyNet"
    save_file(weights, path, {"format": "melgrid-checkpoint-3", "metadata": json.dumps(metadata)})
    for model in (None, f"{my_net}:MyNet"):
        with pytest.raises(TrainingError, match="never names another one to run"):
            load_checkpoint(path, model=model)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_every_network_comes_back_with_all_that_it_holds(model, tmp_path):
    settings = TrainSettings(model=model, width=0.03, device="cpu")
    spec = SPECS[settings.architecture.accepts][-1]
    torch.manual_seed(0)
    n_frames = spec.n_frames(2 * spec.sr)
    network = new_network(settings, spec, n_frames=n_frames, n_outputs=2).eval()
    randomize_norms(network)
    checkpoint = Checkpoint(
        network=network, spec=spec, n_frames=n_frames, tags=("a", "b"), settings=settings,
        training=None,
    )  # fmt: skip
    save_checkpoint(tmp_path / "model.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "model.safetensors").network

    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, values in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], values), name
    frames = settings.architecture.window_frames(spec, n_frames)
    values = torch.randn(2, spec.n_bands, frames)
    with torch.inference_mode():
        assert torch.equal(loaded(values), network(values))


def saved(path):
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata()
    return said["format"], json.loads(said["metadata"]), weights


CHECKPOINTS = Path(__file__).with_name("checkpoints")
"""Two that melgrid wrote before checkpoints said their task, and what they came to then."""


@pytest.mark.parametrize(("name", "n_frames"), [("vgg-ferraro2020", 137), ("musicnn-modern", 14)])
def test_a_checkpoint_from_before_tasks_is_taggings_and_predicts_the_same(name, n_frames):
    expected = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    loaded = load_checkpoint(CHECKPOINTS / f"{name}.pt")
    assert loaded.settings.task == "tagging"
    assert loaded.task == Tagging(tags=("bass", "drums", "voice"))
    assert (loaded.training.best_epoch, list(loaded.training.losses)) == (
        expected["best_epoch"],
        expected["losses"],
    )
    validation = json.loads(json.dumps(loaded.training.validation.json()))
    assert {name: validation[name] for name in expected["validation"]} == expected["validation"]
    assert sorted(loaded.network.state_dict()) == expected["state_dict"]
    values = torch.sin(torch.arange(2 * 8 * n_frames, dtype=torch.float64)).reshape(2, 8, n_frames)
    with torch.inference_mode():
        probabilities = loaded.network((-40 + 30 * values).float()).sigmoid()
    # Other processors sum in another order.
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-5)


def test_a_checkpoint_names_its_task_and_one_that_is_not_known_is_refused(trained, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, trained.checkpoint)
    form, metadata, weights = saved(path)
    assert metadata["settings"]["task"] == "tagging"
    metadata["settings"]["task"] = "mood"
    save_file(weights, path, {"format": form, "metadata": json.dumps(metadata)})
    with pytest.raises(TrainingError, match="task is 'mood'; it must be one of tagging"):
        load_checkpoint(path)


def test_a_checkpoint_is_safetensors_with_json_and_runs_no_code(trained, tmp_path):
    save_checkpoint(tmp_path / "model.safetensors", trained.checkpoint)
    _, metadata, weights = saved(tmp_path / "model.safetensors")
    assert metadata["tags"] == ["loud", "tilted", "coin"]
    assert weights.keys() == trained.checkpoint.network.state_dict().keys()

    class Code:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"format": "melgrid-checkpoint-2", "metadata": Code()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match="is not a melgrid checkpoint"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_cannot_be_written_is_an_error(trained, tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        save_checkpoint(tmp_path / "none" / "model.pt", trained.checkpoint)


def test_what_is_no_checkpoint_is_refused(trained, tmp_path):
    with pytest.raises(TrainingError, match="there is no checkpoint at"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"format": "melgrid-checkpoint-9"}, tmp_path / "newer.pt")
    with pytest.raises(TrainingError, match="format 'melgrid-checkpoint-9', this melgrid reads"):
        load_checkpoint(tmp_path / "newer.pt")
    save_checkpoint(tmp_path / "cut.pt", trained.checkpoint)
    content = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "cut.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"format": "melgrid-checkpoint-2"}))
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "pickle.pt")
