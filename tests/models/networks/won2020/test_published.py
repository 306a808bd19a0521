"""Published weights, of this test's making, and where they are at hand, the study's own."""

import json
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from featurestore.errors import TrainingError
from models.networks.won2020 import crnn, fcn, musicnn
from models.networks.won2020.published import FRONT_END
from tests.models.networks.norms import randomize_norms

MODULES = {"fcn": fcn, "crnn": crnn, "musicnn": musicnn}
"""By the names of the study's files."""

SHARED = Path(__file__).parents[5] / "shared" / "data"
ZOO = SHARED / "zoo"
MP3 = SHARED / "mtat" / "joram-moments_of_clarity-08-solipsism-59-88.mp3"
N_WINDOWS = 16


def new(module, n_outputs=50):
    spec = module.ARCHITECTURE.takes
    n_frames = spec.n_frames(round(module.ARCHITECTURE.window * spec.sr))
    return module.ARCHITECTURE.new(spec, n_frames=n_frames, n_outputs=n_outputs)


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]


@pytest.fixture
def state(module):
    """Weights of a network, as the study's code would name them."""
    torch.manual_seed(0)
    network = new(module, n_outputs=7)
    randomize_norms(network)
    theirs = {here: name for name, here in module.PUBLISHED.items()}
    named = {}
    for name, values in network.state_dict().items():
        here, _, kind = name.rpartition(".")
        named[f"{theirs[here]}.{kind}"] = values
    return named | dict.fromkeys(FRONT_END, torch.zeros(3))


def test_published_weights_are_those_of_a_network_here_for_as_many_outputs(module, state):
    network = new(module, n_outputs=7)
    network.load_state_dict(module.from_published(state))
    for name, values in network.state_dict().items():
        assert any(values is published or torch.equal(values, published)
                   for published in state.values()), name  # fmt: skip
    assert len(network.state_dict()) == len(state) - len(FRONT_END)


def test_unknown_missing_and_misshapen_weights_are_refused_by_name(module, state):
    name = f"published weights of {module.ARCHITECTURE.name}: "
    with pytest.raises(TrainingError, match=rf"{name}layer9\.conv\.weight is unknown; choose"):
        module.from_published(state | {"layer9.conv.weight": torch.zeros(3)})
    with pytest.raises(TrainingError, match=rf"{name}layer1\.bn\.scale is unknown"):
        module.from_published(state | {"layer1.bn.scale": torch.zeros(3)})
    with pytest.raises(TrainingError, match=rf"{name}spec_bn\.weight is \(2,\), not \(1,\)"):
        module.from_published(state | {"spec_bn.weight": torch.zeros(2)})
    for missing in ("spec_bn.running_mean", "layer1.conv.weight", list(state)[-3]):
        rest = {key: values for key, values in state.items() if key != missing}
        with pytest.raises(TrainingError, match=rf"{name}{missing} is missing"):
            module.from_published(rest)


def test_weights_of_another_network_are_refused(module, state):
    for other in MODULES.values():
        if other is not module:
            with pytest.raises(TrainingError, match=r"is (unknown|missing|\(.*\), not \(.*\))"):
                other.from_published(state)


def decibels(samples, padding):
    """The study's front end: ``(96, n_frames)`` of a window of samples."""
    filters = librosa.filters.mel(sr=16000, n_fft=512, n_mels=96, htk=True, norm=None)
    spectrum = torch.stft(
        torch.from_numpy(samples),
        512,
        256,
        window=torch.hann_window(512),
        pad_mode=padding,
        return_complex=True,
    )
    power = torch.from_numpy(filters) @ spectrum.abs().square()
    return 10 * power.clamp(min=1e-10).log10()


def probabilities(name, samples, starts, padding="reflect"):
    """Of windows of the study's network, each from its own samples."""
    module = MODULES[name]
    network = new(module).eval()
    weights = torch.load(ZOO / f"{name}.pth", map_location="cpu", weights_only=True)
    network.load_state_dict(module.from_published(weights))
    length = round(module.ARCHITECTURE.window * 16000)
    with torch.inference_mode():
        windows = [decibels(samples[start:][:length], padding) for start in starts]
        return network(torch.stack(windows)).sigmoid().numpy()


@pytest.fixture(scope="module")
def golden():
    if not ZOO.is_dir():
        pytest.skip("the study's weights are not here")
    return json.loads((ZOO / "golden-mtat.json").read_text())


@pytest.fixture(scope="module")
def music(golden):
    samples, sr = soundfile.read(MP3, dtype="float32")
    assert (sr, len(samples)) == (16000, golden["n_samples"]["mp3"])
    return samples


@pytest.mark.parametrize("name", MODULES)
def test_of_the_studys_input_and_weights_the_output_is_the_studys(name, golden, music):
    noise = (0.1 * np.random.default_rng(0).standard_normal(464_000)).astype(np.float32)
    for kind, samples in {"mp3": music, "noise": noise}.items():
        (found,) = probabilities(name, samples, [0])
        np.testing.assert_allclose(found, golden[name][kind]["first"], rtol=0, atol=1e-4)
    # The tolerance is narrow enough to see how the ends of a window are padded.
    (padded,) = probabilities(name, music, [0], "constant")
    assert np.abs(padded - golden[name]["mp3"]["first"]).max() > 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_of_a_clip_the_mean_over_16_windows_is_the_studys(name, golden, music):
    length = golden["window_samples"][name]
    starts = [i * ((len(music) - length) // N_WINDOWS) for i in range(N_WINDOWS)]
    found = probabilities(name, music, starts)
    np.testing.assert_allclose(found.mean(0), golden[name]["mp3"]["mean16"], rtol=0, atol=1e-4)
    # The windows differ by more than the tolerance: a single one would not do.
    assert np.abs(found[0] - golden[name]["mp3"]["mean16"]).max() > 1e-3
