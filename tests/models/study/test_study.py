import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading

import numpy as np
import pytest
import torch
from tqdm import tqdm

import models.study.study
from featurestore import FeatureStore
from featurestore.errors import RunError, SpecError, TrainingError, UnknownSpecError
from featurestore.specs.encoding import Encoding
from featurestore.specs.perturbation import Condition
from models.data import training_data
from models.evaluation.metrics import bootstrap, evaluate
from models.networks.cost import macs_table
from models.study.comparison import compare
from models.study.results import IDENTITY, identity, read_results
from models.study.study import study
from models.training.loop import train
from models.training.predict import predict
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, epochs=2, batch_size=9, device="cpu", amp="off")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def run(store, path, **arguments):
    usual = {"settings": SETTINGS, "runs": 2, "progress": False}
    return study([store], path, **usual | arguments)


def lasting(rows):
    """What does not depend on how fast the machine was, in an order of its own."""
    kept = [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
    return sorted(kept, key=lambda row: str(identity(row)))


def test_a_study_of_classes_is_compared_as_any_other_and_keeps_what_is_confused(
    toy_store, write_store, path
):
    spec = toy_store.specs[0]
    loud = toy_store.clips["loud"][:35]
    store = write_store(
        {spec: toy_store[spec].read(range(35))},
        tags={"loud": loud, "quiet": 1 - loud},
        split=toy_store.clips["split"][:35],
    )
    said = []
    settings = dataclasses.replace(SETTINGS, task="classification", class_weights="balanced")
    rows = run(store, path, settings=settings, say=said.append)
    assert rows == read_results(path)[0]
    assert rows[0]["task"] == "classification"
    assert rows[0]["classes"] == ["loud", "quiet"]
    assert np.trace(rows[0]["confusion"]) == pytest.approx(8 * rows[0]["accuracy"])
    assert rows[0].keys() >= {"validation_accuracy", "recall_per_class", "f1", "loss"}
    assert "accuracy" in said[-1]
    comparison = compare(rows)
    assert {"classification", "class weights balanced"} <= {*comparison.common}
    assert run(store, path, settings=settings, say=said.append) == rows  # not done again
    assert said[-1] == "2 of 2 runs were done before"
    with pytest.raises(TrainingError, match=r"clip 'clip \d+' has .* of the 3 classes"):
        run(toy_store, path, settings=settings)


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
    assert row["roc_auc"] == trained.training.test.roc_auc
    assert row["pr_auc_per_tag"] == trained.training.test.pr_auc_per_tag
    assert row["best_epoch"] == trained.training.best_epoch
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
    costs = macs_table([toy_store.specs[0]], width=0.03, n_tags=3, duration=23 * 2560 / 16000)
    (expected,) = costs.json()
    row = run(toy_store, path, specs=["sr16000-mel8-x10-db"], runs=1)[0]
    assert expected["n_frames"] == row["n_frames"]
    assert (row["gmac"], row["parameters"]) == (expected["gmac"], expected["parameters"])


def test_what_is_done_is_not_done_again(toy_store, path, monkeypatch):
    first = run(toy_store, path, runs=1)
    trained = []

    def counting(data, settings, **rest):
        trained.append((data.spec.name, settings.seed))
        return train(data, settings, **rest)

    monkeypatch.setattr(models.study.study, "train", counting)
    said = []
    rows = run(toy_store, path, runs=2, say=said.append)

    assert trained == [("sr16000-mel8-x10-db", 1), ("sr16000-mel16-x10-db", 1)]
    assert [r for r in rows if r["seed"] == 0] == first
    assert said[0] == "2 of 4 runs were done before"
    assert said[1].startswith("3/4 sr16000-mel8-x10-db vgg seed 1: ROC AUC 0.")


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

    monkeypatch.setattr(models.study.study, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        run(toy_store, path)
    with path.open("a") as file:
        file.write(json.dumps(whole[2])[:50])  # what a kill in the middle of a write leaves
    said = []
    rows = run(toy_store, path, say=said.append)

    assert "the last line was cut short (50 bytes) and is dropped" in said[0]

    assert lasting(rows) == lasting(whole)
    assert read_results(path) == (rows, None)


def test_folds_are_runs_of_their_own(toy_store, path):
    rows = run(toy_store, path, specs=toy_store.specs[:1], runs=1, folds=[0, 2])
    assert [row["fold"] for row in rows] == [0, 2]
    assert {row["n_test"] for row in rows} <= {8, 9}
    assert rows[0]["data"] == rows[1]["data"]


def test_with_folds_other_clips_train_in_each_run_the_same_ones_for_all_specs(toy_store, path):
    rows = run(toy_store, path, folds=[0])
    assert [(row["seed"], row["partition"]) for row in rows] == [(0, 0), (1, 1)] * 2
    positives = [row["n_positive_per_tag"] for row in rows]
    assert positives[:2] == positives[2:]
    assert set(positives[0]) == {"loud", "tilted", "coin"}
    assert len({row["data"] for row in rows}) == 1


def test_rows_of_the_stores_own_folds_are_continued_when_weights_alone_vary(toy_store, path):
    usual = {"specs": toy_store.specs[:1], "folds": [0]}
    (row,) = run(toy_store, path, runs=1, vary="weights", **usual)
    assert row["partition"] is None
    del row["partition"]  # as rows of old
    path.write_text(json.dumps(row) + "\n")
    said = []
    rows = run(toy_store, path, vary="weights", say=said.append, **usual)
    assert rows[0] == row
    assert said[0] == "1 of 2 runs were done before"
    run(toy_store, path, runs=1, say=said.append, **usual)
    assert "1 rows of the file are of the store's own folds" in said[2]


def test_a_store_without_splits_or_folds_is_tested_on_folds_that_are_drawn(
    toy_store, path, write_store
):
    spec, clips = toy_store.specs[0], toy_store.clips
    store = write_store({spec: toy_store[spec].read(range(35))}, tags={"loud": clips["loud"][:35]})
    said = []
    rows = run(store, path, runs=1, say=said.append)
    assert "neither splits nor folds: 5 folds are drawn" in said[0]
    assert [(row["fold"], row["partition"]) for row in rows] == [(f, 0) for f in range(5)]
    assert sum(row["n_test"] for row in rows) == 35


def test_training_clips_of_fixed_splits_are_drawn_again_where_asked(toy_store, path):
    rows = run(toy_store, path, specs=toy_store.specs[:1], vary="clips")
    assert [(row["partition"], row["n_train"], row["n_test"]) for row in rows] == [
        (0, 18, 8),
        (1, 18, 8),
    ]


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
        ({"jobs": 0}, TrainingError, "jobs is 0; it must be at least 1"),
        ({"jobs": 2, "scheduler": "tcp://host:1"}, TrainingError, "jobs is 2; with a scheduler"),
        ({"vary": "all"}, TrainingError, "vary is 'all'; it must be weights or clips"),
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
    digest = training_data(toy_store, coarse["spec"]).digest
    seed = int(hashlib.sha256(f"{digest} None".encode()).hexdigest()[:8], 16)  # as in rows of old
    for row in (coarse, fine):
        trained = train(training_data(toy_store, row["spec"]), SETTINGS, progress=False)
        roc, pr = bootstrap(trained.targets, trained.predictions, seed=seed)
        assert row["bootstrap_roc_auc"] == pytest.approx(roc, abs=1e-5)
        assert row["bootstrap_pr_auc"] == pytest.approx(pr, abs=1e-5)


@pytest.mark.slow
def test_jobs_and_dask_workers_give_the_same_numbers_as_one_process(
    toy_store, path, tmp_path, scheduler
):
    rows = run(toy_store, path, threads=1)
    said = []
    parallel = run(toy_store, tmp_path / "jobs.jsonl", threads=1, jobs=2, say=said.append)
    on_dask = run(toy_store, tmp_path / "dask.jsonl", scheduler=scheduler)  # its own one thread
    assert lasting(parallel) == lasting(rows)
    assert lasting(on_dask) == lasting(rows)
    assert [line.split()[0] for line in said] == ["1/4", "2/4", "3/4", "4/4"]


def test_a_network_of_the_users_own_is_studied_by_its_version(toy_store, path, my_net):
    usual = {"models": ["vgg", f"{my_net}:MyNet"], "specs": toy_store.specs[:1], "runs": 1}
    (vgg, own) = run(toy_store, path, **usual)
    assert vgg["model"] == "vgg"
    assert re.fullmatch(r"MyNet-[0-9a-f]{8}", own["model"])
    assert own["gmac"] == 8 * 3 / 1e9
    assert run(toy_store, path, **usual) == [vgg, own]  # nothing is done again
    my_net.write_text(my_net.read_text().replace("mean(2)", "amax(2)"))
    (_, changed) = run(toy_store, path, **usual)
    assert changed["model"] != own["model"]
    assert [row["model"] for row in read_results(path)[0]] == [
        "vgg",
        own["model"],
        changed["model"],
    ]
    assert {p.model for p in compare(read_results(path)[0]).points} == {
        "vgg",
        own["model"],
        changed["model"],
    }


@pytest.mark.slow
def test_own_networks_are_found_again_by_jobs_and_dask_workers(
    toy_store, path, tmp_path, my_net, scheduler
):
    usual = {"models": [f"{my_net}:MyNet"], "specs": toy_store.specs[:1]}
    rows = run(toy_store, path, threads=1, **usual)
    parallel = run(toy_store, tmp_path / "jobs.jsonl", threads=1, jobs=2, **usual)
    on_dask = run(toy_store, tmp_path / "dask.jsonl", scheduler=scheduler, **usual)
    assert lasting(parallel) == lasting(on_dask) == lasting(rows)

    # Here the version is known that the file was once; workers that begin now find another.
    pinned = TrainSettings(model=f"{my_net}:MyNet").model
    my_net.write_text(my_net.read_text().replace("mean(2)", "amax(2)"))
    with pytest.raises(RunError, match=r"2 of 2 runs failed.*my_net\.py is of version"):
        run(toy_store, tmp_path / "other.jsonl", jobs=2, **usual | {"models": [pinned]})


def test_threads_are_set_for_a_run_alone_and_recorded(toy_store, path):
    (row,) = run(toy_store, path, specs=toy_store.specs[:1], runs=1, threads=2)
    assert row["threads"] == 2
    assert torch.get_num_threads() == 1


def test_a_spec_enters_once_for_each_encoding_that_a_store_has_it_in(toy_store, write_store, path):
    spec, clips = toy_store.specs[0], toy_store.clips
    values = np.zeros((36, spec.n_mels, 24), np.float32)
    values[:35] = toy_store[spec].read(range(35))
    float32 = write_store(
        {spec: values},
        tags={tag: clips[tag] for tag in toy_store.tags},
        split=clips["split"],
        fold=clips["fold"],
        failed=[35],
        encoding=Encoding(name="float32"),
    )
    said = []
    usual = {"settings": SETTINGS, "runs": 1, "progress": False, "say": said.append}
    rows = study([toy_store, float32], path, **usual)
    assert [(row["spec"], row["encoding"]) for row in rows] == [
        ("sr16000-mel8-x10-db", "float16"),
        ("sr16000-mel16-x10-db", "float16"),  # the other store lacks it
        ("sr16000-mel8-x10-db", "float32"),
    ]
    assert len({row["data"] for row in rows}) == 1
    assert rows[2]["bytes_per_clip"] > rows[0]["bytes_per_clip"]
    assert not any("cannot be compared" in line for line in said)
    assert said[2].startswith("3/3 sr16000-mel8-x10-db vgg seed 0 float32: ROC AUC 0.")
    named = study([toy_store, float32], path, specs=["sr16000-mel16-x10-db"], **usual)
    assert named == rows[1:2]


def test_stores_of_other_clips_are_told_apart(toy_store, write_store, path):
    spec, clips = toy_store.specs[0], toy_store.clips
    other = write_store(
        {spec: toy_store[spec].read(range(35))},
        tags={tag: clips[tag][:35] for tag in toy_store.tags},
        split=clips["split"][:35],
        encoding=Encoding(name="float32"),
    )
    said = []
    study(
        [toy_store, other], path, settings=SETTINGS, specs=[spec], runs=1, say=said.append,
        progress=False,
    )  # fmt: skip
    assert said[0].startswith(
        "these are not the same ready clips, splits and tags, and their scores cannot be compared: "
        f"{spec.name} of {toy_store.path} ("
    )


def test_the_same_spec_and_encoding_from_two_stores_is_refused(toy_store, path):
    with pytest.raises(TrainingError, match=r"mel8-x10-db as float16 is in .* and in .*; leave"):
        study([toy_store, FeatureStore.open(toy_store.path)], path, settings=SETTINGS)


def test_a_view_is_a_point_as_any_other(toy_store, path):
    (row,) = run(toy_store, path, specs=["sr16000-mel8-x20-db"], runs=1)
    assert (row["spec"], row["n_frames"]) == ("sr16000-mel8-x20-db", 12)
    # What is stored for it is what it is cut from.
    assert row["bytes_per_clip"] == training_data(toy_store, toy_store.specs[0]).bytes_per_clip


CONDITIONS = ["clean", "gain0", "noise0.1"]


def test_a_trained_network_is_tested_under_each_condition_that_is_stored(perturbed_store, path):
    usual = {"specs": perturbed_store.specs[:1], "conditions": ["all"]}
    rows = run(perturbed_store, path, **usual)
    assert [(row["condition"], row["seed"]) for row in rows] == [
        (condition, seed) for seed in (0, 1) for condition in CONDITIONS
    ]
    clean, same, noisy = rows[:3]
    assert {row["spec"] for row in rows} == {"sr16000-mel8-x10-db"}
    scores = ("roc_auc", "pr_auc", "roc_auc_per_tag", "bootstrap_roc_auc", "bootstrap_pr_auc")
    assert {f: same[f] for f in scores} == {f: clean[f] for f in scores}
    assert noisy["bootstrap_roc_auc"] != clean["bootstrap_roc_auc"]
    assert same["weights"] == noisy["weights"] == clean["weights"] != rows[3]["weights"]
    assert (noisy["train_seconds"], noisy["n_test"], noisy["gmac"]) == (0, 8, clean["gmac"])
    # As the clean row is without conditions, and as the network would say of these clips.
    (alone, _) = run(perturbed_store, path.with_name("clean.jsonl"), specs=usual["specs"])
    assert lasting([alone]) == lasting([clean])
    data = training_data(perturbed_store, "sr16000-mel8-x10-db")
    trained = train(data, SETTINGS, progress=False)
    clips = training_data(perturbed_store, "sr16000-mel8-x10-db~noise0.1").test
    predictions = predict(trained.checkpoint.network, clips, trained.checkpoint.task, SETTINGS)
    assert noisy["roc_auc"] == evaluate(clips.labels, predictions, data.tags).roc_auc


def test_perturbed_specs_are_trained_on_only_if_they_are_named(perturbed_store, path):
    assert {row["spec"] for row in run(perturbed_store, path, runs=1)} == {
        "sr16000-mel8-x10-db",
        "sr16000-mel16-x10-db",
    }
    named = ["sr16000-mel8-x10-db~noise0.1"]
    rows = run(perturbed_store, path, runs=1, specs=named, conditions=["all"])
    assert [(row["spec"], row["condition"]) for row in rows] == [
        (named[0], condition) for condition in ("noise0.1", "clean", "gain0")
    ]


def test_a_store_of_perturbed_specs_alone_says_that_they_must_be_named(
    toy_store, path, write_store
):
    spec, clips = toy_store.specs[0], toy_store.clips
    store = write_store(
        {spec.under(Condition.parse("gain1")): toy_store[spec].read(range(35))},
        tags={"loud": clips["loud"][:35]},
        split=clips["split"][:35],
    )
    with pytest.raises(
        TrainingError, match=r"no spec of the kind mel, of clean audio, .*; name specs"
    ):
        run(store, path)


def test_a_spec_served_as_a_view_is_tested_under_conditions_too(perturbed_store, path):
    rows = run(perturbed_store, path, runs=1, specs=["sr16000-mel8-x20-db"], conditions=["gain0"])
    assert [row["condition"] for row in rows] == ["clean", "gain0"]
    assert rows[0]["roc_auc"] == rows[1]["roc_auc"]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            ["noise0.4"],
            "holds no sr16000-mel8-x10-db~noise0.4; the conditions .* gain0, noise0.1; ",
        ),
        (["smc2020"], "holds no sr16000-mel8-x10-db~stretch0.707; .*featurize --perturb stretch0"),
        (["nose0.1"], "'nose0.1' is no perturbation"),
    ],
)
def test_a_condition_that_is_not_stored_is_refused_before_the_first_run(
    perturbed_store, path, conditions, message
):
    with pytest.raises((TrainingError, SpecError), match=message):
        run(perturbed_store, path, conditions=conditions)
    assert not path.exists()


def test_a_store_without_conditions_says_how_to_make_some(toy_store, path):
    with pytest.raises(TrainingError, match=r"another condition in .*featurize --perturb smc"):
        run(toy_store, path, conditions=["all"])


@pytest.mark.parametrize("kept", range(7))
def test_a_study_under_conditions_cut_short_anywhere_continues_to_the_same_rows(
    perturbed_store, tmp_path, path, kept
):
    usual = {"specs": perturbed_store.specs[:1], "conditions": ["all"]}
    whole = run(perturbed_store, tmp_path / "whole.jsonl", **usual)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:kept]) + ("" if kept == 6 else lines[kept][:40]))
    said = []
    rows = run(perturbed_store, path, say=said.append, **usual)
    assert lasting(rows) == lasting(whole)
    assert read_results(path) == (rows, None)
    assert ("1 of 2 runs were not tested under all" in " ".join(said)) == (kept % 3 > 0)


def test_conditions_are_added_to_a_study_that_was_run_without(perturbed_store, tmp_path, path):
    usual = {"specs": perturbed_store.specs[:1]}
    clean = run(perturbed_store, path, **usual)
    for row in clean:  # as rows of old
        del row["condition"], row["weights"], row["partition"]
    path.write_text("".join(json.dumps(row) + "\n" for row in clean))
    said = []
    rows = run(perturbed_store, path, conditions=["noise0.1"], say=said.append, **usual)
    assert said[0].startswith("2 of 2 runs were not tested under all conditions: they are trained")
    assert rows[:2] == clean
    assert [row["condition"] for row in rows[2:]] == ["noise0.1"] * 2
    more = run(perturbed_store, path, conditions=["all"], **usual)
    assert more[:4] == rows
    assert [row["condition"] for row in more[4:]] == ["gain0"] * 2
    assert run(perturbed_store, path, conditions=["all"], **usual) == more


def test_a_training_that_came_to_other_weights_is_added_anew_whole(perturbed_store, path):
    usual = {"specs": perturbed_store.specs[:1], "runs": 1}
    (row,) = run(perturbed_store, path, **usual)
    path.write_text(json.dumps(row | {"weights": "feedfeedfeed"}) + "\n")
    rows = run(perturbed_store, path, conditions=["all"], **usual)
    assert [row["condition"] for row in rows] == ["clean", *CONDITIONS]
    assert [r["weights"] == row["weights"] for r in rows] == [False, True, True, True]
    assert run(perturbed_store, path, conditions=["all"], **usual) == rows


def test_runs_from_draws_are_other_runs_and_say_so(drawn_store, path):
    plain = run(drawn_store, path, runs=1)
    said = []
    from_draws = dataclasses.replace(SETTINGS, draws=True)
    drawn = run(drawn_store, path, runs=2, settings=from_draws, say=said.append)
    assert [row["draws"] for row in plain] == [None]
    assert [row["draws"] for row in drawn] == ["3 draws of pitch-5:5 p0.5"] * 2
    assert {row["condition"] for row in drawn} == {"clean"}
    notes = [line for line in said if "have no draw" in line]
    assert len(notes) == 1
    assert run(drawn_store, path, runs=2, settings=from_draws) == drawn  # done before
    comparison = compare(read_results(path)[0])
    assert sorted(str(point.label) for point in comparison.points) == [
        "mel8 x10", "mel8 x10 3 draws of pitch-5:5 p0.5"
    ]  # fmt: skip
    data = training_data(drawn_store, drawn_store.specs[0], draws=True)
    trained = train(data, from_draws, progress=False)
    assert drawn[0]["roc_auc"] == trained.training.test.roc_auc


def test_a_study_from_draws_that_are_not_there_is_refused_before_the_first_run(toy_store, path):
    with pytest.raises(TrainingError, match="holds no random draws"):
        run(toy_store, path, settings=dataclasses.replace(SETTINGS, draws=True))
    assert not path.exists()


def test_a_run_that_fails_does_not_end_the_others(toy_store, path, monkeypatch):
    def diverging(data, settings, **rest):
        if settings.seed == 0 and data.spec.n_mels == 8:
            raise TrainingError("the loss is nan")
        return train(data, settings, **rest)

    monkeypatch.setattr(models.study.study, "train", diverging)
    said = []
    with pytest.raises(
        RunError,
        match=r"1 of 4 runs failed, .* in .*results\.jsonl; sr16000-mel8-x10-db vgg seed 0: the",
    ):
        run(toy_store, path, say=said.append)
    assert said[0] == "1/4 sr16000-mel8-x10-db vgg seed 0 failed: the loss is nan"
    assert len(read_results(path)[0]) == 3
    monkeypatch.undo()
    assert len(run(toy_store, path)) == 4


def test_if_all_runs_fail_no_rows_of_others_are_promised(toy_store, path, monkeypatch):
    def diverging(data, settings, **rest):
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(models.study.study, "train", diverging)
    with pytest.raises(RunError, match=r"4 of 4 runs failed, and so there are no rows of them; "):
        run(toy_store, path)


def test_a_store_that_changes_meanwhile_is_an_error(toy_store, path, monkeypatch):
    monkeypatch.setattr(
        models.study.study._Trainer, "__call__", lambda self, run: [dict.fromkeys(IDENTITY, "")]
    )
    with pytest.raises(RunError, match=r"was changed while its specs were trained on; run the"):
        run(toy_store, path)
    assert read_results(path)[0] == []


KILLS = 8


def nursery(connection, store, path, arguments):
    """Fork studies one by one, on demand: what is imported at the first is there already."""
    torch.set_num_threads(1)
    run(store, path.with_name("first.jsonl"), **arguments)
    while connection.recv():
        child = os.fork()
        if child == 0:
            # tqdm's own is shared by forked processes: one killed with it would stop all others.
            tqdm.set_lock(threading.RLock())
            run(store, path, **arguments)
            os._exit(0)
        connection.send(child)
        connection.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.mark.slow
def test_a_study_killed_at_any_moment_and_run_again_ends_with_the_same_rows(
    perturbed_store, tmp_path, path
):
    """Moments are counted in bytes of results, and a little later: a row is some 14 kB."""
    arguments = {"folds": [0, 1, 2, 3], "threads": 1, "runs": 1, "conditions": ["noise0.1"]}
    wanted = run(perturbed_store, tmp_path / "wanted.jsonl", **arguments)
    n_bytes = (tmp_path / "wanted.jsonl").stat().st_size
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    parent = context.Process(
        target=nursery, args=(theirs, perturbed_store, path, arguments), daemon=True
    )
    parent.start()
    path.touch()
    rng = np.random.default_rng(0)
    n_kills = 0
    while True:
        ours.send(True)
        victim = ours.recv()
        if n_kills < KILLS:
            moment = path.stat().st_size + rng.integers(2 * n_bytes // KILLS)
            while not ours.poll(0.002) and path.stat().st_size < moment:
                pass
            if not ours.poll(rng.uniform(0, 0.1)):
                os.kill(victim, signal.SIGKILL)
        code = ours.recv()
        assert code in (0, -signal.SIGKILL)
        n_kills += code == -signal.SIGKILL
        if code == 0 and n_kills == KILLS:
            break
        if code == 0:  # done too soon: take the second half back
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    ours.send(False)
    parent.join()
    rows, note = read_results(path)
    assert note is None
    assert lasting(rows) == lasting(wanted)


def test_a_network_that_none_of_the_specs_is_for_is_refused(toy_store, path):
    with pytest.raises(TrainingError, match="sample takes specs of the kind wave, and none of"):
        study(
            [toy_store], path, settings=SETTINGS, models=("vgg", "sample"), runs=1, progress=False
        )
    assert not path.exists()
