"""Tuning: as many trials as asked for, none twice, whoever is killed."""

import dataclasses
import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from featurestore.errors import TrainingError, TrainingSettingsError
from models.data import training_data
from models.training.loop import train_to_checkpoint
from models.training.settings import TrainSettings
from models.transfer.initial import Initial
from models.tuning.outcome import options_of
from models.tuning.space import Space
from models.tuning.tune import _shared, tune

GIVEN = {"width": 0.03, "epochs": 2, "batch_size": 9, "device": "cpu", "amp": "off"}
SPACES = [Space.parse("learning_rate=log:1e-4:1e-1"), Space.parse("batch_size=6,9")]


@pytest.fixture
def data(toy_store):
    return training_data(toy_store, toy_store.specs[0])


def run(data, path, **arguments):
    usual = {"spaces": SPACES, "given": GIVEN, "trials": 3, "progress": False}
    return tune(data, path, **usual | arguments)


def values_of(tuning):
    return [dict(trial.settings) for trial in tuning.trials]


def test_the_best_trial_is_that_of_the_best_epoch_on_the_validation_split(
    data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = run(data, "tune.jsonl", trials=4)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    for trial in found.trials:
        assert trial.value == max(trial.epochs)
        assert 1e-4 <= trial.settings["learning_rate"] <= 1e-1
        assert trial.settings["batch_size"] in (6, 9)
        assert trial.test.keys() >= {"roc_auc", "pr_auc"}
    assert found.best.value == max(trial.value for trial in found.trials)
    assert found.importance.keys() == {"learning_rate", "batch_size"}
    assert sum(found.importance.values()) == pytest.approx(1)
    lines = found.lines()
    assert lines[0].startswith(f"best: pr_auc {found.best.value:.4f} on the validation split")
    assert max(map(len, lines)) <= 80
    assert json.loads(json.dumps(found.json()))["best"]["number"] == found.best.number


def test_running_again_adds_the_trials_that_lack_as_if_there_had_been_no_pause(data, tmp_path):
    whole = run(data, tmp_path / "whole.jsonl", trials=4)
    said = []
    run(data, tmp_path / "parts.jsonl", trials=2)
    found = run(data, tmp_path / "parts.jsonl", trials=4, say=said.append)
    assert values_of(found) == values_of(whole)
    assert [t.epochs for t in found.trials] == [t.epochs for t in whole.trials]
    assert len(said) == 4  # two lines a trial
    again = run(data, tmp_path / "parts.jsonl", trials=4, say=lambda line: pytest.fail(line))
    assert again == found


def test_a_file_is_of_one_tuning(data, toy_store, tmp_path):
    path = tmp_path / "tune.jsonl"
    run(data, path, trials=1)
    given = {**GIVEN, "width": 0.05}
    with pytest.raises(TrainingError, match=r"another tuning \(width 0.03, now 0.05\); name"):
        run(data, path, given=given)
    with pytest.raises(TrainingError, match=r"another tuning \(spaces .*batch_size.*, now"):
        run(data, path, spaces=SPACES[:1])
    with pytest.raises(TrainingError, match=r"another tuning .*spec sr16000-mel8-x10-db, now sr"):
        run(training_data(toy_store, toy_store.specs[1]), path)


def test_of_a_setting_that_is_searched_in_part_the_rest_is_common_to_all_trials():
    settings = {"width": 1.0, "device": "cpu", "adapter": {"kind": "lora", "rank": 2}, "epochs": 3}
    spaces = [Space.parse("adapter.rank=1,2"), Space.parse("epochs=1,2")]
    assert _shared(settings, spaces) == {"width": 1.0, "adapter": {"kind": "lora"}}


@pytest.mark.parametrize("content", [b"no journal\n", b"{}\n", b"[1]\n", b"\x00\xff\n{}\n"])
def test_a_file_that_is_no_journal_is_refused_and_stays(content, data, tmp_path):
    path = tmp_path / "tune.jsonl"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="is not a tuning's file"):
        run(data, path)
    assert path.read_bytes() == content


def test_a_line_that_a_kill_cut_short_does_no_harm(data, tmp_path):
    path = tmp_path / "tune.jsonl"
    whole = run(data, path, trials=2)
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    found = run(data, path, trials=3)
    assert values_of(found)[:2] == values_of(whole)
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.slow
def test_trials_below_the_median_are_given_up_and_count(data, tmp_path):
    spaces = [Space.parse("learning_rate=1e-3,1e-2,1e-6"), Space.parse("weight_decay=0:0.1")]
    given = {**GIVEN, "epochs": 5}
    found = run(data, tmp_path / "tune.jsonl", spaces=spaces, given=given, trials=10)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.epochs) < 5 for trial in pruned)
    assert all(trial.reason.startswith("given up after epoch") for trial in pruned)
    assert len(found.trials) == 10
    none = run(data, tmp_path / "all.jsonl", spaces=spaces, given=given, trials=10, prune=False)
    assert len(none.complete) == 10


def test_settings_that_cannot_be_trained_are_given_up_with_the_reason(data, tmp_path):
    spaces = [Space.parse("batch_size=9,17")]  # 18 clips in batches of 17 are of 9; of 9, too
    found = run(data, tmp_path / "tune.jsonl", spaces=spaces)
    assert len(found.complete) == 3
    odd = dataclasses.replace(data, train=data.train)
    odd.train.labels[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"none of 3 trials .* cannot be trained: the los"):
        run(odd, tmp_path / "odd.jsonl")


def test_a_metric_may_be_one_of_which_less_is_better(data, tmp_path):
    found = run(data, tmp_path / "tune.jsonl", metric="loss")
    assert found.best.value == min(trial.value for trial in found.trials)
    assert not found.maximise
    with pytest.raises(
        TrainingSettingsError, match=r"metric is 'acc'; .* scored by roc_auc, pr_au"
    ):
        run(data, tmp_path / "other.jsonl", metric="acc")


def test_trials_start_from_a_checkpoint_and_a_file_is_of_one_start(data, tmp_path):
    settings = TrainSettings(**GIVEN)
    train_to_checkpoint(tmp_path / "base", data, settings, progress=False)
    initial = Initial.open(tmp_path / "base")
    given = GIVEN | {"learning_rate": 1e-8, "epochs": 1}
    chosen = {"spaces": [Space.parse("batch_size=6,9")], "given": given, "trials": 1}
    found = run(data, tmp_path / "tune.jsonl", initial=initial, **chosen)
    begun = run(data, tmp_path / "fresh.jsonl", **chosen)
    assert found.best.test != begun.best.test
    with pytest.raises(TrainingError, match="initial"):
        run(data, tmp_path / "tune.jsonl", **chosen)


def test_what_is_best_is_said_in_options_of_train():
    settings = {"learning_rate": 0.001, "adapter.rank": 2, "adapter.layers": "10-11"}
    assert options_of(settings) == "--learning-rate 0.001 --rank 2 --adapt-layers 10-11"


def test_classes_are_tuned_for_accuracy_and_refused_where_there_are_none(
    data, toy_store, write_store, tmp_path
):
    given = {**GIVEN, "task": "classification"}
    with pytest.raises(TrainingError, match="of the 3 classes"):
        run(data, tmp_path / "none.jsonl", given=given)
    assert not (tmp_path / "none.jsonl").exists()
    spec, loud = toy_store.specs[0], toy_store.clips["loud"][:35]
    store = write_store(
        {spec: toy_store[spec].read(range(35))},
        tags={"loud": loud, "quiet": 1 - loud},
        split=toy_store.clips["split"][:35],
    )
    spaces = [Space.parse("class_weights=none,balanced")]
    found = run(training_data(store, spec), tmp_path / "tune.jsonl", spaces=spaces, given=given)
    assert found.metric == "accuracy"
    assert "accuracy" in found.best.test


def test_less_than_one_trial_is_refused(data, tmp_path):
    with pytest.raises(TrainingSettingsError, match="trials is 0; it must be at least 1"):
        run(data, tmp_path / "tune.jsonl", trials=0)


# Processes


PROCESS = """
import sys
from featurestore import FeatureStore
from models.data import training_data
from models.tuning.space import Space
from models.tuning.tune import tune

store, path, trials = sys.argv[1:]
given = {"width": 0.03, "epochs": 2, "batch_size": 9, "device": "cpu", "amp": "off"}
spaces = [Space.parse("learning_rate=log:1e-4:1e-1"), Space.parse("batch_size=6,9")]
data = training_data(FeatureStore.open(store), "sr16000-mel8-x10-db")
tune(data, path, spaces=spaces, given=given, trials=int(trials), prune=False, progress=False)
"""
"""The same as `run`."""


def begun(store, path, *, trials=6):
    return subprocess.Popen([sys.executable, "-c", PROCESS, store.path, str(path), str(trials)])


def ended(*processes):
    return [process.wait() for process in processes]


def until(condition):
    """Wait until it holds; a test that waits in vain is ended by the time limit of all tests."""
    while not condition():
        time.sleep(0.01)


def states(path):
    """How often each state was set, by the journal's own numbers."""
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return Counter(line["state"] for line in lines if line["op_code"] == 6)


@pytest.mark.slow
def test_killed_and_continued_by_two_processes_there_are_six_trials_and_none_twice(
    toy_store, tmp_path
):
    """The third is killed in the midst of its training, which is long."""
    path = tmp_path / "tune.jsonl"
    quick = run(training_data(toy_store, toy_store.specs[0]), tmp_path / "quick.jsonl", trials=6,
                prune=False)  # fmt: skip
    process = begun(toy_store, path)
    complete = 1  # optuna.trial.TrialState.COMPLETE
    until(lambda: path.exists() and states(path)[complete] >= 2)
    process.kill()
    process.wait()
    assert ended(*[begun(toy_store, path) for _ in range(2)]) == [0, 0]
    found = run(training_data(toy_store, toy_store.specs[0]), path, trials=6, prune=False)
    assert [trial.state for trial in found.trials] == ["complete"] * 6
    assert len({str(values) for values in values_of(found)}) == 6
    assert states(path)[complete] == 6
    # What was done before the kill, and at it, are those of an undisturbed tuning.
    assert values_of(found)[:3] == values_of(quick)[:3]


@pytest.mark.slow
def test_two_processes_from_the_beginning_share_the_trials(toy_store, tmp_path):
    path = tmp_path / "tune.jsonl"
    assert ended(*[begun(toy_store, path, trials=8) for _ in range(2)]) == [0, 0]
    found = run(training_data(toy_store, toy_store.specs[0]), path, trials=8, prune=False)
    assert [trial.number for trial in found.trials] == list(range(8))
    assert len({str(values) for values in values_of(found)}) == 8
