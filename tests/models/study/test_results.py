import dataclasses
import json
import math

import pytest

from featurestore.errors import OutputError, RunError, TrainingError, TrainingSettingsError
from models.networks.adapters import Adapter
from models.study.results import (
    IDENTITY,
    LATER,
    ResultsFile,
    identity,
    is_as_trained,
    read_results,
)
from models.study.runs import identity_fields
from models.training.settings import TrainSettings

ROW = {
    "data": "0123456789ab",
    "spec": "sr16000-mel48-x2-db",
    "encoding": "float16",
    "model": "vgg",
    "width": 0.125,
    "recipe": "ferraro2020",
    "augment": "none",
    "seed": 0,
    "fold": None,
    "epochs": 13,
    "batch_size": 32,
    "learning_rate": 0.001,
    "amp": "off",
    "roc_auc": 0.8,
    "pr_auc": 0.5,
    "gmac": 0.057,
    "parameters": 274000,
    "bytes_per_clip": 72000.0,
    "train_seconds": 10.5,
    "inference_seconds_per_clip": 0.01,
    "roc_auc_per_tag": {"rock": 0.8},
    "pr_auc_per_tag": {"rock": 0.5},
    "bootstrap_roc_auc": [0.79, 0.81],
    "bootstrap_pr_auc": [0.49, 0.51],
    "versions": {"melgrid": "0.1.0"},
}


def row(seed):
    return ROW | {"seed": seed}


def test_rows_come_back_as_they_were_added(tmp_path):
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        assert file.rows == []
        file.append(row(0))
    with ResultsFile(path) as file:
        assert file.rows == [row(0)]
        file.append(row(1) | {"more": {"näme": [1, None]}})
        assert len(file.rows) == 2
    rows, note = read_results(path)
    assert rows == [row(0), row(1) | {"more": {"näme": [1, None]}}]
    assert note is None
    assert len(path.read_text().splitlines()) == 2


def test_a_row_is_on_disk_as_soon_as_it_is_added(tmp_path):
    with ResultsFile(tmp_path / "results.jsonl") as file:
        file.append(row(0))
        assert read_results(tmp_path / "results.jsonl")[0] == [row(0)]


def test_a_last_line_cut_short_is_dropped_and_never_glued_to_the_next(tmp_path):
    path = tmp_path / "results.jsonl"
    whole = json.dumps(row(0)) + "\n"
    for kept in range(1, len(json.dumps(row(1))) + 1):
        path.write_text(whole + json.dumps(row(1))[:kept])

        rows, note = read_results(path)
        assert rows == [row(0)]
        assert "the last line was cut short" in note
        assert f"({kept} bytes)" in note

        with ResultsFile(path) as file:
            assert file.rows == [row(0)]
            assert file.note == note
            file.append(row(2))
        assert read_results(path) == ([row(0), row(2)], None)


def test_a_file_of_nothing_but_a_torn_line_starts_anew(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"spec": "sr16')
    with ResultsFile(path) as file:
        file.append(row(0))
    assert read_results(path) == ([row(0)], None)


def test_one_study_at_a_time_writes(tmp_path):
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        with pytest.raises(RunError, match=r"another study is writing to .*results\.jsonl"):
            ResultsFile(path)
        file.append(row(0))
    with ResultsFile(path) as file:
        assert file.rows == [row(0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"spec": ', r"results.jsonl:2 is not JSON .*correct or delete the line"),
        ("[1, 2]", "results.jsonl:2 is not a row"),
        (json.dumps(ROW | {"roc_auc": "high"}), "results.jsonl:2: roc_auc is 'high'; is this"),
        (json.dumps(ROW | {"spec": "mel48"}), "results.jsonl:2: 'mel48' is not a spec's name"),
        (json.dumps(ROW | {"seed": True}), "results.jsonl:2: seed is True"),
        ('{"spec": "sr16000-mel48-x2-db"}', "2: data is 'missing'; is this a file that melgrid"),
        (
            json.dumps({k: v for k, v in ROW.items() if k not in ("recipe", "augment")}),
            "results.jsonl:2 has no recipe, augment: another version of melgrid wrote it; name",
        ),
    ],
)
def test_a_whole_line_that_is_no_row_is_an_error_that_names_it_and_changes_nothing(
    tmp_path, line, message
):
    path = tmp_path / "results.jsonl"
    content = f"{json.dumps(ROW)}\n{line}\n{json.dumps(ROW)}\n"
    path.write_text(content)
    for reader in (read_results, ResultsFile):
        with pytest.raises(TrainingError, match=message):
            reader(path)
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("roc_auc", math.nan),
        ("pr_auc", 1.5),
        ("gmac", math.inf),
        ("gmac", -1),
        ("bytes_per_clip", 0),
        ("train_seconds", math.nan),
        ("width", math.nan),
        ("seed", -1),
        ("bootstrap_roc_auc", ["high"]),
        ("bootstrap_pr_auc", [0.5, None]),
        ("roc_auc_per_tag", {"rock": None}),
        ("versions", {"torch": [2, 9]}),
        ("catalog", ["mtat"]),
        ("n_train", "many"),
        ("tags_left_out", 3),
    ],
)
def test_a_value_that_no_report_can_show_is_an_error_that_names_its_line(tmp_path, field, value):
    path = tmp_path / "results.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | {field: value})}\n")
    for reader in (read_results, ResultsFile):
        with pytest.raises(TrainingError, match=rf"results.jsonl:2: {field} is .*; is this a file"):
            reader(path)


def test_an_area_that_rounding_took_past_1_is_still_a_score(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(ROW | {"pr_auc": 1.0000000000000002}) + "\n")
    assert read_results(path)[0][0]["pr_auc"] > 1


def test_a_line_nested_without_end_is_no_traceback(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("[" * 100_000 + "]" * 100_000 + "\n")
    with pytest.raises(TrainingError, match=r"results\.jsonl:1 is not JSON"):
        read_results(path)


def test_a_missing_file_or_folder_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(TrainingError, match=r"no results file at .*; melgrid study writes one"):
        read_results(tmp_path / "results.jsonl")
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        ResultsFile(tmp_path / "none" / "results.jsonl")
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        ResultsFile(tmp_path)


def test_a_number_that_json_has_not_is_never_written(tmp_path):
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        with pytest.raises(ValueError, match="not JSON compliant"):
            file.append(ROW | {"roc_auc": float("nan")})
        assert path.read_bytes() == b""


def test_runs_are_the_same_if_they_agree_in_everything_but_their_outcome():
    settings = {field.name for field in dataclasses.fields(TrainSettings)}
    of_data = {"data", "spec", "encoding", "fold"}
    of_run = of_data | {"partition", "condition"}
    assert {*IDENTITY, *LATER} == settings - {"device", "adapter"} | of_run
    assert identity(ROW) == identity(ROW | {"roc_auc": 0.1, "gmac": 3})
    for field in IDENTITY:
        assert identity(ROW) != identity(ROW | {field: "other"})
    # what rows of old do not have
    assert identity(ROW) == identity(ROW | {"partition": None, "draws": None})
    assert identity(ROW) != identity(ROW | {"draws": "4 draws of pitch-5:5 p0.5"})
    assert identity(ROW | {"draws": "4 draws of pitch-5:5 p0.5"}).point.draws
    of_old = {"task": "tagging", "class_weights": "none", "weight_decay": None, "warm_up": None}
    assert identity(ROW) == identity(ROW | of_old)
    for field, value in (("task", "classification"), ("weight_decay", 0.1), ("warm_up", 0.1)):
        assert identity(ROW) != identity(ROW | {field: value})


def test_a_study_of_adapters_is_refused():
    with pytest.raises(TrainingSettingsError, match="a study trains whole networks"):
        identity_fields(None, TrainSettings(adapter=Adapter(kind="lora")))


def test_rows_without_a_condition_are_of_what_was_trained_on():
    assert identity(ROW) == identity(ROW | {"condition": "clean"})
    noisy = ROW | {"condition": "noise0.1"}
    assert identity(noisy) != identity(ROW)
    assert identity(noisy).as_trained == identity(ROW)
    assert (is_as_trained(ROW), is_as_trained(noisy)) == (True, False)
    trained_on_noise = ROW | {"spec": f"{ROW['spec']}~noise0.1"}
    assert identity(trained_on_noise).condition == "noise0.1"
    assert is_as_trained(trained_on_noise)
    assert not is_as_trained(trained_on_noise | {"condition": "clean"})


@pytest.mark.parametrize("condition", [None, 1, "", "nose0.1", "noise0.10"])
def test_a_condition_that_is_none_is_an_error_that_names_its_line(tmp_path, condition):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(ROW | {"condition": condition}) + "\n")
    with pytest.raises(TrainingError, match=r"results.jsonl:1: condition is "):
        read_results(path)


def test_several_rows_are_added_in_one_go(tmp_path):
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        file.append(row(0), row(1))
        file.append()
        assert file.rows == [row(0), row(1)]
    assert read_results(path)[0] == [row(0), row(1)]
