"""Checkpoints as ONNX, run by onnxruntime. Making a model takes seconds, so most of it is slow."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import OutputError, TrainingError
from models.networks import ARCHITECTURES
from models.training.checkpoint import Checkpoint, load_checkpoint, new_network, save_checkpoint
from models.training.onnx import METADATA, TOLERANCE, export_onnx
from models.training.settings import TrainSettings
from tests.models.networks.kinds import SPECS

SPEC = FeatureSpec(sr=16000, n_mels=8, hop=10)
TAGS = ("loud", "tilted", "élan")


def write_checkpoint(path, model, spec=SPEC, n_frames=182, width=1.0, recipe="won2020"):
    """A checkpoint of a network that has learnt nothing."""
    torch.manual_seed(0)
    settings = TrainSettings(model=model, width=width, recipe=recipe)
    network = new_network(settings, spec, n_frames=n_frames, n_outputs=len(TAGS))
    if model == "spectnt-mwm":
        settle(network, spec, settings.architecture.window_frames(spec, n_frames))
    checkpoint = Checkpoint(
        network=network.eval(), spec=spec, n_frames=n_frames, tags=TAGS, settings=settings,
        training=None, source="nowhere",
    )  # fmt: skip
    save_checkpoint(path, checkpoint)
    return checkpoint


def settle(network, spec, n_frames):
    """Have batch norms know the scale of what they get: of mel power, ten orders of magnitude."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        network(torch.empty(2, spec.n_bands, n_frames).uniform_(*spec.value_range))


def predictions(path, windows):
    return onnxruntime.InferenceSession(path).run(["predictions"], {"windows": windows})[0]


def test_onnxruntime_predicts_as_pytorch_does_and_the_model_says_what_it_takes(tmp_path, my_net):
    model, path = f"{my_net}:MyNet", tmp_path / "model.onnx"
    write_checkpoint(tmp_path / "checkpoint", model, recipe="modern")
    written = export_onnx(tmp_path / "checkpoint", path, model=model)
    assert written.max_error <= TOLERANCE
    assert (written.input_shape, written.n_outputs) == ((8, 182), 3)
    assert written.nbytes == path.stat().st_size
    assert "windows (batch, 8, 182) of sr16000-mel8-x10-db to predictions" in written.lines()[0]
    assert json.loads(json.dumps(written.json()))["path"] == str(path)

    session = onnxruntime.InferenceSession(path)
    assert [i.shape for i in session.get_inputs()] == [["batch", 8, 182]]
    assert [o.shape for o in session.get_outputs()] == [["batch", 3]]
    loaded = load_checkpoint(tmp_path / "checkpoint", model=model)
    windows = np.random.default_rng(1).normal(-40, 20, (5, 8, 182)).astype(np.float32)
    with torch.inference_mode():
        expected = loaded.network(torch.from_numpy(windows)).sigmoid()
    np.testing.assert_allclose(predictions(path, windows), expected, rtol=0, atol=TOLERANCE)
    said = session.get_modelmeta().custom_metadata_map
    assert said.keys() == set(METADATA)
    assert json.loads(said.pop("tags")) == list(TAGS)
    assert said == {
        "model": loaded.settings.architecture.name,
        "task": "tagging",
        "spec": "sr16000-mel8-x10-db",
        "unit": "dB",
        "sr": "16000",
        "hop": "2560",
        "window": str(182 * 2560),
        "n_windows": "0",
        "source": "nowhere",
    }


def test_without_the_extra_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as where it is not installed
    with pytest.raises(TrainingError, match=r"^onnxscript not .*pip install 'melgrid\[onnx\]'"):
        export_onnx(tmp_path / "checkpoint", tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("model", ARCHITECTURES)
def test_every_network_is_the_same_as_onnx(model, tmp_path):
    architecture = ARCHITECTURES[model]
    spec = architecture.takes or SPECS[architecture.accepts][0]
    n_frames = spec.n_frames(round(29.1 * spec.sr))
    width = 0.1 if architecture.has_width else 1.0
    checkpoint = write_checkpoint(tmp_path / "checkpoint", model, spec, n_frames, width)
    written = export_onnx(tmp_path / "checkpoint", tmp_path / "model.onnx")
    assert written.max_error <= TOLERANCE
    low, high = spec.value_range
    windows = np.random.default_rng(1).uniform(low, high, (2, *written.input_shape))
    windows = windows.astype(np.float32)
    with torch.inference_mode():
        expected = checkpoint.network(torch.from_numpy(windows)).sigmoid().numpy()
    assert np.ptp(expected) > 5 * TOLERANCE  # what it gives is not one number
    np.testing.assert_allclose(
        predictions(tmp_path / "model.onnx", windows), expected, rtol=0, atol=TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("self.dense(values.mean(2)) * values.new_tensor([len(values)])", "does not run for|ONNX"),
        ("self.dense(values.mean(2)) + torch.rand(1)", "predicts otherwise than PyTorch, by"),
        ("self.dense(torch.linalg.eigvalsh(values @ values.mT))", "cannot be written as ONNX"),
    ],
)
def test_a_network_that_is_another_as_onnx_is_refused_and_not_written(
    forward, message, tmp_path, my_net
):
    text = my_net.read_text().replace("self.dense(values.mean(2))", forward)
    my_net.write_text("import torch\n" + text)
    write_checkpoint(tmp_path / "checkpoint", f"{my_net}:MyNet")
    path = tmp_path / "model.onnx"
    with pytest.raises(TrainingError, match=message) as caught:
        export_onnx(tmp_path / "checkpoint", path, model=f"{my_net}:MyNet")
    assert "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.slow
def test_a_place_that_cannot_be_is_an_error(tmp_path, my_net):
    write_checkpoint(tmp_path / "checkpoint", f"{my_net}:MyNet")
    with pytest.raises(OutputError, match=r"the model .* cannot be written"):
        export_onnx(
            tmp_path / "checkpoint", tmp_path / "no" / "model.onnx", model=f"{my_net}:MyNet"
        )
