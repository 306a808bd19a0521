import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.cost import frames_of
from tests.models.networks.kinds import SPECS

PAIRS = [(model, spec) for model, a in ARCHITECTURES.items() for spec in SPECS[a.accepts]]


@pytest.mark.parametrize(("model", "spec"), PAIRS, ids=str)
def test_every_network_takes_a_training_step_at_every_spec_of_the_study(model, spec):
    architecture = ARCHITECTURES[model]
    n_frames = architecture.window_frames(spec, frames_of(spec))
    torch.manual_seed(1)
    width = 0.03 if architecture.has_width else 1
    network = architecture.new(spec, n_frames=frames_of(spec), n_outputs=5, width=width)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()  # of so few units it may drop all
    before = {name: values.clone() for name, values in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    logits = network(torch.randn(3, spec.n_bands, n_frames))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.eye(3, 5)).backward()
    optimizer.step()

    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    after = dict(network.named_parameters())
    assert all(values.isfinite().all() for values in after.values())
    # What is learnt reaches every part, from the last layer to the first.
    learnt = {n.split(".")[0] for n in after if not torch.equal(before[n], after[n])}
    assert learnt == {n.split(".")[0] for n in after}


def test_networks_are_listed_by_their_own_names():
    for name, architecture in ARCHITECTURES.items():
        assert architecture.name == name
        assert parse_architecture(name) is architecture


@pytest.mark.parametrize("model", [a.name for a in ARCHITECTURES.values() if a.takes is not None])
def test_a_network_can_be_made_for_the_spec_that_it_was_published_with(model):
    architecture = ARCHITECTURES[model]
    n_frames = frames_of(architecture.takes)
    with torch.device("meta"):
        network = architecture.new(architecture.takes, n_frames=n_frames, n_outputs=50).eval()
        frames = architecture.window_frames(architecture.takes, n_frames)
        assert network(torch.empty(2, architecture.takes.n_bands, frames)).shape == (2, 50)


def test_the_two_poolings_of_musicnn_are_two_networks():
    spec = FeatureSpec(sr=16000, n_mels=96)
    with torch.device("meta"):
        dense = [
            ARCHITECTURES[name].new(spec, n_frames=1819, n_outputs=50).hidden[1].in_features
            for name in ("musicnn", "musicnn-original")
        ]
    assert dense == [2 * ((187 - 6) // 2), 2 * 512]


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(
        TrainingError, match="model is 'resnet'; it must be one of vgg, musicnn, musicnn-original"
    ):
        parse_architecture("resnet")
