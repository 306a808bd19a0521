import json

import matplotlib.image
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from cli import melgrid
from featurestore import FeatureSpec
from featurestore.errors import TrainingError, UnknownSpecError
from models.data import training_data
from models.networks import ARCHITECTURES
from models.networks.architecture import Architecture
from models.report.attention import draw_attention
from models.training.checkpoint import Checkpoint, new_network, save_checkpoint
from models.training.evaluate import evaluate
from models.training.settings import TrainSettings

SPEC = FeatureSpec(sr=16000, n_mels=16, hop=10)  # a frame is 0.16 s, a window of 15 s 94
TAGS = ("loud", "声楽")


class Loudest(nn.Module):
    """Looks at the loudest step of 10 frames, and says that it is loud."""

    has_cls = False
    frames_per_step = 10

    def __init__(self, spec, *, n_frames, n_outputs, width=1.0):
        super().__init__()
        self.bias = nn.Parameter(torch.linspace(3, -3, n_outputs))

    def forward(self, values):
        return self.bias.expand(len(values), -1)

    def attention(self, values):
        n_steps = values.shape[2] // 10
        steps = values[:, :, : 10 * n_steps].mean(1).unflatten(1, (n_steps, 10)).mean(2)
        one = nn.functional.one_hot(steps.argmax(1), n_steps).float()
        return one[:, None, None, None, :].expand(-1, 1, 1, n_steps, -1)


@pytest.fixture
def loudest(monkeypatch):
    architecture = Architecture(name="loudest", build=Loudest, window=15, is_centred=True)
    monkeypatch.setitem(ARCHITECTURES, "loudest", architecture)


@pytest.fixture
def store(write_store):
    """Six clips of 300 frames, loud at frames 205 to 209; of the last, 180 frames are audio."""
    values = np.full((6, 16, 300), -60, np.float32)
    values[:, :, 205:210] = -10
    values[:, :, 42:44] = -30
    return write_store(
        {SPEC: values},
        tags={"loud": [1, 0] * 3, "声楽": [0, 1] * 3},
        split=["train"] * 2 + ["validation"] * 2 + ["test"] * 2,
        n_valid=[300 * 2560] * 5 + [179 * 2560],
    )


def saved(path, model, *, n_frames=300, spec=SPEC, recipe="ferraro2020"):
    torch.manual_seed(0)
    settings = TrainSettings(model=model, width=0.03, recipe=recipe, device="cpu")
    network = new_network(settings, spec, n_frames=n_frames, n_outputs=len(TAGS)).eval()
    checkpoint = Checkpoint(
        network=network, spec=spec, n_frames=n_frames, tags=TAGS, settings=settings, training=None
    )
    save_checkpoint(path, checkpoint)
    return checkpoint


def test_attention_stands_where_the_network_looks(store, loudest, tmp_path):
    saved(tmp_path / "net", "loudest")
    picture = draw_attention(store, 0, tmp_path / "net", tmp_path / "clip.png")
    # Windows of 94 frames begin at 0, 69, 137 and 206; of their 9 steps each looks at one alone.
    # Steps of the clip that lie in two windows, or in parts of theirs, get the mean by frame.
    assert len(picture.attention) == 30
    expected = {4: 9, 6: 9 / 11, 7: 81 / 20, 20: 63 / 14, 21: 117 / 20}
    assert {i: picture.attention[i] for i in expected} == pytest.approx(expected)
    assert sum(value > 0 for value in picture.attention) == len(expected)
    assert picture.step_seconds == pytest.approx(1.6)
    assert picture.probabilities == pytest.approx(
        {"loud": 1 / (1 + np.exp(-3)), "声楽": 1 / (1 + np.exp(3))}
    )
    assert any("most attention   at 6.4 s, 9 times the mean" in line for line in picture.lines())


def test_padding_is_not_looked_at(store, loudest, tmp_path):
    saved(tmp_path / "net", "loudest")
    picture = draw_attention(store, 5, tmp_path / "net", tmp_path / "clip.png")
    assert picture.attention[18:] == (None,) * 12
    assert all(value is not None for value in picture.attention[:17])


@pytest.mark.parametrize(("model", "recipe"), [("attention", "modern"), ("vit", "ferraro2020")])
def test_networks_of_the_field_are_drawn_with_the_tags_that_they_predict(
    store, tmp_path, model, recipe
):
    checkpoint = saved(tmp_path / "net", model, recipe=recipe)
    picture = draw_attention(store, 5, tmp_path / "net", tmp_path / "clip.png")
    paid = [value for value in picture.attention if value is not None]
    assert len(paid) > 10
    assert np.mean(paid) == pytest.approx(1, abs=0.1)
    assert len(set(paid)) > 5
    test = training_data(store, SPEC, tags=TAGS).test
    expected = evaluate(checkpoint, test).predictions[1]
    assert [picture.probabilities[tag] for tag in TAGS] == pytest.approx(expected.tolist())
    assert list(picture.probabilities.values()) == sorted(picture.probabilities.values())[::-1]
    pixels = matplotlib.image.imread(tmp_path / "clip.png")
    assert pixels.shape == (484, 1100, 4)
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 100


def test_a_network_without_attention_is_refused_in_a_line(store, tmp_path):
    saved(tmp_path / "net", "vgg")
    message = r"^vgg has no attention .* of attention or vit or ast or mtt or spectnt$"
    with pytest.raises(TrainingError, match=message):
        draw_attention(store, 0, tmp_path / "net", tmp_path / "clip.png")
    assert not (tmp_path / "clip.png").exists()


def test_clips_of_another_length_or_spec_are_refused(store, tmp_path):
    saved(tmp_path / "short", "attention", n_frames=200)
    with pytest.raises(TrainingError, match=r"takes clips of 200 frames, those of .* have 300"):
        draw_attention(store, 0, tmp_path / "short", tmp_path / "clip.png")
    saved(tmp_path / "other", "attention", spec=FeatureSpec(sr=16000, n_mels=24, hop=10))
    with pytest.raises(UnknownSpecError):
        draw_attention(store, 0, tmp_path / "other", tmp_path / "clip.png")


def test_show_draws_it_beside_the_clips_other_pictures(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved("net", "attention")
    command = ["show", store.path, "clip 1", "--attention", "net"]
    shown = CliRunner().invoke(melgrid, [*command, "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["picture"] == "clip-1.png"
    assert found["row"] == 1
    assert (tmp_path / "clip-1.png").stat().st_size > 10_000
    refused = CliRunner().invoke(melgrid, [*command, "--conditions", "all"])
    assert refused.exit_code == 2
    assert "leave out --specs and --conditions" in refused.stderr
