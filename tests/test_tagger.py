"""Tagging files: what a store would give, without a store."""

import csv
import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner
from torch import nn

from cli import melgrid
from featurestore.errors import AudioError, SettingsError
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec
from models.data import ClipDataset, training_data
from models.networks import ARCHITECTURES
from models.networks.architecture import Architecture
from models.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.training.loop import train
from models.training.predict import predict
from models.training.settings import TrainSettings
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings
from tagger import Tagger

SR = 8000
MEL = FeatureSpec(sr=SR, n_mels=16, hop=1)
SPECS = (MEL, StftSpec(sr=SR, hop=2), WaveformSpec(sr=SR))
WINDOW = Excerpt(duration=1.1)


class Levels(nn.Module):
    """A dense layer on how much each band varies, and how fast: as quick as a network can be."""

    def __init__(self, spec, *, n_frames, n_outputs):
        super().__init__()
        self.n_frames = n_frames
        self.norm = nn.BatchNorm1d(2 * spec.n_bands, momentum=0.9)
        self.dense = nn.Linear(2 * spec.n_bands, n_outputs)

    def forward(self, values):
        assert values.shape[2] == self.n_frames
        return self.dense(self.norm(torch.cat([values.std(2), values.diff().std(2)], 1)))


class Balance(nn.Module):
    """Which half of the bands is louder; nothing to learn."""

    def __init__(self, spec, *, n_frames, n_outputs):
        super().__init__()

    def forward(self, values):
        low, high = values.mean(2).chunk(2, dim=1)
        logits = high.mean(1) - low.mean(1)
        return torch.stack([logits, -logits], 1)


@pytest.fixture(scope="module", autouse=True)
def levels():
    """Networks for every kind of spec, that take a third of a second at a time."""
    with pytest.MonkeyPatch.context() as patched:
        for spec in SPECS:
            name = f"levels-{spec.kind}"
            architecture = Architecture(
                name=name, build=Levels, accepts=type(spec), window=0.33, has_width=False
            )
            patched.setitem(ARCHITECTURES, name, architecture)
        balance = Architecture(name="balance", build=Balance, window=0.33, has_width=False)
        patched.setitem(ARCHITECTURES, "balance", balance)
        yield


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny networks are slower on more, and CI has few
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Thirty files of high or low tones at 44.1 kHz in stereo; the odd ones are short."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    lines = ["path,split,high,even"]
    for number in range(30):
        sr = 44100
        time = np.arange(int((0.9 if number % 2 else 1.7) * sr)) / sr
        tone = np.sin(2 * np.pi * (3000 if number % 3 else 300) * time)
        samples = 0.3 * tone[:, None] + 0.05 * rng.standard_normal((len(time), 2))
        soundfile.write(folder / f"{number:02}.wav", samples.astype(np.float32), sr)
        split = ("train", "train", "validation", "test", "test")[number % 5]
        lines.append(f"{number:02}.wav,{split},{int(bool(number % 3))},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def featurized(music, path, scheduler, window=WINDOW):
    settings = RunSettings(window=window, encoding=Encoding(name="float32"), scheduler=scheduler)
    return run(open_catalog(str(music / "labels.csv")), str(path), SPECS, settings).store


@pytest.fixture(scope="module")
def store(music, tmp_path_factory, scheduler):
    return featurized(music, tmp_path_factory.mktemp("tagger") / "store.zarr", scheduler)


def trained(store, spec, path, **settings):
    """A checkpoint of a network that was trained for an epoch."""
    how = TrainSettings(epochs=1, batch_size=8, model=f"levels-{spec.kind}", amp="off", **settings)
    checkpoint = train(training_data(store, spec), how).checkpoint
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    return str(trained(store, MEL, tmp_path_factory.mktemp("model") / "model.pt"))


def by_the_store(checkpoint, store):
    """What the network predicts for all clips as they are stored."""
    array = store[checkpoint.spec]
    labels = np.zeros((len(array), len(checkpoint.tags)), np.float32)
    clips = ClipDataset(array, np.arange(len(array)), labels, n_valid=array.n_valid_frames)
    return predict(checkpoint.network, clips, checkpoint.task, checkpoint.settings)


def paths_in(folder):
    return [str(path) for path in sorted(folder.glob("*.wav"))]


@pytest.mark.parametrize("recipe", ["ferraro2020", "won2020"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_files_have_the_tags_of_their_clips_in_a_store(spec, recipe, store, music, tmp_path):
    path = trained(store, spec, tmp_path / "model.pt", recipe=recipe)
    expected = by_the_store(load_checkpoint(path), store)
    assert expected.std(axis=0).min() > 0.01
    found = Tagger.load(path, workers=0)(paths_in(music))
    assert list(found.index) == paths_in(music)
    assert list(found.columns) == ["high", "even"]
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-5)


def test_a_convolutional_network_has_the_same_tags_with_its_norms_folded(store, music, tmp_path):
    how = TrainSettings(epochs=1, batch_size=8, width=0.05, amp="off")
    checkpoint = train(training_data(store, MEL), how).checkpoint
    found = Tagger(checkpoint, workers=0)(paths_in(music))
    np.testing.assert_allclose(found.to_numpy(), by_the_store(checkpoint, store), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_and_processes_do_not_show(batch_size, model, music):
    here = Tagger.load(model, workers=0)(paths_in(music))
    there = Tagger.load(model, workers=2, batch_size=batch_size)(paths_in(music))
    pd.testing.assert_frame_equal(here, there, atol=1e-6, rtol=0)


def test_a_network_trained_on_the_beginnings_of_tracks_tags_by_them(music, scheduler, tmp_path):
    window = dataclasses.replace(WINDOW, take="first")
    store = featurized(music, tmp_path / "store.zarr", scheduler, window)
    checkpoint = load_checkpoint(trained(store, MEL, tmp_path / "model.pt"))
    assert checkpoint.window == window
    found = Tagger(checkpoint, workers=0)(paths_in(music))
    np.testing.assert_allclose(found.to_numpy(), by_the_store(checkpoint, store), atol=1e-5)


@pytest.mark.parametrize("take", ["all", None])
def test_where_clips_are_tiles_or_unknown_a_file_is_tagged_by_its_middle(take, model, music):
    checkpoint = load_checkpoint(model)
    as_it_is = Tagger(checkpoint, workers=0)(paths_in(music))
    window = None if take is None else dataclasses.replace(WINDOW, take=take)
    unknown = dataclasses.replace(checkpoint, window=window)
    found = Tagger(unknown, workers=0)(paths_in(music))
    pd.testing.assert_frame_equal(found, as_it_is)  # 1.1 s is the shortest decimal
    # A tile has not the frame that is centred on its end.
    tile = dataclasses.replace(unknown, n_frames=checkpoint.n_frames - 1)
    assert np.isfinite(Tagger(tile, workers=0)(paths_in(music)).to_numpy()).all()


def test_audio_is_never_perturbed(model, music):
    checkpoint = load_checkpoint(model)
    noisy = dataclasses.replace(checkpoint, spec=MEL.under(Condition.parse("noise0.4")))
    clean = Tagger(checkpoint, workers=0)(paths_in(music)[0])
    pd.testing.assert_frame_equal(Tagger(noisy, workers=0)(paths_in(music)[0]), clean)


def test_one_file_is_a_row_or_raises(model, music, tmp_path):
    tagger = Tagger.load(model)
    found = tagger(music / "04.wav")
    assert list(found.index) == [str(music / "04.wav")]
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="EmptyFile: 0 bytes"):
        tagger(tmp_path / "empty.wav")
    with pytest.raises(AudioError, match="Unreadable: No such file"):
        tagger(str(tmp_path / "none.wav"))


def test_of_several_those_that_fail_are_nan_and_said_why(model, music, tmp_path):
    (tmp_path / "empty.wav").touch()
    bad = str(tmp_path / "empty.wav")
    paths = [str(music / "00.wav"), bad, str(music / "01.wav")]
    found = Tagger.load(model, workers=0)(paths)
    assert list(found.index) == paths
    assert found.isna().all(axis=1).tolist() == [False, True, False]
    assert found.attrs["failures"] == {bad: "EmptyFile: 0 bytes"}


def test_a_folder_is_all_that_is_in_it_and_duplicates_are_one(model, music):
    tagger = Tagger.load(model, workers=0)
    assert list(tagger(music).index) == paths_in(music)
    twice = tagger([music / "01.wav", music / "00.wav", music / "." / "01.wav", music])
    assert list(twice.index)[:2] == [str(music / "01.wav"), str(music / "00.wav")]
    assert len(twice) == 30


def test_silence_and_a_moment_of_sound_have_tags(model, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(5 * 44100), 44100)
    soundfile.write(tmp_path / "moment.wav", np.full(10, 0.1), 44100)
    found = Tagger.load(model, workers=0)(tmp_path)
    assert len(found) == 2
    assert found.to_numpy().min() >= 0
    assert found.to_numpy().max() <= 1


def test_windows_are_drawn_the_same_again_and_others_by_another_seed(model, music):
    tagger = Tagger.load(model, workers=0)
    first, again = (tagger(music, chunks=5, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert list(first.columns) == ["high", "even", "high votes", "even votes"]
    other = tagger(music, chunks=5, seed=4)
    assert (other["high"] != first["high"]).mean() > 0.9
    assert np.abs(other["high"] - first["high"]).mean() < 0.1  # a tone is the same all the time
    votes = first["high votes"]
    np.testing.assert_allclose(votes * 5, (votes * 5).round(), atol=1e-6)


def test_a_vote_is_the_share_of_windows_in_which_a_tag_is_as_likely_as_not(tmp_path):
    """Of a file that is low for the first third, and high for the rest."""
    checkpoint = Checkpoint(
        network=Balance(MEL, n_frames=10, n_outputs=2),
        spec=MEL,
        n_frames=35,
        tags=("high", "low"),
        settings=TrainSettings(model="balance", amp="off"),
        training=None,
    )
    tagger = Tagger(checkpoint, workers=0)
    time = np.arange(30 * SR) / SR
    tone = 0.3 * np.sin(2 * np.pi * np.where(time < 10, 300, 3000) * time)
    noise = 0.05 * np.random.default_rng(1).standard_normal(len(time))
    soundfile.write(tmp_path / "both.wav", tone + noise, SR)
    found = tagger(tmp_path / "both.wav", chunks=400)
    # of 400 drawn, the standard deviation of a share of 2/3 is 0.024
    assert found["high votes"].iloc[0] == pytest.approx(2 / 3, abs=0.08)
    assert found["low votes"].iloc[0] == pytest.approx(1 / 3, abs=0.08)
    assert found["high"].iloc[0] == pytest.approx(2 / 3, abs=0.08)
    centre = tagger(tmp_path / "both.wav")  # which is high
    assert centre["high"].iloc[0] > 0.8


@pytest.fixture
def classifier(tmp_path):
    """Which half of the bands is louder, as a class; and a file that is low for the first third."""
    settings = TrainSettings(model="balance", amp="off", task="classification")
    checkpoint = Checkpoint(
        network=Balance(MEL, n_frames=10, n_outputs=2),
        spec=MEL,
        n_frames=35,
        tags=("high", "low"),
        settings=settings,
        training=None,
    )
    save_checkpoint(tmp_path / "model", checkpoint)
    time = np.arange(30 * SR) / SR
    tone = 0.3 * np.sin(2 * np.pi * np.where(time < 10, 300, 3000) * time)
    noise = 0.05 * np.random.default_rng(1).standard_normal(len(time))
    soundfile.write(tmp_path / "both.wav", tone + noise, SR)
    return tmp_path / "model", tmp_path / "both.wav"


def test_a_class_is_what_most_windows_say_and_its_confidence_that_of_these(classifier):
    path, audio = classifier
    tagger = Tagger.load(path, workers=0)
    found = tagger(audio, chunks=400).iloc[0]
    assert found["class"] == "high"
    assert found["high votes"] == pytest.approx(2 / 3, abs=0.08)
    assert found["high votes"] + found["low votes"] == pytest.approx(1)
    assert found["confidence"] > 0.9  # windows that say so are sure; the mean of all is not
    assert found["high"] == pytest.approx(2 / 3, abs=0.08)
    alone = tagger(audio).iloc[0]
    assert (alone["class"], alone["confidence"]) == ("high", pytest.approx(alone["high"]))


def test_the_command_says_the_class_in_lines_json_and_csv(classifier, tmp_path):
    path, audio = classifier
    (tmp_path / "empty.wav").write_bytes(b"")
    rest = ("--workers", 0, "--chunks", 20, "--max-failures", "50%")
    result = tag(path, audio, tmp_path / "empty.wav", *rest, "-o", tmp_path / "tags.csv")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"    class high, confidence 1\.00, \d+% of its windows", lines[1])
    assert "in brackets: share of 20 windows that say so" in lines
    rows = list(csv.DictReader((tmp_path / "tags.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["high", ""]
    assert float(rows[0]["confidence"]) > 0.9
    assert rows[1]["reason"].startswith("EmptyFile")
    of_file = json.loads(tag(path, audio, *rest, "--json").stdout)["files"][0]
    assert of_file["class"] == "high"
    assert of_file["confidence"] == pytest.approx(float(rows[0]["confidence"]), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "invalid batch_size 0: must be at least 1"),
        ({"device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message, model):
    with pytest.raises(SettingsError, match=message):
        Tagger.load(model, **settings)


# The command


def tag(*arguments):
    return CliRunner().invoke(melgrid, ["tag", *map(str, arguments)])


def test_the_command_prints_the_most_probable_tags_in_80_columns(model, music):
    result = tag(model, music / "00.wav", music / "01.wav", "--workers", 0)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == str(music / "00.wav")
    assert re.fullmatch(r"    (high|even) 0\.\d\d, (high|even) 0\.\d\d", lines[1])
    assert re.fullmatch(r"2 of 2 files tagged in \d+\.\d s \([\d.e+]+ files/s\)", lines[4])
    assert len(lines) == 5
    one = tag(model, music / "00.wav", "--workers", 0, "--top", 1).stdout.splitlines()[1]
    assert lines[1].startswith(one)


def test_the_command_says_what_the_votes_are(model, music):
    result = tag(model, music / "00.wav", "--workers", 0, "--chunks", 4)
    assert re.search(r"^    (high|even) 0\.\d\d \((0|25|50|75|100)%\), ", result.stdout, re.M)
    assert "in brackets: share of 4 windows with at least 0.5\n" in result.stdout


def test_a_table_of_all_is_written_with_reasons(model, music, tmp_path):
    shutil.copytree(music, tmp_path / "music")
    (tmp_path / "music" / "03.wav").write_bytes(b"")
    output = tmp_path / "tags.csv"
    result = tag(model, tmp_path / "music", "-o", output, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert "… and 10 more\n29 of 30 files tagged" in result.stdout
    assert result.stdout.endswith(f"all 2 tags in {output}\n")
    assert f"failed: {tmp_path}/music/03.wav: EmptyFile: 0 bytes\n" in result.stderr
    with output.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "high", "even", "reason"]
    assert rows[4] == [f"{tmp_path}/music/03.wav", "", "", "EmptyFile: 0 bytes"]
    frame = pd.read_csv(output, index_col="path")
    expected = Tagger.load(model, workers=0)(paths_in(tmp_path / "music"))
    np.testing.assert_allclose(frame[["high", "even"]], expected, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_json_is_one_value_and_has_all(model, music, tmp_path):
    (tmp_path / "text.mp3").write_text("no music\n" * 100)
    result = tag(
        model, music / "00.wav", tmp_path / "text.mp3", "--workers", 0, "--json", "--chunks", 2,
        "--max-failures", 1,
    )  # fmt: skip
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["checkpoint"], told["spec"], told["chunks"]) == (model, MEL.name, 2)
    good, bad = told["files"]
    assert set(good["probabilities"]) == set(good["votes"]) == {"high", "even"}
    assert (bad["reason"], set(bad)) == ("DecodeError", {"path", "reason", "detail"})
    assert told["failed"] == 1


def test_too_many_failures_exit_with_1_and_all_else_is_printed(model, music, tmp_path):
    result = tag(model, music / "00.wav", tmp_path / "none.wav", "--workers", 0)
    assert result.exit_code == 1
    assert "1 of 2 files tagged" in result.stdout
    assert "1 of 2 files could not be tagged, more than --max-failures 5%" in result.stderr


def test_a_table_lists_files_whatever_else_is_in_it(model, music, tmp_path):
    table = tmp_path / "new.csv"
    table.write_text("file;title;year\n03.wav;One;1999\n01.wav;Two;2001\n")
    result = tag(model, table, "--path-column", "file", "--root", music, "--workers", 0, "--json")
    told = json.loads(result.stdout)
    assert [f["path"] for f in told["files"]] == [str(music / "03.wav"), str(music / "01.wav")]


def test_files_of_one_name_in_two_folders_are_two(model, music, tmp_path):
    for folder, number in (("a", "00"), ("b", "01")):
        (tmp_path / folder).mkdir()
        shutil.copy(music / f"{number}.wav", tmp_path / folder / "x.wav")
    told = json.loads(tag(model, tmp_path, "--workers", 0, "--json").stdout)
    assert [f["path"] for f in told["files"]] == [f"{tmp_path}/a/x.wav", f"{tmp_path}/b/x.wav"]
    assert told["files"][0]["probabilities"] != told["files"][1]["probabilities"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{empty}", "{music}"], 1, "is not a melgrid checkpoint, or is damaged"),
        (["{music}/none.pt", "{music}"], 1, "there is no checkpoint at .*none.pt; melgrid train"),
        (["{model}", "{music}", "-o", "{music}/no/t.csv"], 1, "the table of tags .* cannot be wri"),
        (["{model}", "{music}", "--device", "abacus"], 2, "device is 'abacus'"),
        (["{model}", "{music}", "--chunks", "0"], 2, "0 is not in the range x>=1"),
        (["{model}", "{music}", "--max-failures", "x"], 2, "max-failures is 'x'"),
        (["{model}", "{nothing}"], 2, "holds no audio"),
        (["{model}"], 2, "Missing argument 'AUDIO...'"),
        (["{model}", "{music}/00.wav", "--root", "x"], 2, "--root: that is for a table of tracks"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, code, message, model, music, tmp_path):
    (tmp_path / "empty.pt").touch()
    (tmp_path / "nothing").mkdir()
    names = {"model": model, "music": music, "empty": tmp_path / "empty.pt"}
    words = [word.format(**names, nothing=tmp_path / "nothing") for word in arguments]
    result = tag(*words, "--workers", 0)
    assert result.exit_code == code, result.output
    assert re.search(message, " ".join(result.stderr.split()))
    assert "Traceback" not in result.output


def test_names_that_steer_a_terminal_or_are_no_text_are_told_safely(model, music, tmp_path):
    paths = [tmp_path / os.fsdecode(name) for name in (b"\x1b[31mred.wav", b"caf\xe9.wav")]
    for path in paths:
        shutil.copy(music / "00.wav", path)
    result = tag(model, *paths, "-o", tmp_path / "tags.csv", "--workers", 0)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "2 of 2 files tagged" in result.stdout
    assert b"caf\\udce9.wav" in (tmp_path / "tags.csv").read_bytes()
