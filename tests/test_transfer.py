"""From weights as they are published, by an adapter, to a checkpoint: the commands, one by one."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from cli import melgrid
from featurestore.specs.fbank import FbankSpec
from models.networks import parse_architecture
from models.networks.adapters import Adapter
from models.networks.gong2021 import ast
from models.training.checkpoint import load_checkpoint

SPEC = ast.ARCHITECTURE.takes


def invoke(*arguments):
    return CliRunner().invoke(melgrid, [str(argument) for argument in arguments])


def done(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments, code=2):
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def store(make_store):
    """Clips of half a second: four patches along time."""
    return make_store(specs=[SPEC], failed=(), pending=()).path


@pytest.fixture
def imported(tmp_path):
    """A checkpoint for three tags, of weights for 10 s that a layer of AST might have."""
    torch.manual_seed(0)
    network = parse_architecture("ast-layers1").new(SPEC, n_frames=1024, n_outputs=3)
    save_file(network.state_dict(), tmp_path / "published.safetensors")
    (tmp_path / "tags.txt").write_text("Music\nSpeech\nRain\n")
    path = tmp_path / "imported.safetensors"
    said = done(
        "import-weights", tmp_path / "published.safetensors", "--model", "ast-layers1",
        "--tags", tmp_path / "tags.txt", "-o", path,
    ).output  # fmt: skip
    assert "3 tags" in said
    return path


TRAIN = ("--batch-size", 5, "--epochs", 1, "--device", "cpu", "--amp", "off")
ADAPT = ("--adapter", "dora", "--rank", 3, "--alpha", 8.49, "--adapt-layers", "0")


@pytest.mark.slow
def test_published_weights_are_adapted_to_other_tags_and_shorter_clips(store, imported, tmp_path):
    usual = (
        "train", store, "--model", "ast-layers1-hidden50", "--recipe", "ast-dora", *TRAIN,
        "--init", imported, *ADAPT,
    )  # fmt: skip
    path = tmp_path / "whole.safetensors"
    trained = done(*usual, "-o", path)
    assert "starts from imported.safetensors; its head is new, for 2 tags" in trained.stderr
    whole = load_checkpoint(path)
    assert whole.settings.adapter == Adapter(kind="dora", rank=3, alpha=8.49, layers=(0, 0))
    assert whole.source.startswith("imported.safetensors, sha256 ")
    assert (whole.tags, whole.network.grid) == (("drums", "loud"), (12, 4))

    alone = tmp_path / "adapter.safetensors"
    assert f"saved in {alone}" in done(*usual, "--save-adapter", alone).output
    assert alone.stat().st_size < 0.02 * path.stat().st_size
    merged = tmp_path / "merged.safetensors"
    found = json.loads(done("merge-adapter", imported, alone, "-o", merged, "--json").stdout)
    assert found["adapter"] == "dora"
    scores = [
        json.loads(done("evaluate", checkpoint, store, "--json").stdout)["scores"]
        for checkpoint in (path, merged)
    ]
    assert scores[0] == scores[1]
    line = refused("evaluate", alone, store, code=1)
    assert "without the network: melgrid merge-adapter BASE" in line
    line = refused("merge-adapter", path, alone, "-o", merged, code=1)
    assert "was learnt from imported.safetensors, sha256 " in line


def test_an_adapter_of_random_weights_is_warned_of(store, tmp_path):
    usual = ("train", store, "--model", "ast-layers1", "--width", 0.05, *TRAIN)
    trained = done(*usual, "-o", tmp_path / "model", *ADAPT)
    assert "without --init, --adapter is no transfer" in trained.stderr
    assert "warning" not in done(*usual, "-o", tmp_path / "other").stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--rank", "2"), 2, "--rank, --alpha and --adapt-… are of --adapter: give it too"),
        (("--adapter", "dora", "--rank", "0"), 2, "rank is 0; it must be a whole number from 1"),
        (("--adapter", "dora", "--adapt-layers", "10:11"), 2, "is not a range of layers, such as"),
        (("--adapter", "dora", "--adapt-layers", "3-1"), 2, "give the first and the last, from 0"),
        (("--adapter", "dora", "--adapt-layers", "1"), 1, "no dense layer in layers 1-1 is called"),
        (("--adapter", "dora", "--save-adapter", "a"), 2, "a checkpoint that it started from"),
        (("--init", "none"), 1, "there is no checkpoint at none; melgrid train writes one"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(store, tmp_path, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    usual = ("train", store, "--model", "ast-layers1", "--width", 0.05, *TRAIN)
    assert message in refused(*usual, *options, code=code)


def test_a_network_of_another_width_is_refused(store, imported, tmp_path):
    line = refused(
        "train", store, "--model", "ast-layers1", "--width", 0.05, *TRAIN, "--init", imported,
        code=1,
    )  # fmt: skip
    assert "imported.safetensors to start from does not fit" in line
    assert "take its --width 1" in line


def test_bands_that_the_start_did_not_have_are_told(make_store, tmp_path, imported):
    store = make_store(specs=[FbankSpec(sr=16000, n_mels=64)], failed=(), pending=()).path
    trained = done(
        "train", store, "--model", "ast-layers1", *TRAIN, "--init", imported, *ADAPT,
        "-o", tmp_path / "model",
    )  # fmt: skip
    assert "trained on sr16000-fbank128-hop160, not on sr16000-fbank64-hop160" in trained.stderr
