import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch

from featurestore.errors import TrainingError
from models.data import training_data
from models.train import TrainSettings, load_checkpoint, predict, save_checkpoint, train

SETTINGS = TrainSettings(width=0.03, epochs=8, batch_size=6, seed=1, device="cpu", amp="off")


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


@pytest.fixture
def trained(data):
    return train(data, SETTINGS, progress=False)


def test_what_is_easy_is_learnt_and_a_coin_is_not(data, trained):
    per_tag = trained.test.roc_auc_per_tag
    assert per_tag["loud"] > 0.9
    assert per_tag["tilted"] > 0.9
    assert per_tag["coin"] < 0.9
    assert trained.losses[-1] < trained.losses[0]
    assert len(trained.losses) == SETTINGS.epochs


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(data, trained):
    again = train(data, SETTINGS, progress=False)
    other = train(data, dataclasses.replace(SETTINGS, seed=2), progress=False)
    assert again.losses == trained.losses
    assert again.test == trained.test
    for name, values in trained.network.state_dict().items():
        assert torch.equal(values, again.network.state_dict()[name])
    assert other.losses != trained.losses


def test_the_callers_random_numbers_are_left_alone(data):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(data, dataclasses.replace(SETTINGS, epochs=1), progress=False)
    assert torch.equal(torch.rand(1), expected)


def test_a_split_too_large_to_be_held_trains_to_the_same_numbers(data, trained, monkeypatch):
    monkeypatch.setattr("models.train.HOLD_BYTES", 0)
    data = training_data_again(data)
    read = train(data, SETTINGS, progress=False)
    assert not data.train.held
    assert read.losses == trained.losses


def training_data_again(data):
    """The same splits, nothing held yet."""
    splits = {}
    for name in ("train", "validation", "test"):
        old = getattr(data, name)
        splits[name] = type(old)(old._array, old._rows, old.labels)
    return dataclasses.replace(data, **splits)


def test_kept_is_the_first_epoch_with_the_best_validation_pr_auc(data, monkeypatch):
    import models.train

    seen = []
    judge = models.train.evaluate

    def scripted(truth, scores, tags):
        # Validation is judged once an epoch, test once at the end.
        result = judge(truth, scores, tags)
        pr_auc = [0.2, 0.7, 0.5, 0.7, 0.0][len(seen)]
        seen.append(scores)
        return dataclasses.replace(result, pr_auc=pr_auc)

    monkeypatch.setattr("models.train.evaluate", scripted)
    trained = train(data, dataclasses.replace(SETTINGS, epochs=4), progress=False)

    assert trained.best_epoch == 2
    assert trained.validation.pr_auc == 0.7
    # The network that is returned is that epoch's: it says what was judged then.
    assert np.array_equal(predict(trained.network, data.validation, SETTINGS), seen[1])
    assert not np.array_equal(seen[1], seen[3])


def test_probabilities_are_in_the_clips_order(data, trained):
    whole = predict(trained.network, data.test, SETTINGS)
    assert whole.shape == (8, 3)
    assert whole.min() >= 0
    assert whole.max() <= 1
    values, _ = data.test[5]
    with torch.inference_mode():
        alone = trained.network(values[None]).sigmoid()
    np.testing.assert_allclose(whole[5], alone[0], atol=1e-6)  # float32, other batch size


def test_bf16_trains_and_scores_in_float32(data):
    trained = train(data, dataclasses.replace(SETTINGS, amp="bf16"), progress=False)
    assert trained.test.roc_auc_per_tag["loud"] > 0.9
    assert {p.dtype for p in trained.network.parameters()} == {torch.float32}


def test_progress_is_shown_on_stderr_and_can_be_silenced(data, capsys):
    short = dataclasses.replace(SETTINGS, epochs=1)
    train(data, short, progress=False)
    assert capsys.readouterr() == ("", "")
    train(data, short, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "sr16000-mel8-x10-db" in err


def test_a_loss_that_is_no_number_ends_the_training(data):
    data.train.hold()
    data.train._held[0] = torch.inf
    with pytest.raises(
        TrainingError, match=r"the loss is nan in epoch 1 .*learning_rate below 0.0"
    ):
        train(data, SETTINGS, progress=False)


def test_a_checkpoint_gives_back_what_was_saved(data, trained, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, trained)
    loaded = load_checkpoint(path)

    same = [f.name for f in dataclasses.fields(trained) if f.name not in ("network", "settings")]
    assert {n: getattr(loaded, n) for n in same} == {n: getattr(trained, n) for n in same}
    assert loaded.settings == dataclasses.replace(SETTINGS, device="auto")
    assert not loaded.network.training
    before = predict(trained.network, data.test, SETTINGS)
    assert np.array_equal(predict(loaded.network, data.test, SETTINGS), before)
    assert list(tmp_path.glob("*.partial")) == []


def test_a_checkpoint_is_tensors_and_json_and_runs_no_code(trained, tmp_path):
    save_checkpoint(tmp_path / "model.pt", trained)
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(saved) == {"format", "metadata", "weights"}
    assert json.loads(saved["metadata"])["tags"] == ["loud", "tilted", "coin"]

    class Code:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"format": "melgrid-checkpoint-1", "metadata": Code()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match="is not a melgrid checkpoint"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_cannot_be_written_is_an_error(trained, tmp_path):
    with pytest.raises(TrainingError, match="cannot be written: No such file or directory"):
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
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"format": "melgrid-checkpoint-1"}))
    with pytest.raises(TrainingError, match="not a melgrid checkpoint, or is damaged"):
        load_checkpoint(tmp_path / "pickle.pt")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "resnet"}, "model is 'resnet'; it must be one of vgg"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number from 1"),
        ({"batch_size": 1.5}, "batch_size is 1.5; it must be a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"epochs": True}, "epochs is True"),
        ({"width": 0}, "width is 0; it must be above 0 and at most 16"),
        ({"width": "wide"}, "width is 'wide'; it must be a number"),
        ({"learning_rate": 2}, "learning_rate is 2; it must be above 0 and at most 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"amp": "fp8"}, "amp is 'fp8'; it must be one of auto, bf16, off"),
        ({"device": "tpu9"}, "device is 'tpu9', which torch does not find here; use auto or cpu"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(TrainingError, match=message):
        TrainSettings(**setting)


def test_settings_read_back_and_unknown_keys_are_refused_by_name():
    assert TrainSettings.from_json(dataclasses.asdict(SETTINGS)) == SETTINGS
    with pytest.raises(TrainingError, match="unknown training settings: epoch, widht"):
        TrainSettings.from_json({"widht": 1, "epoch": 2})


def test_amp_is_as_asked():
    assert TrainSettings(device="cpu", amp="bf16").autocast()
    assert not TrainSettings(device="cpu", amp="off").autocast()
