import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from cli import melgrid
from featurestore import FeatureSpec, FeatureStore
from featurestore.format.commits import read_commit, write_commit
from featurestore.format.division import Division
from featurestore.specs.perturbation import Condition
from featurestore.storage.local import LocalFiles
from models.training.checkpoint import load_checkpoint
from pipeline.catalogs import open_catalog

SR = 8000
ROOT = Path(__file__).parents[1]
REALMUSIC = ROOT.parent / "shared" / "data" / "realmusic"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Thirty labelled clips of a second, two of them broken."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    lines = ["path,split,high,even"]
    for number in range(30):
        pitch = 3000 if number % 3 else 300
        tone = np.sin(2 * np.pi * pitch * np.arange(SR) / SR)
        samples = 0.3 * tone + 0.05 * rng.standard_normal(SR)
        soundfile.write(folder / f"{number:02}.wav", samples.astype(np.float32), SR)
        split = ("train", "train", "validation", "test", "test")[number % 5]
        lines.append(f"{number:02}.wav,{split},{int(bool(number % 3))},{number % 2}")
    (folder / "10.wav").write_bytes(b"")
    (folder / "20.wav").unlink()
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def store(corpus, tmp_path_factory):
    """A store of the corpus, made by the program itself on its own local cluster."""
    path = tmp_path_factory.mktemp("stores") / "features.zarr"
    result = program(
        "featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", "16,8",
        "--hop", "x1,x2", "--duration", 1, "--workers", 2, "--max-failures", 2, "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return path, json.loads(result.stdout)


def program(*arguments, **options):
    """Run as a user would: in a process of its own."""
    command = [sys.executable, ROOT / "cli.py", *arguments]
    if arguments[0] == "featurize":
        command = [sys.executable, "-c", "import cli; cli.featurize()", *arguments[1:]]
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )


def invoke(*arguments):
    """Run in this process: quicker, for what starts no workers."""
    return CliRunner().invoke(melgrid, [str(argument) for argument in arguments])


def refused(*arguments, code=2):
    """The one line that a user gets."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_json_is_one_value_on_stdout_and_tells_all(store):
    path, summary = store
    assert summary["store"] == str(path)
    assert (summary["clips"], summary["ready"], summary["failed"]) == (30, 28, 2)
    assert [spec["spec"] for spec in summary["specs"]] == [
        "sr8000-mel16-x1-db", "sr8000-mel16-x2-db", "sr8000-mel8-x1-db", "sr8000-mel8-x2-db",
    ]  # fmt: skip
    assert summary["specs"][0]["shape"] == [30, 16, 32]
    assert {f["clip_id"]: f["reason"] for f in summary["failures"]} == {
        "10.wav": "EmptyFile",
        "20.wav": "Unreadable",
    }


def test_failures_above_the_limit_make_the_run_fail_and_are_all_listed(corpus, store):
    path, _ = store
    result = invoke(
        "featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", 16,
        "--duration", 1, "--max-failures", 1,
    )  # fmt: skip
    assert result.exit_code == 1
    assert "28 of 30 clips ready; nothing to do" in result.stdout
    assert "failed: 10.wav: EmptyFile: 0 bytes" in result.stderr
    assert "2 of 30 clips failed, more than --max-failures 1" in result.stderr


def test_quiet_prints_nothing(corpus, store):
    path, _ = store
    result = program(
        "featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", 16,
        "--duration", 1, "--max-failures", 2, "--quiet",
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_failures_lists_path_and_reason(store):
    path, _ = store
    assert "10.wav: EmptyFile: 0 bytes" in invoke("failures", path).output
    listed = json.loads(invoke("failures", path, "--json").stdout)
    assert [row["clip_id"] for row in listed] == ["10.wav", "20.wav"]


def test_verify_tells_damage_and_repair_mends_it(store, tmp_path):
    path = shutil.copytree(store[0], tmp_path / "features.zarr")
    told = invoke("verify", path)
    assert told.exit_code == 0
    assert re.search(r"^healthy: 112 rows of 4 specs, .* read$", told.stdout, re.MULTILINE)
    quick = json.loads(invoke("verify", path, "--quick", "--json").stdout)
    assert (quick["healthy"], quick["quick"], quick["damage"]) == (True, True, [])
    (path / "sr8000-mel8-x1-db" / "values" / "c" / "1" / "0" / "0").unlink()
    told = invoke("verify", path)
    assert told.exit_code == 1
    assert "there is no such file (rows 8-9, 11-15)" in " ".join(told.stdout.split())
    assert "1 damaged: 112 rows of 4 specs" in told.stdout
    assert "Traceback" not in told.output
    told = invoke("verify", path, "--repair")
    assert told.exit_code == 0
    assert "repaired sr8000-mel8-x1-db: 7 rows now pending" in told.stdout
    told = invoke("verify", path)
    assert told.exit_code == 0
    assert "unfinished: 7 of 120 rows are pending; run featurize again" in told.stdout
    (path / "clips" / "path" / "c" / "0").unlink()
    assert invoke("verify", path, "--repair", "--json").exit_code == 1
    assert "1 beyond repair" in invoke("verify", path, "--repair").stdout
    assert max(map(len, told.stdout.splitlines())) < 80


def test_diff_says_what_differs_and_exits_with_one(corpus, store, tmp_path):
    path = store[0]
    same = invoke("diff", path, path)
    assert same.exit_code == 0
    assert same.stdout.endswith("\nthe same\n")
    assert "sr8000-mel16-x1-db (float16): 0 of 28 clips differ" in same.stdout
    other = shutil.copytree(path, tmp_path / "other.zarr")
    name, files = "sr8000-mel8-x1-db", LocalFiles(other)
    for part in ("values", "statistics"):  # and the record commits them
        files.write(f"{name}/{part}/c/1/0/0", files.read(f"{name}/{part}/c/0/0/0"))
    first, second = (read_commit(files, Division.of(8), shard) for shard in (0, 1))
    specs = {**second.specs, name: first.specs[name]}
    write_commit(files, Division.of(8), 1, dataclasses.replace(second, specs=specs))
    found = invoke("diff", path, other, "--json")
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert told["same"] is False
    assert [spec["n_differ"] for spec in told["specs"]] == [0, 0, 7, 0]
    assert told["specs"][2]["max"] > told["specs"][2]["mean"] > 0
    text = invoke("diff", path, other).stdout
    assert re.search(r"7 of 28 clips differ, by [\d.]+ dB at\s+most", text)
    assert text.endswith("\ndifferent\n")


def test_gc_lists_with_sizes_and_takes_away_only_when_told(store, tmp_path):
    path = shutil.copytree(store[0], tmp_path / "features.zarr")
    assert invoke("gc", path).stdout == "nothing to delete\n"
    (path / "sr8000-mel9-x1-db" / "values").mkdir(parents=True)
    (path / "sr8000-mel9-x1-db" / "values" / "zarr.json").write_bytes(bytes(300))
    (path / "notes.txt").write_bytes(bytes(50))
    told = invoke("gc", path).stdout
    assert "unreferenced sr8000-mel9-x1-db: 300 B" in told
    assert "foreign notes.txt: 50 B" in told
    assert told.endswith("\n300 B to delete: add --yes\n")
    assert (path / "sr8000-mel9-x1-db").exists()
    assert invoke("gc", path, "--yes").stdout.endswith("300 B deleted\n")
    assert json.loads(invoke("gc", path, "--json").stdout) == [
        {"kind": "foreign", "key": "notes.txt", "nbytes": 50, "rows": [], "refused": ""}
    ]


def test_ls_lists_specs_with_shape_and_bytes(store):
    path, _ = store
    assert re.search(r"sr8000-mel16-x1-db +30 x 16 x 32 +28 +float16", invoke("ls", path).output)
    listed = json.loads(invoke("ls", path, "--json").stdout)
    stored = FeatureStore.open(path)["sr8000-mel8-x2-db"].nbytes_stored
    assert listed[3]["bytes"] == stored > 0


def test_info_tells_counts_splits_tags_and_provenance(store):
    path, _ = store
    facts = json.loads(invoke("info", path, "--json").stdout)
    assert (facts["clips"], facts["ready"], facts["failed"]) == (30, 28, 2)
    assert facts["splits"] == {"test": 12, "train": 12, "validation": 6}
    assert facts["tags"] == {"high": 20, "even": 15}
    spec = json.loads(invoke("info", path, "sr8000-mel8-x4-db", "--json").stdout)
    assert spec["view_of"] == "sr8000-mel8-x2-db"
    assert spec["software"][0]["resampler"].startswith("soxr ")


def test_values_of_no_clips_are_null_in_json_and_a_dash_in_words(make_store):
    store = make_store(failed=range(20), pending=())
    spec = store.specs[0].name
    told = json.loads(invoke("info", store.path, spec, "--json").stdout, parse_constant=pytest.fail)
    assert (told["values"]["clips"], told["values"]["saturated"]) == (0, None)
    assert told["values"]["mean"] == [None] * 16
    assert invoke("info", store.path, spec).output.endswith(f"{'values':<17}-\n")


@pytest.mark.parametrize("command", [["ls"], ["info"], ["info", "sr8000-mel8-x2-db"]])
def test_what_is_printed_fits_80_columns(store, command):
    path, _ = store
    verb, *spec = command
    lines = invoke(verb, path, *spec).output.splitlines()
    assert lines
    assert max(len(line) for line in lines if str(path.parent) not in line) <= 80


def test_names_that_break_lines_or_steer_terminals_are_printed_in_one_line(make_store):
    store = make_store(ids=["new\nline", "\x1b[31mred"], failed=(0, 1), pending=())
    told = invoke("failures", store.path).stdout
    assert told == "new\ufffdline: EmptyFile: 0 bytes\n\ufffd[31mred: EmptyFile: 0 bytes\n"
    assert refused("show", store.path, 0, code=1).count("\n") == 1
    assert json.loads(invoke("failures", store.path, "--json").stdout)[0]["clip_id"] == "new\nline"


@pytest.mark.parametrize("command", ["ls", "info", "verify", "failures", "diff", "gc", "show"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_command_lets_names_turn_the_writing_or_hide(make_store, tmp_path, command, options):
    steering = "\u202e\u2066\u200b\u200f\ufeff\xad\x9b\U000e0041"
    name = f"gpj{steering}exe"
    store = make_store(ids=[name, "other"], tags=[name], failed=(), pending=(), catalog=name)
    failed = make_store(
        "failed.zarr", ids=["a", name], failed=(1,), pending=(), settings={name: name}
    )
    store.files.write(f"{name}.txt", b"foreign")
    words = {
        "diff": ("diff", store.path, failed.path),
        "show": ("show", store.path, "0", "-o", str(tmp_path / "out.png")),
        "failures": ("failures", failed.path),
        "info": ("info", failed.path, failed.specs[0].name),
    }.get(command, (command, store.path))
    told = invoke(*words, *options).output
    assert not set(steering) & set(told)
    if options:
        for line in told.splitlines()[-1:]:
            assert name in json.dumps(json.loads(line), ensure_ascii=False) or command in (
                "ls",
                "verify",
            )


def test_a_dry_run_fits_80_columns(corpus):
    told = invoke(
        "featurize", corpus / "labels.csv", "--grid", "ferraro2020", "--views", "--dry-run"
    ).output
    assert "served as views" in told
    assert max(map(len, told.splitlines())) <= 80


def test_training_needs_the_store_and_nothing_else(store, tmp_path):
    path, _ = store
    result = invoke(
        "train", path, "--spec", "sr8000-mel16-x1-db", "--width", 0.02, "--epochs", 3,
        "--batch-size", 4, "-o", tmp_path / "model.pt", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    assert 0.5 < scores["test"]["roc_auc"] <= 1  # pitch is easily learnt
    assert (tmp_path / "model.pt").exists()


def test_classes_are_trained_evaluated_and_told(store, tmp_path):
    path, _ = store
    checkpoint = tmp_path / "model"
    how = ("--spec", "sr8000-mel16-x1-db", "--tags", "high", "--width", 0.02, "--epochs", 1,
           "--batch-size", 4)  # fmt: skip
    refused = invoke("train", path, *how, "--task", "classification", "-o", checkpoint)
    assert refused.exit_code == 1
    assert "of the 1 classes" in refused.stderr
    refused = invoke("train", path, *how, "--class-weights", "balanced")
    assert refused.exit_code == 2
    assert "the task tagging; only a classification has classes" in refused.stderr


def test_settings_are_tuned_and_a_page_says_what_came_out(store, tmp_path):
    path, _ = store
    command = ("tune", path, "-o", tmp_path / "tune.jsonl", "--spec", "sr8000-mel16-x1-db",
               "--width", 0.02, "--epochs", 1, "--tags", "high", "--trials", 2,
               "--space", "learning-rate=log:1e-3:1e-2", "--space", "batch_size=4,6")  # fmt: skip
    result = invoke(*command, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert [trial["state"] for trial in said["trials"]] == ["complete"] * 2
    assert said["spaces"] == ["learning_rate=log:0.001:0.01", "batch_size=4,6"]
    assert (tmp_path / "tune.html").stat().st_size > 10_000
    again = invoke(*command)
    assert again.exit_code == 0, again.stderr
    assert "trial" not in again.stderr  # none is left to do
    assert "--learning-rate 0.00" in again.stdout
    none = invoke("tune", path, "--spec", "sr8000-mel16-x1-db")
    assert none.exit_code == 2
    assert "there is nothing to search for: give --space" in none.stderr


def test_a_study_prints_a_table_draws_a_picture_and_is_not_done_twice(store, tmp_path):
    path, _ = store
    results = tmp_path / "results.jsonl"
    command = ("study", path, "-o", results, "--width", 0.02, "--epochs", 1, "--runs", 2,
               "--batch-size", 4, "--tags", "high", "--specs",
               "sr8000-mel16-x1-db,sr8000-mel8-x2-db")  # fmt: skip
    first = program(*command)
    assert first.returncode == 0, first.stderr
    assert re.search(r"GMAC +kB +loss % +runs p +verdict", first.stdout)
    assert results.with_suffix(".png").stat().st_size > 10_000
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(rows) == 4
    for key in ("spec", "model", "width", "seed", "fold", "roc_auc", "pr_auc", "gmac",
                "parameters", "bytes_per_clip", "encoding"):  # fmt: skip
        assert key in rows[0]
    assert {row["catalog"] for row in rows} == {FeatureStore.open(path).catalog} != {""}
    again = invoke(*command)
    assert again.exit_code == 0, again.stderr
    assert again.stdout == first.stdout
    assert len(results.read_text().splitlines()) == 4
    planned = invoke(*command, "--dry-run", "--json")
    assert {"n_done": 4, "n_left": 0}.items() <= json.loads(planned.stdout).items()

    written = invoke("report", results, "-o", tmp_path / "report", "--margin", "2%")
    assert written.exit_code == 0, written.output
    assert "page in " in written.stdout
    assert max(map(len, written.stdout.splitlines()[:-1])) <= 80
    names = {"index.html", "frontier.png", "frontier.svg", "resolution.png", "resolution.svg"}
    assert {path.name for path in (tmp_path / "report").iterdir()} == names
    told = invoke("report", results, "-o", tmp_path / "report", "--json",
                  "--baseline", "sr8000-mel8-x2-db")  # fmt: skip
    comparison = json.loads(told.stdout)
    assert comparison["baseline"] == "mel8 x2"
    heard = invoke("report", results, "-o", tmp_path / "heard", "--listen", 1, "--store", path)
    assert heard.exit_code == 0, heard.output
    assert 'href="listen.html"' in (tmp_path / "heard/index.html").read_text()
    assert (tmp_path / "heard/listen.html").read_text().count("<audio") == 2  # specs
    assert "go together" in refused("report", results, "--listen", 1, code=2)
    with results.open("a") as file:
        file.write('{"data": "torn')
    torn = invoke("report", results, "-o", tmp_path / "report", "--json")
    assert "the last line was cut short (14 bytes) and is dropped" in torn.stderr
    assert len(json.loads(torn.stdout)["points"]) == 2
    assert [point["spec"] for point in comparison["points"]] == [
        "sr8000-mel8-x2-db", "sr8000-mel16-x1-db"
    ]  # fmt: skip
    assert comparison["points"][0]["p_holm"] is None  # the baseline's own
    assert {path.split("/")[-1] for path in comparison["files"]} == names


@pytest.mark.slow
def test_a_low_pass_costs_the_tag_that_is_high_and_a_gain_of_nothing_costs_nothing(
    corpus, tmp_path
):
    path, results = tmp_path / "perturbed.zarr", tmp_path / "results.jsonl"
    made = program(
        "featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", "16,8", "--hop",
        "x2", "--duration", 1, "--workers", 2, "--max-failures", 2, "--quiet", "--perturb",
        "gain0,lowpass500",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "say which --spec: sr8000-mel16-x2-db, sr8000-mel8-x2-db" in invoke("train", path).output
    how = ("--width", 0.02, "--epochs", 3, "--batch-size", 4, "--device", "cpu", "--amp", "off")
    checkpoint = tmp_path / "model.pt"
    trained = invoke("train", path, "--spec", "sr8000-mel16-x2-db", *how, "-o", checkpoint)
    assert trained.exit_code == 0, trained.output
    scored = invoke("evaluate", checkpoint, path, "--conditions", "all", "--json")
    assert scored.exit_code == 0, scored.output
    clean, same, low = json.loads(scored.stdout)["scores"]
    assert (same["condition"], low["condition"]) == ("gain0", "lowpass500")
    assert same["roc_auc_per_tag"] == clean["roc_auc_per_tag"]
    told = invoke("evaluate", checkpoint, path, "--split", "test,train")
    assert [line.split()[:2] for line in told.stdout.splitlines()[2:]] == [
        ["test", "clean"],
        ["train", "clean"],
    ]
    assert "holds no sr8000" in refused(
        "evaluate", checkpoint, path, "--conditions", "noise0.1", code=1
    )

    command = ("study", path, "-o", results, *how, "--runs", 2, "--conditions", "all")
    planned = invoke(*command, "--dry-run")
    assert "4 trainings: 0 done, 4 left" in planned.stdout
    assert "12 evaluations, under all conditions together: 0 done, 12 left" in planned.stdout
    studied = invoke(*command)
    assert studied.exit_code == 0, studied.output
    assert "Robustness: what each network loses" in studied.stdout
    assert len(results.read_text().splitlines()) == 12
    told = invoke("report", results, "-o", tmp_path / "report", "--json")
    found = json.loads(told.stdout)
    assert found["robustness"]["conditions"][0] in ("gain0", "lowpass500")
    for loss in found["robustness"]["losses"]:
        if loss["condition"] == "gain0":
            assert (loss["loss"], loss["loss_against_baseline"]) == (0, pytest.approx(
                next(p["loss"] for p in found["points"] if p["label"] == loss["point"])
            ))  # fmt: skip
    assert "robustness.png" in {file.split("/")[-1] for file in found["files"]}
    assert 'id="robustness"' in (tmp_path / "report/index.html").read_text()


def test_a_report_of_nothing_is_refused(tmp_path):
    results = tmp_path / "results.jsonl"
    assert "there is no results file at" in refused("report", results, code=1)
    results.write_text("")
    assert "there are no results" in refused("report", results, code=1)
    results.write_text("{}\n")
    assert "results.jsonl:1: data is 'missing'" in refused("report", results, code=1)


def test_macs_of_the_studys_grid_agree_with_its_table():
    rows = json.loads(invoke("macs", "--grid", "ferraro2020", "--frames", "study", "--json").stdout)
    assert len(rows) == 88
    gmac = {row["spec"]: f"{row['gmac']:.3f}" for row in rows}
    assert gmac["sr12000-mel96-x1-log"] == "10.011"
    assert gmac["sr16000-mel48-x10-db"] == "0.660"
    assert rows[0].keys() == {
        "spec", "model", "n_frames", "n_segments", "segment_frames", "gmac", "parameters"
    }  # fmt: skip
    assert "frames as melgrid counts them" in invoke("macs").output


def test_macs_by_layer_are_a_table_of_80_columns_and_add_up_in_json():
    command = ("macs", "--models", "vgg,musicnn", "--layers")
    text = invoke(*command).stdout
    assert "sr16000-mel96-x1-db, musicnn: 16.314 GMAC, 7,611,624 parameters, 9 x 187" in text
    assert re.search(r"middle\.0\.0 +Conv1d 7 +512 x 181 +5,978\.5 +36\.6 +3,670,528\n", text)
    assert max(map(len, text.splitlines())) <= 80
    rows = json.loads(invoke(*command, "--json").stdout)
    for row in rows:
        assert sum(layer["macs"] for layer in row["layers"]) / 1e9 == row["gmac"]
    assert [row["layers"][-1]["name"] for row in rows] == ["dense", "dense"]


def test_a_dry_run_touches_nothing(corpus, tmp_path):
    result = invoke(
        "featurize", corpus / "labels.csv", "-o", tmp_path / "none.zarr", "--grid", "ferraro2020",
        "--dry-run", "--json",
    )  # fmt: skip
    planned = json.loads(result.stdout)
    assert len(planned["specs"]) == 88
    assert planned["clips"] == 30
    assert not (tmp_path / "none.zarr").exists()


def test_a_dry_run_says_what_networks_and_conditions_share(corpus):
    text = invoke(
        "featurize", corpus / "labels.csv", "--for", "fcn,hcnn,sample,ast", "--perturb", "smc2020",
        "--dry-run",
    ).stdout  # fmt: skip
    assert "9 conditions: clean, drc-music, drc-speech, noise0.1" in text
    assert text.count("STFT of 512 samples, hop 256, hann") == 1
    assert re.search(r"sr16000-wave +30 x 1 x 465600 +int16 +9 +8\.38 MB\n", text)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", sorted(melgrid.commands))
def test_no_command_has_an_option_twice(command):
    options = [option for param in melgrid.commands[command].params for option in param.opts]
    assert len(options) == len(set(options))


def test_ls_lists_presets_and_perturbations_without_a_store():
    assert re.search(
        r"^smc2020-96 +fcn, crnn, musicnn-smc; sr16000-mel96", invoke("ls", "--presets").stdout
    )
    words = json.loads(invoke("ls", "--perturbations", "--json").stdout)
    assert words[0]["perturbation"] == "gauss"
    assert "give STORE, --presets or --perturbations" in refused("ls")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sr", "0"], "sr is 0 Hz; it must be from 1000"),
        (["--hop", "x0"], "hop is 0"),
        (["--mels", "4000"], "n_mels is 4000: 3490 mel filters hold no FFT bin (bands 0, 1"),
        (["--mels", "many"], "'many' is not a number of bands"),
        (["--log", "ln"], "'ln' is not db or log"),
        (["--grid", "ferraro2020", "--mels", "48"], "--grid says which specs"),
        (["--duration", "-1"], "duration is -1 s"),
        (["--workers", "0"], "workers is 0"),
        (["--max-failures", "some"], "max-failures is 'some'"),
        (["--catalog", "nobody"], "no catalog is called 'nobody'"),
        (["--nonsense"], "No such option"),
        (["--for", "nobody"], "there is no preset or network 'nobody'; there are ast, "),
        (["--for", "ast", "--mels", "48"], "--for says which specs"),
        (["--feature", "waveform", "--mels", "48"], "kind wave have no such field"),
        (["--perturb", "lowpass9000"], "at 16000 Hz it must be below 8000"),
        (["--perturb", "loud"], "'loud' is no perturbation; there are gauss"),
        (["--perturb", "stretch0.8:1.2"], "'stretch0.8:1.2' has a range to draw from: give"),
        (["--perturb", "draw0"], "'draw0' is a random draw: --draws N makes"),
        (["--aug-prob", "0.5"], "--aug-prob is of random draws: give --draws N too"),
        (["--draws", "0"], "0 is not in the range"),
        (["--draws", "2", "--aug-prob", "0"], "must be above 0 and at most 1"),
        (["--draws", "2", "--perturb", "smc2020"], "'smc2020' is no perturbation"),
    ],
)
def test_wrong_settings_are_refused_with_a_line_that_says_which(corpus, tmp_path, options, message):
    line = refused("featurize", corpus / "labels.csv", "-o", tmp_path / "none.zarr", *options)
    assert message in line
    assert not (tmp_path / "none.zarr").exists()


@pytest.mark.slow
def test_draws_are_made_and_trained_from(corpus, tmp_path):
    path = tmp_path / "drawn.zarr"
    options = (
        "-o", path, "--sr", SR, "--mels", 8, "--duration", 1, "--workers", 1, "--max-failures", 2,
        "--draws", 2, "--perturb", "gauss0.005,stretch0.8:1.2", "--aug-prob", 0.9,
    )  # fmt: skip
    first = program("featurize", corpus / "labels.csv", *options)
    assert first.returncode == 0, first.stderr
    store = FeatureStore.open(path)
    clean, *draws = store.specs
    assert [draw.condition.name for draw in draws] == ["draw0", "draw1"]
    assert store.layouts[draws[0]].settings["augmentation"] == ("gauss0.005,stretch0.8:1.2 p0.9")
    train = (store.clips["split"] == "train") & (store.clips["status"] == "ready")
    np.testing.assert_array_equal(store[draws[1]].ready, train)
    assert "28 of 30 clips ready" in first.stdout
    assert "nothing to do" in program("featurize", corpus / "labels.csv", *options).stdout
    assert "healthy" in invoke("verify", path).output

    model = tmp_path / "model.pt"
    usual = ("train", path, "-o", model, "--width", 0.02, "--epochs", 2, "--batch-size", 8)
    output = invoke(*usual, "--device", "cpu", "--amp", "off", "--draws", "--augment", "mixup")
    assert "saved in" in output.output
    assert load_checkpoint(model).settings.draws
    line = refused("train", path, "--spec", f"{clean.name}~draw0", "--draws", code=1)
    assert "draws are of clean clips" in line


MY_NET = """from torch import nn


class MyNet(nn.Module):
    def __init__(self, spec, *, n_frames, n_outputs):
        super().__init__()
        self.dense = nn.Linear(spec.n_bands, n_outputs)

    def forward(self, values):
        return self.dense(values.mean(2))
"""


def test_a_class_of_the_users_own_is_a_network_where_the_user_names_it(
    store, tmp_path, monkeypatch
):
    path, _ = store
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_net.py").write_text(MY_NET)
    (row,) = json.loads(invoke("macs", "--models", "my_net.py:MyNet", "--json").stdout)
    assert re.fullmatch(r"MyNet-[0-9a-f]{8}", row["model"])
    assert (row["gmac"], row["parameters"]) == (96 * 50 / 1e9, 96 * 50 + 50)

    usual = ("train", path, "--spec", "sr8000-mel16-x2-db", "--batch-size", 8, "--device", "cpu")
    trained = invoke(*usual, "--epochs", 1, "--model", "my_net.py:MyNet", "-o", "model.safetensors")
    assert "saved in model.safetensors" in trained.output
    scored = ("evaluate", "model.safetensors", path)
    line = refused(*scored)
    assert f"{row['model']} is a network from a file of its maker's" in line
    assert "--model FILE.py:CLASS" in line
    assert row["model"] in invoke(*scored, "--model", "my_net.py:MyNet").output
    (tmp_path / "my_net.py").write_text(MY_NET.replace("mean(2)", "mean(3)"))
    assert "the file was changed since" in refused(*scored, "--model", "my_net.py:MyNet")
    line = refused(*usual, "--model", "my_net.py:MyNet", code=1)
    assert "Error: my_net.py:10: IndexError: Dimension out of range" in line
    assert "my_net.py has no Other; it has MyNet" in refused(*usual, "--model", "my_net.py:Other")


def test_published_weights_say_what_their_outputs_are(tmp_path):
    usual = ("import-weights", tmp_path / "none.pth", "--model", "fcn")
    assert "give --data NAME or --tags TEXT" in refused(*usual)
    assert "known of mtat, mtat-clean, not of 'msd'" in refused(*usual, "--data", "msd")
    (tmp_path / "tags.txt").write_text("rock\n")
    assert "give --data" in refused(*usual, "--data", "mtat", "--tags", tmp_path / "tags.txt")
    for how in (("--data", "mtat"), ("--tags", tmp_path / "tags.txt")):
        assert "there is no file of weights at" in refused(*usual, *how, code=1)


def test_audio_that_is_no_collection_is_refused(tmp_path):
    store = tmp_path / "none.zarr"
    assert "does not exist" in refused("featurize", tmp_path / "nowhere", "-o", store)
    (tmp_path / "empty").mkdir()
    assert "no audio" in refused("featurize", tmp_path / "empty", "-o", store).lower()
    table = tmp_path / "labels.csv"
    table.write_text("file,tag\na.mp3,1\n")
    assert "path" in refused("featurize", table, "-o", store)
    table.write_text("clip_id,path\na,a.mp3\na,b.mp3\n")
    assert re.search(r"labels\.csv:3.*'a'", refused("featurize", table, "-o", store))
    assert not store.exists()


def test_another_store_for_the_same_spec_is_refused(corpus, store):
    path, _ = store
    line = refused("featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", 16,
                   "--duration", 1, "--encoding", "float32")  # fmt: skip
    assert "encoding is float16 there, not float32" in line
    line = refused("featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", 16)
    assert "duration is 1.0 there, not 29.1" in line


def test_show_draws_a_clip_by_id_or_row_and_says_where(store, tmp_path):
    path, _ = store
    png = tmp_path / "clip.png"
    result = invoke("show", path, "03.wav", "-o", png)
    assert result.exit_code == 0, result.output
    assert f"4 spectrograms of 03.wav in {png}" in result.output
    shown = json.loads(
        invoke("show", path, 3, "--spec", "sr8000-mel8-x4-db", "-o", png, "--json").stdout
    )
    assert shown == {
        "row": 3, "clip_id": "03.wav", "specs": ["sr8000-mel8-x4-db"], "left_out": [],
        "picture": str(png),
    }  # fmt: skip
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("verb", ["show", "sonify", "listen"])
def test_conditions_are_chosen_by_name(make_store, tmp_path, verb):
    clean = [FeatureSpec(sr=SR, n_mels=n, hop=2) for n in (16, 8)]
    specs = [s.under(Condition.parse(c)) for c in ("clean", "gain-6", "gain-12") for s in clean]
    store = make_store(ids=["03.wav"], specs=specs, failed=(), pending=()).path
    out = tmp_path / "out"
    clip = [] if verb == "listen" else ["03.wav"]
    few = ["--clips", 1] if verb == "listen" else []
    wanted = (verb, store, *clip, *few, "-o", out)
    chosen = invoke(*wanted, "--specs", "sr8000-mel8-x2-log", "--conditions", "gain-12,clean")
    assert chosen.exit_code == 0, chosen.output
    for said in (
        refused(*wanted, "--conditions", "loud"),
        refused(*wanted, "--specs", "sr8000-mel8-x2-db~gain-6", "--conditions", "all"),
    ):
        assert said.splitlines()[-1].startswith("Error: ")
    if verb == "show":
        shown = json.loads(invoke(*wanted, "--json").stdout)
        assert shown["specs"] == [
            "sr8000-mel16-x2-db", "sr8000-mel16-x2-db~gain-6", "sr8000-mel16-x2-db~gain-12",
            "sr8000-mel8-x2-db", "sr8000-mel8-x2-db~gain-6", "sr8000-mel8-x2-db~gain-12",
        ]  # fmt: skip
        assert out.read_bytes().startswith(b"\x89PNG")
    elif verb == "sonify":
        assert sorted(path.name for path in out.iterdir()) == [
            "03.sr8000-mel8-x2-log.griffin-lim.wav",
            "03.sr8000-mel8-x2-log~gain-12.griffin-lim.wav",
        ]
    else:
        assert "gain \N{MINUS SIGN}12 dB" in (out / "listen.html").read_text(encoding="utf-8")


def test_sonify_writes_a_sound_a_spec_and_says_the_gain(store, tmp_path):
    path, _ = store
    result = invoke("sonify", path, "03.wav", "-o", tmp_path, "--specs", "sr8000-mel16-x1-db")
    assert result.exit_code == 0, result.output
    name = "03.sr8000-mel16-x1-db.griffin-lim.wav"
    assert result.output == (
        f"{tmp_path / name}\n1.0 s each, gain 0.0 dB (0 is as loud as the clip)\n"
    )
    samples, sr = soundfile.read(tmp_path / name)
    assert (len(samples), sr) == (SR, SR)
    spectrum = abs(np.fft.rfft(samples))
    assert spectrum[:500].max() > 3 * spectrum[600:].max()  # its tone is at 300 Hz
    files = json.loads(
        invoke("sonify", path, 3, "-o", tmp_path, "--method", "noise", "--json").stdout
    )
    assert [file["spec"] for file in files] == [
        "sr8000-mel16-x1-db", "sr8000-mel16-x2-db", "sr8000-mel8-x1-db", "sr8000-mel8-x2-db",
    ]  # fmt: skip
    assert files[0].keys() == {"clip_id", "spec", "file", "seconds", "gain_db"}


def test_listen_makes_a_page(store, tmp_path):
    path, _ = store
    result = invoke("listen", path, "-o", tmp_path, "--clips", 1, "--method", "noise", "--json")
    assert result.exit_code == 0, result.output
    page = tmp_path / "listen.html"
    assert json.loads(result.stdout) == {"page": str(page), "bytes": page.stat().st_size}


@pytest.mark.parametrize("verb", ["show", "sonify"])
@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        (["10.wav"], 1, "row 10 of sr8000-mel16-x1-db (10.wav) holds no values: EmptyFile"),
        (["99"], 1, "there is no row 99; there are 30, from 0"),
        (["3.WAV"], 1, "no clip is called '3.WAV'; did you mean 03.wav, 13.wav, 23.wav?"),
        (["3", "--specs", "sr8000-mel32-x1-db"], 1, "it holds sr8000-mel16-x1-db, "),
        (["3", "--specs", "mel32"], 2, "'mel32' is not a spec's name"),
    ],
)
def test_clips_and_specs_that_are_not_there_are_refused(
    store, tmp_path, verb, wanted, code, message
):
    path, _ = store
    clip, *options = wanted
    line = refused(verb, path, clip, "-o", tmp_path / "none", *options, code=code)
    assert message in line
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("verb", ["ls", "info", "failures", "train", "study", "listen"])
def test_what_is_no_store_is_refused(tmp_path, verb):
    assert "does not exist; featurize makes one" in refused(verb, tmp_path / "none.zarr", code=1)
    assert "is not a melgrid store" in refused(verb, tmp_path, code=1)


def test_a_spec_that_the_store_lacks_is_refused_with_what_it_has(store):
    path, _ = store
    line = refused("info", path, "sr8000-mel32-x1-db", code=1)
    assert "it holds sr8000-mel16-x1-db, " in line
    assert "say which --spec: sr8000-mel16-x1-db, " in refused("train", path)


def test_demo_makes_a_corpus_and_says_where(tmp_path):
    folder = tmp_path / "melgrid-demo"
    made = invoke("demo", folder, "--clips", 24)
    assert made.exit_code == 0, made.output
    assert made.stdout.strip() == str(folder / "labels.csv")
    assert len(open_catalog(made.stdout.strip())) == 24
    assert "another n_clips or seed" in refused("demo", folder, "--clips", 25)


@pytest.mark.skipif(not REALMUSIC.exists(), reason="the shared music is not here")
def test_real_mp3s_give_what_librosa_gives_of_the_same_samples(tmp_path):
    import librosa

    table = tmp_path / "labels.csv"
    lines = (REALMUSIC / "labels.csv").read_text().splitlines()
    table.write_text("\n".join(lines[:1] + lines[1::20]) + "\n")
    (tmp_path / "audio").symlink_to(REALMUSIC / "audio")
    result = program("featurize", table, "-o", tmp_path / "real.zarr", "--sr", 16000,
                     "--mels", "96,48", "--hop", "x1,x4", "--log", "db")  # fmt: skip
    assert result.returncode == 0, result.stderr
    store = FeatureStore.open(tmp_path / "real.zarr")
    catalog = open_catalog(str(table))
    assert len(store.specs) == 4
    for row, path in enumerate(catalog.path):
        samples, sr = soundfile.read(tmp_path / path, dtype="float32")
        start, n_samples = (len(samples) - 465600) // 2, 465600
        for spec in store.specs:
            power = librosa.feature.melspectrogram(
                y=samples[start : start + n_samples].astype(np.float64), sr=sr, n_fft=512,
                hop_length=spec.hop_length, n_mels=spec.n_mels, pad_mode="constant",
            )  # fmt: skip
            expected = 10 * np.log10(np.maximum(power, 1e-10))
            got = store[spec][row]
            assert got.shape == expected.shape
            # the native backend's 0.15 dB and float16's half unit at 64 to 128 dB
            assert np.abs(got - expected).max() <= 0.15 + 2**-5


def test_options_of_htk_mel_make_its_specs_and_empty_filters_are_told(corpus, tmp_path):
    path = tmp_path / "htk.zarr"
    result = program(
        "featurize", corpus / "labels.csv", "-o", path, "--sr", SR, "--mels", "256,16", "--htk",
        "--no-norm", "--win-length", 400, "--duration", 1, "--workers", 1, "--encoding", "uint8",
        "--max-failures", 2,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    store = FeatureStore.open(path)
    many, few = sorted(store.specs, key=lambda spec: -spec.n_mels)
    assert many.name == f"sr{SR}-mel256-x1-db-win400-htk-nonorm"
    assert few.name == f"sr{SR}-mel16-x1-db-win400-htk-nonorm"
    (told,) = [line for line in result.stderr.splitlines() if "empty mel filter" in line]
    assert re.fullmatch(rf"warning: \d+ empty mel filters in {many.name}: .*", told)
    # uint8's half step above the floor
    assert np.abs(store[many][0][many.empty_filters] + 100).max() < 0.3
    message = refused("featurize", corpus, "--grid", "ferraro2020", "--no-norm")
    assert "leave out all but --window" in message


def test_profile_of_a_store_is_a_table_json_and_a_picture(store, tmp_path):
    path, _ = store
    options = ("--width", 0.03, "--batch-size", 4, "--batches", 2, "--device", "cpu")
    specs = ("--specs", "sr8000-mel16-x1-db,sr8000-mel8-x2-db")
    drawn = tmp_path / "profile.png"
    output = invoke("profile", path, *specs, *options, "-o", drawn).output
    *tables, where = output.splitlines()
    assert max(map(len, tables)) <= 80
    assert where == f"picture in {drawn}"
    for stage in ("wait for data", "forward", "backward", "optimizer", "other", "total"):
        assert len(re.findall(rf"^{stage} +[\d.,]+ +[\d.]+%", output, re.MULTILINE)) == 2
    assert drawn.read_bytes().startswith(b"\x89PNG")
    [told] = json.loads(invoke("profile", path, *options, "--json").stdout)
    assert (told["work"], told["batches"]) == ("sr8000-mel16-x1-db, vgg", 2)
    assert sum(stage["seconds"] for stage in told["stages"]) == pytest.approx(
        told["seconds"], abs=1e-4
    )


def test_profile_says_what_is_wrong(store):
    path, _ = store
    assert "batches is 0; it must be at least 1" in refused("profile", path, "--batches", 0)
    assert "sr is 1 Hz" in refused("profile", path, "--specs", "sr1-mel1-x1-db")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--model", "resnet"), "model is 'resnet'; it must be one of vgg, musicnn"),
        (("train", "--epochs", 0), "epochs is 0"),
        (("train", "--seed", 10**30), "it must be at most 9223372036854775807"),
        (("study", "--width", "nan"), "width is nan"),
        (("study", "--batch-size", 1), "batch_size is 1; it must be a whole number from 2"),
        (("study", "--runs", 0), "runs is 0"),
        (("study", "--threads", 10**6), "threads is 1000000; it must be at most 1024"),
        (("study", "-o", "results.png"), "results.png is where the picture goes"),
        (("study", "--jobs", 2, "--scheduler", "tcp://nowhere:1"), "jobs is 2; with a scheduler"),
    ],
)
def test_settings_of_training_that_cannot_be_are_wrong_usage(
    store, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    command, *options = arguments
    path, _ = store
    only = ("--spec", "sr8000-mel16-x1-db") if command == "train" else ()
    assert message in refused(command, path, *only, *options)
    assert not list(tmp_path.iterdir())


def test_profile_of_audio_tells_every_stage(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--sr", SR, "--mels", "16,8", "--duration", 1, "--clips", 8)
    output = invoke("profile", corpus / "labels.csv", *options, "-o", "profile.png").output
    assert max(map(len, output.splitlines())) <= 80
    for stage in ("decode", "spectra", "compress", "write", "commit", "other", "total"):
        assert re.search(rf"^{stage} +[\d.,]+ +[\d.]+%", output, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["profile.png"]


def test_profile_refuses_options_that_are_for_the_other_kind(corpus, store):
    path, _ = store
    assert "is a store: leave out --mels" in refused("profile", path, "--mels", 16)
    audio = corpus / "labels.csv"
    assert "is audio: leave out --width" in refused("profile", audio, "--width", 0.1)


def test_a_store_goes_out_as_npz_and_comes_back(store, tmp_path):
    path, _ = store
    said = invoke("export", path, tmp_path / "npz", "--format", "npz", "--quiet")
    assert (said.exit_code, said.output) == (0, "")
    said = invoke("import", tmp_path / "npz", "-o", tmp_path / "back.zarr", "--max-failures", 2)
    assert said.exit_code == 0, said.output
    assert "28 of 30 clips ready; computed 28" in said.output
    before, after = FeatureStore.open(path), FeatureStore.open(tmp_path / "back.zarr")
    rows = np.flatnonzero(before[before.specs[0]].ready)
    for spec in before.specs:
        np.testing.assert_array_equal(before[spec].read(rows), after[spec].read(rows))
    again = json.loads(invoke("import", tmp_path / "npz", "-o", after.path, "--json").output)
    assert (again["computed"], again["ready"]) == (0, 28)
    labels = tmp_path / "npz" / "labels.csv"
    assert "was imported" in refused("featurize", labels, "-o", after.path, "--duration", 1)


def test_export_says_what_it_wrote_and_refuses_to_replace_it(store, tmp_path):
    path, _ = store
    out = tmp_path / "out.h5"
    said = invoke("export", path, out, "--specs", "*-mel8-*", "--splits", "train")
    assert said.exit_code == 0, said.output
    assert "10 of 12 clips, 2 specs, " in said.output
    assert "give --force" in refused("export", path, out)
    value = json.loads(invoke("export", path, out, "--force", "--json").stdout)
    assert (value["out"], value["format"], value["clips"]) == (str(out), "hdf5", 30)
    assert len(value["specs"]) == 4
    assert "holds no sr16000-*" in refused("export", path, out, "--specs", "sr16000-*", code=1)


def test_import_refuses_in_a_line(tmp_path):
    assert "is not a folder" in refused("import", tmp_path / "nowhere")
    assert "holds no npz file" in refused("import", tmp_path)


def test_a_student_is_trained_with_a_teacher_from_the_command_line(store, tmp_path):
    (path, _), teacher, student = store, tmp_path / "teacher", tmp_path / "student"
    how = ("--width", 0.02, "--epochs", 2, "--batch-size", 8, "--amp", "off", "--device", "cpu")
    usual = ("train", path, "--spec", "sr8000-mel16-x2-db", *how, "--labelled-share", 0.5)
    told = invoke(*usual, "-o", teacher)
    assert told.exit_code == 0, told.output
    assert "5 clips of sr8000-mel16-x2-db are unlabelled, the labels of some hidden" in told.stderr

    told = invoke(*usual, "-o", student, "--teacher", teacher)
    assert told.exit_code == 0, told.output
    assert f"5 unlabelled clips of {path}, 5 labelled ones; noise: none but dropout" in told.stderr
    assert sorted(p.name for p in tmp_path.glob("student*")) == [
        "student", "student.jsonl", "student.labels",
    ]  # fmt: skip
    scores = json.loads(
        invoke(*usual, "-o", student, "--teacher", teacher, "--mixing", 0.5, "--json").stdout
    )
    assert scores["checkpoint"] == str(student)
    same = invoke(*usual, "-o", tmp_path / "same", "--teacher", teacher, "--mixing", 0)
    again = invoke(*usual, "-o", tmp_path / "again")
    assert same.stdout.replace("same", "again") == again.stdout

    line = refused(*usual, "-o", teacher, "--teacher", teacher, code=1)
    assert "would replace its teacher" in line
    line = refused(*usual, "-o", student, "--mixing", 0.5)
    assert "--unlabelled, --mixing and --teacher-model are of --teacher: give it too" in line
    line = refused(*usual, "-o", student, "--teacher", teacher, "--unlabelled", path, code=1)
    assert "has no unlabelled clip that is ready" in line
