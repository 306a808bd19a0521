import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch

from featurestore.errors import OutputError, TrainingError
from models.data import training_data
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.training.loop import predict, train
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, epochs=2, batch_size=6, seed=1, device="cpu", amp="off")


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


@pytest.fixture
def trained(data):
    return train(data, SETTINGS, progress=False)


def test_a_checkpoint_gives_back_what_was_saved(data, trained, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, trained)
    loaded = load_checkpoint(path)

    other = ("network", "settings", "truth", "scores")
    same = [f.name for f in dataclasses.fields(trained) if f.name not in other]
    assert {n: getattr(loaded, n) for n in same} == {n: getattr(trained, n) for n in same}
    assert loaded.settings == dataclasses.replace(SETTINGS, device="auto")
    assert loaded.truth.shape == loaded.scores.shape == (0, 3)  # not kept
    assert not loaded.network.training
    before = predict(trained.network, data.test, SETTINGS)
    assert np.array_equal(predict(loaded.network, data.test, SETTINGS), before)
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("model", ["vgg", "musicnn"])
def test_networks_of_segments_and_their_normalisation_come_back_too(data, tmp_path, model):
    settings = dataclasses.replace(SETTINGS, model=model, recipe="modern")
    trained = train(data, settings, progress=False)
    save_checkpoint(tmp_path / "model.pt", trained)
    loaded = load_checkpoint(tmp_path / "model.pt").network
    assert np.array_equal(predict(loaded, data.test, settings), trained.scores)
    mean, std = data.train.band_statistics()
    values = data.test[0].values
    torch.testing.assert_close(loaded[0](values), (values - mean[:, None]) / std[:, None])


def test_a_checkpoint_is_tensors_and_json_and_runs_no_code(trained, tmp_path):
    save_checkpoint(tmp_path / "model.pt", trained)
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(saved) == {"format", "metadata", "weights"}
    assert json.loads(saved["metadata"])["tags"] == ["loud", "tilted", "coin"]

    class Code:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"format": "melgrid-checkpoint-2", "metadata": Code()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match="is not a melgrid checkpoint"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_cannot_be_written_is_an_error(trained, tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        save_checkpoint(tmp_path / "none" / "model.pt", trained)


def test_what_is_no_checkpoint_is_refused(trained, tmp_path):
    with pytest.raises(TrainingError, match="there is no checkpoint at"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"format": "melgrid-checkpoint-9"}, tmp_path / "newer.pt")
    with pytest.raises(TrainingError, match="format 'melgrid-checkpoint-9', this melgrid reads"):
        load_checkpoint(tmp_path / "newer.pt")
    save_checkpoint(tmp_path / "cut.pt", trained)
    content = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "cut.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"format": "melgrid-checkpoint-2"}))
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "pickle.pt")
