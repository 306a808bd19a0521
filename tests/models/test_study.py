import dataclasses
import json

import pytest

import models.study
from featurestore.errors import TrainingError, UnknownSpecError
from models.data import training_data
from models.macs import macs_table
from models.metrics import bootstrap
from models.results import read_results
from models.settings import TrainSettings
from models.study import study
from models.train import train

SETTINGS = TrainSettings(width=0.03, epochs=2, batch_size=9, device="cpu", amp="off")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def run(store, path, **arguments):
    usual = {"settings": SETTINGS, "runs": 2, "progress": False}
    return study(store, path, **usual | arguments)


def test_each_run_is_a_row_that_says_what_was_done_and_what_came_out(toy_store, path):
    rows = run(toy_store, path)
    assert rows == read_results(path)[0]
    assert [(row["spec"], row["seed"]) for row in rows] == [
        ("sr16000-mel8-x10-db", 0),
        ("sr16000-mel8-x10-db", 1),
        ("sr16000-mel16-x10-db", 0),
        ("sr16000-mel16-x10-db", 1),
    ]
    row = rows[1]
    data = training_data(toy_store, "sr16000-mel8-x10-db")
    trained = train(data, dataclasses.replace(SETTINGS, seed=1), progress=False)
    assert row["roc_auc"] == trained.test.roc_auc
    assert row["pr_auc_per_tag"] == trained.test.pr_auc_per_tag
    assert row["best_epoch"] == trained.best_epoch
    expected = {
        "model": "vgg",
        "width": 0.03,
        "fold": None,
        "encoding": "float16",
        "n_frames": 24,
        "n_segments": 1,
        "n_tags_scored": 3,
        "recipe": "ferraro2020",
        "augment": "none",
        "tags_left_out": [],
        "epochs": 2,
        "n_train": 18,
        "n_validation": 9,
        "n_test": 8,
        "bytes_per_clip": data.bytes_per_clip,
        "device": "cpu",
        "bf16": False,
    }
    assert {field: row[field] for field in expected} == expected
    assert set(row["versions"]) == {"melgrid", "numpy", "scikit-learn", "torch"}


def test_cost_is_the_macs_tables(toy_store, path):
    # 24 frames at hop x10 are those of 3.7 s: 23 hops of 2560 samples at 16 kHz.
    (expected,) = macs_table([toy_store.specs[0]], width=0.03, n_tags=3, duration=23 * 2560 / 16000)
    row = run(toy_store, path, specs=["sr16000-mel8-x10-db"], runs=1)[0]
    assert expected["n_frames"] == row["n_frames"]
    assert (row["gmac"], row["parameters"]) == (expected["gmac"], expected["parameters"])


def test_what_is_done_is_not_done_again(toy_store, path, monkeypatch):
    first = run(toy_store, path, runs=1)
    trained = []

    def counting(data, settings, **rest):
        trained.append((data.spec.name, settings.seed))
        return train(data, settings, **rest)

    monkeypatch.setattr(models.study, "train", counting)
    said = []
    rows = run(toy_store, path, runs=2, say=said.append)

    assert trained == [("sr16000-mel8-x10-db", 1), ("sr16000-mel16-x10-db", 1)]
    assert [r for r in rows if r["seed"] == 0] == first
    assert said[0] == "1/4 sr16000-mel8-x10-db vgg seed 0: done before"
    assert said[1].startswith("2/4 sr16000-mel8-x10-db vgg seed 1: ROC AUC 0.")


def test_other_settings_are_other_runs(toy_store, path):
    spec = toy_store.specs[:1]
    run(toy_store, path, specs=spec, runs=1)
    for change in ({"epochs": 1}, {"width": 0.02}, {"batch_size": 6}, {"learning_rate": 0.01}):
        settings = dataclasses.replace(SETTINGS, **change)
        assert len(run(toy_store, path, specs=spec, runs=1, settings=settings)) == 1
    assert len(run(toy_store, path, specs=spec, runs=1, tags=["loud"])) == 1
    assert len(read_results(path)[0]) == 6


def test_an_interrupted_study_continues_to_the_same_rows(toy_store, path, tmp_path, monkeypatch):
    whole = run(toy_store, tmp_path / "whole.jsonl")
    calls = []

    def killed(*args, **rest):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*args, **rest)

    monkeypatch.setattr(models.study, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        run(toy_store, path)
    with path.open("a") as file:
        file.write(json.dumps(whole[2])[:50])  # what a kill in the middle of a write leaves
    said = []
    rows = run(toy_store, path, say=said.append)

    assert "the last line was cut short (50 bytes) and is dropped" in said[0]

    def lasting(rows):
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]

    assert lasting(rows) == lasting(whole)
    assert read_results(path) == (rows, None)


def test_folds_are_runs_of_their_own(toy_store, path):
    rows = run(toy_store, path, specs=toy_store.specs[:1], runs=1, folds=[0, 2])
    assert [row["fold"] for row in rows] == [0, 2]
    assert [row["n_test"] for row in rows] == [9, 9]
    assert rows[0]["data"] == rows[1]["data"]


def test_a_store_of_folds_alone_is_tested_on_all_of_them(toy_store, path, write_store):
    spec = toy_store.specs[0]
    clips = toy_store.clips
    store = write_store(
        {spec: toy_store[spec].read(range(35))},
        tags={"loud": clips["loud"][:35]},
        fold=clips["fold"][:35],
    )
    assert [row["fold"] for row in run(store, path, runs=1)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"runs": 0}, TrainingError, "runs is 0; it must be at least 1"),
        ({"models": ["resnet"]}, TrainingError, "model is 'resnet'"),
        ({"specs": ["sr16000-mel8-x10-db", "sr16000-mel9-x1-db"]}, UnknownSpecError, "mel9"),
        ({"folds": [0, 9]}, TrainingError, "fold is 9; it must be one of 0, 1, 2, 3"),
        ({"tags": ["quiet"]}, TrainingError, "the store has no tag quiet"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_the_first_is_begun(
    toy_store, path, arguments, error, message
):
    with pytest.raises(error, match=message):
        run(toy_store, path, **arguments)
    assert not path.exists()


def test_replicates_are_of_the_scores_and_paired_between_specs(toy_store, path):
    coarse, fine = run(toy_store, path, runs=1)
    data = training_data(toy_store, coarse["spec"])
    for row in (coarse, fine):
        trained = train(training_data(toy_store, row["spec"]), SETTINGS, progress=False)
        seed = models.study._bootstrap_seed(data)
        roc, pr = bootstrap(trained.truth, trained.scores, seed=seed)
        assert row["bootstrap_roc_auc"] == pytest.approx(roc, abs=1e-5)
        assert row["bootstrap_pr_auc"] == pytest.approx(pr, abs=1e-5)
