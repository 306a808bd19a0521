import dataclasses

import numpy as np
import pytest
import torch

from featurestore.errors import TrainingError
from models.data import training_data
from models.recipes import RECIPES
from models.settings import TrainSettings
from models.train import predict, train

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


def test_the_test_splits_probabilities_and_labels_come_back_in_the_clips_order(data, trained):
    assert np.array_equal(trained.truth, data.test.labels)
    assert np.array_equal(trained.scores, predict(trained.network, data.test, SETTINGS))
    assert trained.inference_seconds_per_clip > 0


@pytest.mark.parametrize("augment", ["none", "specaugment", "mixup"])
@pytest.mark.parametrize("recipe", ["ferraro2020", "modern"])
def test_every_recipe_with_every_augmentation_learns_and_is_repeatable(data, recipe, augment):
    settings = dataclasses.replace(
        SETTINGS, recipe=recipe, augment=augment, epochs=16, learning_rate=5e-3
    )
    first, again = (train(data, settings, progress=False) for _ in range(2))
    assert first.test.roc_auc_per_tag["loud"] > 0.9
    assert first.losses == again.losses
    assert np.array_equal(first.scores, again.scores)


def test_the_modern_recipe_stops_where_validation_does_not_rise(data, monkeypatch):
    import models.train

    judge = models.train.evaluate
    falling = iter(np.linspace(0.9, 0.1, 41))
    monkeypatch.setattr(
        "models.train.evaluate",
        lambda *args: dataclasses.replace(judge(*args), pr_auc=next(falling)),
    )
    settings = dataclasses.replace(SETTINGS, recipe="modern", epochs=40)
    trained = train(data, settings, progress=False)
    assert trained.best_epoch == 1
    assert len(trained.losses) == 1 + RECIPES["modern"].patience
