"""Every network learns 16 clips of the demo corpus by heart: what it is taught reaches it all."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from featurestore import FeatureSpec, FeatureStore
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec
from models.data import training_data
from models.networks import ARCHITECTURES
from models.networks.architecture import Architecture
from pipeline.catalogs import open_catalog
from pipeline.demo.demo import make_demo
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

pytestmark = pytest.mark.thorough

SPECS = {
    FeatureSpec: FeatureSpec(sr=16000, n_mels=24, hop=10),
    StftSpec: StftSpec(sr=16000, hop=8),
    FbankSpec: FbankSpec(sr=16000, n_mels=40, hop_length=1600),
    WaveformSpec: WaveformSpec(sr=4000),
}
"""Of each kind that networks take a small one."""

N_CLIPS, N_TAGS, STEPS = 16, 3, 120

BOUND = 0.2
"""Mean binary cross-entropy over clips and tags; 0.69 is a coin's."""


class Learning(NamedTuple):
    """How a network is trained."""

    width: float = 0.125
    rate: float = 0.01


LEARNING = {
    # Of so few recurrent units more are needed.
    "crnn": Learning(width=0.25),
    "crnn2d": Learning(width=0.25),
    # At the higher rate their transformers stay where they are.
    "vit": Learning(rate=0.002),
    "ast": Learning(rate=0.001),
}
"""Of all others the defaults."""


@pytest.fixture(scope="module")
def store(tmp_path_factory, thorough):
    if not thorough:
        pytest.skip("--thorough runs this: it takes minutes")
    folder = tmp_path_factory.mktemp("demo")
    labels = make_demo(folder / "audio", n_clips=24)  # of which 16 are to train
    path = str(folder / "demo.zarr")
    run(open_catalog(str(labels)), path, list(SPECS.values()), RunSettings(workers=2))
    return FeatureStore.open(path)


def learnt(architecture, store, learning):
    """Train on one batch of a window of each clip; give logits as they are judged, and labels."""
    data = training_data(store, SPECS[architecture.accepts])
    frames = architecture.window_frames(data.spec, data.n_frames)
    values = torch.stack([data.train[i].values[:, :frames] for i in range(N_CLIPS)])
    labels = torch.from_numpy(data.train.labels)[:, :N_TAGS]
    torch.manual_seed(0)
    network = architecture.new(
        data.spec, n_frames=data.n_frames, n_outputs=N_TAGS, width=learning.width
    )
    for layer in network.modules():  # it is there so that nothing is learnt by heart
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        if isinstance(layer, nn.MultiheadAttention):
            layer.dropout = 0.0
    optimizer = torch.optim.Adam(network.parameters(), lr=learning.rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.02, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(network(values), labels).backward()
        optimizer.step()
        falling.step()
    with torch.inference_mode():
        return network.eval()(values), labels


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_a_network_learns_16_clips_by_heart(model, store):
    logits, labels = learnt(ARCHITECTURES[model], store, LEARNING.get(model, Learning()))
    assert cross_entropy(logits, labels) < BOUND
    # Each clip's own labels, not those of the clip before it.
    assert cross_entropy(logits, labels.roll(1, 0)) > 1


class Deaf(nn.Module):
    """A network that gives the same for every clip."""

    def __init__(self, spec, *, n_frames, n_outputs, width):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, values):
        return self.bias.expand(len(values), -1)


@pytest.mark.parametrize(
    ("architecture", "learning"),
    [
        (ARCHITECTURES["short"], Learning(rate=0.0)),
        (Architecture(name="deaf", build=Deaf), Learning()),
    ],
    ids=["learns not", "hears not"],
)
def test_what_does_not_learn_or_does_not_hear_is_told_from_what_does(architecture, learning, store):
    logits, labels = learnt(architecture, store, learning)
    assert cross_entropy(logits, labels) > 0.5
