import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from models.data import training_data
from models.tasks import TASKS
from models.tasks.tagging import Tagging
from models.training.checkpoint import load_checkpoint
from models.training.loop import _Training, train, train_to_checkpoint
from models.training.predict import predict
from models.training.recipes import RECIPES, Recipe
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, epochs=8, batch_size=6, seed=1, device="cpu", amp="off")


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


@pytest.fixture
def trained(data):
    return train(data, SETTINGS, progress=False)


def test_what_is_easy_is_learnt_and_a_coin_is_not(data, trained):
    per_tag = trained.training.test.roc_auc_per_tag
    assert per_tag["loud"] > 0.9
    assert per_tag["tilted"] > 0.9
    assert per_tag["coin"] < 0.9
    assert trained.training.losses[-1] < trained.training.losses[0]
    assert len(trained.training.losses) == SETTINGS.epochs


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(data, trained):
    again = train(data, SETTINGS, progress=False)
    other = train(data, dataclasses.replace(SETTINGS, seed=2), progress=False)
    assert again.training.losses == trained.training.losses
    assert again.training.test == trained.training.test
    for name, values in trained.checkpoint.network.state_dict().items():
        assert torch.equal(values, again.checkpoint.network.state_dict()[name])
    assert other.training.losses != trained.training.losses


@pytest.mark.parametrize("number", ["weight_decay", "warm_up"])
def test_a_number_that_is_given_takes_the_place_of_the_recipes(data, number):
    given = {"width": 0.03, "epochs": 2, "batch_size": 6, "recipe": "modern", "amp": "off"}
    own = getattr(RECIPES["modern"], number)
    losses = [
        train(data, TrainSettings(**given | changed), progress=False).training.losses
        for changed in ({}, {number: own}, {number: 0.5})
    ]
    assert losses[0] == losses[1] != losses[2]


def test_each_epoch_is_told_and_what_that_raises_ends_the_training(data):
    told = []

    def after_epoch(epoch):
        told.append(epoch["epoch"])
        if epoch["epoch"] == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        train(data, SETTINGS, progress=False, after_epoch=after_epoch)
    assert told == [1, 2]


def test_the_callers_random_numbers_are_left_alone(data):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(data, dataclasses.replace(SETTINGS, epochs=1), progress=False)
    assert torch.equal(torch.rand(1), expected)


def test_a_split_too_large_to_be_cached_trains_to_the_same_numbers(data, trained, monkeypatch):
    monkeypatch.setattr("models.training.loop.CACHE_LIMIT", 0)
    data = training_data_again(data)
    read = train(data, SETTINGS, progress=False)
    assert not data.train.cached
    assert read.training.losses == trained.training.losses


def training_data_again(data):
    """The same splits, nothing cached yet."""
    splits = {}
    for name in ("train", "validation", "test"):
        old = getattr(data, name)
        splits[name] = type(old)(old._array, old._rows, old.labels)
    return dataclasses.replace(data, **splits)


@pytest.fixture
def scripted(monkeypatch):
    """A task, by the name of ``scripted``, with PR AUCs from a list; the predictions it saw."""
    pr_aucs, seen = [], []

    class Scripted(Tagging):
        def evaluate(self, targets, predictions):
            seen.append(predictions)
            scores = super().evaluate(targets, predictions)
            return dataclasses.replace(scores, pr_auc=pr_aucs[len(seen) - 1])

    monkeypatch.setitem(TASKS, "scripted", Scripted)
    return pr_aucs, seen


def test_the_first_epoch_with_the_best_monitored_score_is_kept(data, scripted):
    pr_aucs, seen = scripted
    pr_aucs += [0.2, 0.7, 0.5, 0.7]  # of validation, once an epoch
    pr_aucs += [0.0]  # of test, once at the end
    settings = dataclasses.replace(SETTINGS, task="scripted", epochs=4)
    trained = train(data, settings, progress=False)

    assert trained.training.best_epoch == 2
    assert trained.training.validation.pr_auc == 0.7
    # The network that is returned is that epoch's: it predicts what was evaluated then.
    again = predict(trained.checkpoint.network, data.validation, trained.checkpoint.task, settings)
    assert np.array_equal(again, seen[1])
    assert not np.array_equal(seen[1], seen[3])


def test_bf16_trains_and_scores_in_float32(data):
    trained = train(data, dataclasses.replace(SETTINGS, amp="bf16"), progress=False)
    assert trained.training.test.roc_auc_per_tag["loud"] > 0.9
    assert {p.dtype for p in trained.checkpoint.network.parameters()} == {torch.float32}


def test_progress_is_shown_on_stderr_and_can_be_silenced(data, capsys):
    short = dataclasses.replace(SETTINGS, epochs=1)
    train(data, short, progress=False)
    assert capsys.readouterr() == ("", "")
    train(data, short, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "sr16000-mel8-x10-db" in err


def test_a_loss_that_is_no_number_ends_the_training(data):
    data.train.preload()
    data.train._cached[0][0] = torch.inf
    with pytest.raises(
        TrainingError, match=r"the loss is nan in epoch 1 .*learning_rate below 0.0"
    ):
        train(data, SETTINGS, progress=False)


def test_the_test_splits_predictions_and_labels_come_back_in_the_clips_order(data, trained):
    assert np.array_equal(trained.targets, data.test.labels)
    again = predict(trained.checkpoint.network, data.test, trained.checkpoint.task, SETTINGS)
    assert np.array_equal(trained.predictions, again)
    assert trained.training.inference_seconds_per_clip > 0


@pytest.mark.parametrize("augment", ["none", "specaugment", "mixup"])
@pytest.mark.parametrize("recipe", ["ferraro2020", "modern"])
def test_every_recipe_with_every_augmentation_learns_and_is_repeatable(data, recipe, augment):
    settings = dataclasses.replace(
        SETTINGS, recipe=recipe, augment=augment, epochs=16, learning_rate=5e-3
    )
    first, again = (train(data, settings, progress=False) for _ in range(2))
    assert first.training.test.roc_auc_per_tag["loud"] > 0.9
    assert first.training.losses == again.training.losses
    assert np.array_equal(first.predictions, again.predictions)


def test_a_stage_goes_on_from_the_best_weights_with_its_optimiser_and_rate(data, monkeypatch):
    made = []
    real = Recipe.optimizer

    def optimizer(recipe, network, learning_rate, stage=0):
        made.append((stage, {k: v.clone() for k, v in network.state_dict().items()}))
        return real(recipe, network, learning_rate, stage)

    monkeypatch.setattr(Recipe, "optimizer", optimizer)
    settings = dataclasses.replace(SETTINGS, recipe="won2020", epochs=10, learning_rate=0.01)
    state_rates = []
    training = _Training(data, settings)
    for _ in range(settings.epochs):
        best = dict(training._best_weights)
        state_rates.append(training.run_epoch(lambda: None)["learning_rate"])
        if len(training.epochs) == 5:  # SGD began before this epoch
            before_sgd = best
    assert state_rates == pytest.approx([0.01] * 4 + [0.1] + [0.01] + [0.001] * 4)
    assert [stage for stage, _ in made] == [0, 1]  # the other stages change SGD's rate alone
    assert all(torch.equal(values, before_sgd[name]) for name, values in made[1][1].items())


def accumulating(monkeypatch, n, **changes):
    recipe = dataclasses.replace(RECIPES["ferraro2020"], accumulate=n, **changes)
    monkeypatch.setitem(RECIPES, "ferraro2020", recipe)


def test_batches_that_share_a_step_are_one_large_batch(data, monkeypatch, my_net):
    settings = dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet", width=1, epochs=2)
    large = train(data, settings, progress=False)
    accumulating(monkeypatch, 3)
    small = train(data, dataclasses.replace(settings, batch_size=2), progress=False)
    apart = dataclasses.replace(RECIPES["ferraro2020"], accumulate=1)
    monkeypatch.setitem(RECIPES, "ferraro2020", apart)
    other = train(data, dataclasses.replace(settings, batch_size=2), progress=False)
    for name, values in large.checkpoint.network.state_dict().items():
        found, away = (t.checkpoint.network.state_dict()[name] for t in (small, other))
        torch.testing.assert_close(found, values, rtol=0, atol=1e-5)
        assert not torch.allclose(away, values, atol=1e-4)
    assert small.training.losses == pytest.approx(large.training.losses, rel=1e-4)


def test_batches_that_are_left_at_an_epochs_end_share_a_step_of_their_own(
    data, monkeypatch, my_net
):
    accumulating(monkeypatch, 2, linear=True)
    settings = dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet", width=1, batch_size=4)
    training = _Training(data, settings)
    assert len(training.batches) == 5  # of 18 clips
    rates = [training.run_epoch(lambda: None)["learning_rate"] for _ in range(2)]
    steps = {int(state["step"]) for state in training._optimizer.state.values()}
    assert steps == {6}
    n_steps = 3 * settings.epochs
    assert rates == pytest.approx([1e-3 * (1 - last / n_steps) for last in (2, 5)])


def test_a_network_without_batch_norm_takes_a_batch_of_one(data, my_net):
    old = data.train
    single = dataclasses.replace(data, train=type(old)(old._array, old._rows[:17], old.labels[:17]))
    settings = dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet", width=1, batch_size=2)
    assert _Training(single, settings).batches.order.smallest == 1
    with pytest.raises(TrainingError, match="leave a batch of 1, and batch norm needs 2"):
        _Training(single, dataclasses.replace(SETTINGS, batch_size=2))


def test_a_recipe_may_keep_the_epoch_of_the_lowest_loss(data, monkeypatch):
    losses = iter([0.9, 0.3, 0.5, 0.3, 0.0])  # of validation, once an epoch; then of test
    real = Tagging.evaluate

    def evaluate(task, targets, predictions):
        return dataclasses.replace(real(task, targets, predictions), loss=next(losses))

    monkeypatch.setattr(Tagging, "evaluate", evaluate)
    settings = dataclasses.replace(SETTINGS, recipe="mtat-report-1", epochs=4)
    assert train(data, settings, progress=False).training.best_epoch == 2


def test_the_modern_recipe_stops_where_validation_does_not_rise(data, scripted):
    pr_aucs, _ = scripted
    pr_aucs += np.linspace(0.9, 0.1, 41).tolist()
    settings = dataclasses.replace(SETTINGS, task="scripted", recipe="modern", epochs=40)
    trained = train(data, settings, progress=False)
    assert trained.training.best_epoch == 1
    assert len(trained.training.losses) == 1 + RECIPES["modern"].patience


@pytest.mark.parametrize(
    ("recipe", "n_done"), [("modern", 2), ("won2020", 1), ("won2020", 2), ("won2020", 4)]
)
def test_a_training_that_was_ended_goes_on_to_the_very_same_weights(data, tmp_path, recipe, n_done):
    settings = dataclasses.replace(
        SETTINGS, recipe=recipe, augment="specaugment", epochs=6, learning_rate=5e-3
    )
    whole = train(data, settings, progress=False)
    state = tmp_path / "state"
    ended = _ended_after(n_done, data, settings, state)
    again = train(data, settings, state=state, progress=False)
    assert len(ended) == n_done
    assert again.training.losses == whole.training.losses
    assert (again.training.best_epoch, again.training.validation, again.training.test) == (
        whole.training.best_epoch,
        whole.training.validation,
        whole.training.test,
    )
    for name, values in whole.checkpoint.network.state_dict().items():
        assert torch.equal(values, again.checkpoint.network.state_dict()[name])


@pytest.mark.slow
def test_a_killed_melgrid_train_goes_on_when_run_again_to_the_very_same_weights(
    toy_store, data, tmp_path
):
    path = tmp_path / "model.pt"
    command = [
        *(sys.executable, "-c", "from cli import melgrid; melgrid()", "train", toy_store.path),
        *("--spec", toy_store.specs[0].name, "-o", str(path), "--device", "cpu", "--amp", "off"),
        *("--width", "0.03", "--epochs", "20", "--batch-size", "6", "--recipe", "modern"),
    ]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    log = tmp_path / "model.pt.jsonl"
    os.mkfifo(log)  # a line comes out of it after each epoch
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=one_thread)
    with log.open("rb") as lines:
        epochs = [json.loads(lines.readline())["epoch"] for _ in range(5)]
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    log.unlink()
    assert epochs == [1, 2, 3, 4, 5]
    assert not path.exists()
    assert (tmp_path / "model.pt.state").exists()

    again = subprocess.run(command, capture_output=True, text=True, env=one_thread, check=True)
    assert "saved in" in again.stdout
    first, *_ = again.stderr.splitlines()
    assert not first.startswith(f"{toy_store.specs[0].name}: 0 of ")  # it did not begin anew

    settings = TrainSettings(
        recipe="modern", width=0.03, epochs=20, batch_size=6, device="cpu", amp="off"
    )
    whole, loaded = train(data, settings, progress=False), load_checkpoint(path)
    assert (loaded.training.losses, loaded.training.test) == (
        whole.training.losses,
        whole.training.test,
    )
    for name, values in whole.checkpoint.network.state_dict().items():
        assert torch.equal(values, loaded.network.state_dict()[name])
    log = (tmp_path / "model.pt.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in log] == list(whole.training.losses)


def drawn(store, **options):
    return training_data(store, store.specs[0], draws=True, **options)


@pytest.mark.parametrize("augment", ["none", "specaugment", "mixup"])
def test_a_training_from_draws_that_was_ended_goes_on_to_the_very_same_weights(
    drawn_store, tmp_path, augment
):
    settings = dataclasses.replace(SETTINGS, draws=True, augment=augment, epochs=4)
    data, state = drawn(drawn_store), tmp_path / "state"
    whole = train(data, settings, progress=False)
    _ended_after(2, data, settings, state)
    again = train(drawn(drawn_store), settings, state=state, progress=False)
    assert again.training.losses == whole.training.losses
    for name, values in whole.checkpoint.network.state_dict().items():
        assert torch.equal(values, again.checkpoint.network.state_dict()[name])
    clean = training_data(drawn_store, drawn_store.specs[0])
    plain = train(clean, dataclasses.replace(settings, draws=False), progress=False)
    assert plain.training.losses != whole.training.losses


def test_a_checkpoint_says_whether_it_was_trained_from_draws(drawn_store, tmp_path):
    settings = dataclasses.replace(SETTINGS, draws=True, epochs=1)
    train_to_checkpoint(tmp_path / "model.pt", drawn(drawn_store), settings, progress=False)
    assert load_checkpoint(tmp_path / "model.pt").settings.draws


def test_a_state_of_other_draws_is_not_gone_on_from(drawn_store, tmp_path):
    settings = dataclasses.replace(SETTINGS, draws=True)
    data, state = drawn(drawn_store), tmp_path / "state"
    _ended_after(1, data, settings, state)
    other = dataclasses.replace(data, draws="3 draws of pitch-2:2 p0.5")
    with pytest.raises(TrainingError, match=r"differs \(draws 3 draws of pitch-5:5 p0\.5, now 3"):
        train(other, settings, state=state, progress=False)


def test_data_and_settings_agree_about_draws(data, drawn_store):
    for settings, made in (
        (SETTINGS, drawn(drawn_store)),
        (dataclasses.replace(SETTINGS, draws=True), data),
    ):
        with pytest.raises(TrainingError, match=r"give training_data\(draws="):
            train(made, settings, progress=False)


def _ended_after(n_epochs, data, settings, state):
    """Interrupt a training once it has written its state `n_epochs` times; its losses so far."""
    import models.training.loop

    losses = []
    save = models.training.loop.save_state

    def interrupted(path, identity, saved):
        save(path, identity, saved)
        losses.append(saved["epochs"][-1]["loss"])
        if len(losses) == n_epochs:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models.training.loop, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, settings, state=state, progress=False)
    return losses


@pytest.mark.parametrize("change", [{"epochs": 7}, {"seed": 5}, {"augment": "mixup"}])
def test_other_settings_do_not_go_on_from_a_state(data, tmp_path, change):
    _ended_after(1, data, SETTINGS, tmp_path / "state")
    with pytest.raises(TrainingError, match=f"differs .{next(iter(change))} .*delete it to start"):
        train(
            data,
            dataclasses.replace(SETTINGS, **change),
            state=tmp_path / "state",
            progress=False,
        )


def test_another_version_of_an_own_network_does_not_go_on_from_a_state(data, tmp_path, my_net):
    own = dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet")
    _ended_after(1, data, own, tmp_path / "state")
    my_net.write_text(my_net.read_text().replace("mean(2)", "amax(2)"))
    other = dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet")
    with pytest.raises(TrainingError, match=r"differs \(model MyNet-\w{8}, now MyNet-\w{8}\)"):
        train(data, other, state=tmp_path / "state", progress=False)
    elsewhere = tmp_path / "elsewhere.py"  # and where the file lies is not asked
    elsewhere.write_text(my_net.read_text().replace("amax(2)", "mean(2)"))
    moved = dataclasses.replace(SETTINGS, model=f"{elsewhere}:MyNet")
    train(data, moved, state=tmp_path / "state", progress=False)


def test_what_goes_wrong_in_an_own_network_in_training_is_a_line(data, my_net):
    my_net.write_text(my_net.read_text().replace("values.mean(2)", "values.mean(2) @ values"))
    with pytest.raises(TrainingError, match=r"my_net\.py:11: RuntimeError: "):
        train(data, dataclasses.replace(SETTINGS, model=f"{my_net}:MyNet"), progress=False)


def test_other_data_does_not_go_on_from_a_state(toy_store, data, tmp_path):
    _ended_after(1, data, SETTINGS, tmp_path / "state")
    other = training_data(toy_store, toy_store.specs[0], tags=["loud"])
    with pytest.raises(TrainingError, match=r"differs \(data "):
        train(other, SETTINGS, state=tmp_path / "state", progress=False)


def test_a_checkpoint_has_its_log_beside_it_and_no_state_once_it_is_there(data, tmp_path):
    path = tmp_path / "model.pt"
    trained = train_to_checkpoint(path, data, SETTINGS, progress=False)
    assert load_checkpoint(path).training.losses == trained.training.losses
    lines = [json.loads(line) for line in (tmp_path / "model.pt.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert [line["loss"] for line in lines] == list(trained.training.losses)
    best = max(lines, key=lambda line: line["validation_pr_auc"])
    assert best["validation_pr_auc"] == trained.training.validation.pr_auc
    assert best["validation_roc_auc"] <= 1
    assert {line["learning_rate"] for line in lines} == {SETTINGS.learning_rate}
    assert sorted(file.name for file in tmp_path.glob("model*")) == ["model.pt", "model.pt.jsonl"]


def test_too_few_clips_for_batch_norm_are_refused(write_store):
    """Three clips by two are batches of two and of one."""
    spec = FeatureSpec(sr=16000, n_mels=8, hop=10)
    store = write_store(
        {spec: np.zeros((7, 8, 24), np.float32)},
        tags={"odd": np.arange(7) % 2},
        split=["train"] * 3 + ["validation"] * 2 + ["test"] * 2,
    )
    with pytest.raises(
        TrainingError,
        match=r"3 training clips in batches of at most 2.* leave a batch of 1, and batch norm",
    ):
        train(
            training_data(store, spec), dataclasses.replace(SETTINGS, batch_size=2), progress=False
        )


def test_a_checkpoint_that_would_be_a_folder_is_refused_before_training(data, tmp_path):
    with pytest.raises(TrainingError, match=r"the checkpoint .* is a folder; name a file"):
        train_to_checkpoint(tmp_path, data, SETTINGS, progress=False)
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))


def test_one_tag_is_enough(toy_store):
    data = training_data(toy_store, toy_store.specs[0], tags=["loud"])
    trained = train(data, SETTINGS, progress=False)
    assert trained.predictions.shape == (8, 1)
    assert trained.training.test.roc_auc > 0.9
