import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.cost import clip_cost, frames_of
from models.networks.mtat.fcn1d import FCN1D, same_pools
from tests.models.networks.norms import randomize_norms

FCN = ARCHITECTURES["fcn1d"]


def parameters_and_macs(name):
    architecture = parse_architecture(name)
    cost = clip_cost(architecture, FCN.takes, n_frames=frames_of(FCN.takes), n_outputs=50)
    return cost.parameters, sum(layer.macs for layer in cost.layers)


def test_parameters_and_macs_are_the_formula_written_out():
    parameters = 2 + (3 * 48 + 1 + 2) * 64 + 3 * (3 * 64 + 1 + 2) * 64
    macs = 3 * 48 * 64 * 1819 + 3 * 64 * 64 * (454 + 113 + 28)
    head = 7 * 64 * 512 + 512 * 50
    assert parameters_and_macs("fcn1d") == (parameters + head + 512 + 50, macs + head)


def test_options_change_the_network_as_the_formula_says():
    parameters = 2 + (3 * 48 + 1 + 2) * 128 + 2 * (3 * 128 + 1 + 2) * 128
    macs = 3 * 48 * 128 * 1819 + 3 * 128 * 128 * (454 + 113)
    head = 28 * 128 * 512 + 512 * 50
    assert parameters_and_macs("fcn1d-depth3-hidden128") == (
        parameters + head + 512 + 50, macs + head
    )  # fmt: skip
    # Experiment 2: Choi's pools (4, 5, 8, 8), and nothing between them and the outputs.
    parameters = 2 + (3 * 48 + 1 + 2) * 64 + 3 * (3 * 64 + 1 + 2) * 64
    macs = 3 * 48 * 64 * 1819 + 3 * 64 * 64 * (454 + 90 + 11)
    assert parameters_and_macs("fcn1d-dense0") == (parameters + 64 * 50 + 50, macs + 64 * 50)


@pytest.mark.parametrize(
    ("n_frames", "depth", "pool"),
    [(1819, 3, 4), (1819, 5, 4), (1023, 5, 3), (182, 4, 3), (137, 5, 2), (15, 4, 1), (1, 3, 1)],
)
def test_the_pool_is_the_same_at_every_layer_and_4_or_the_largest_that_leaves_a_step(
    n_frames, depth, pool
):
    assert same_pools(n_frames, depth) == (pool,) * depth
    assert pool**depth <= n_frames
    assert pool == 4 or (pool + 1) ** depth > n_frames


def test_the_network_is_as_written_out():
    torch.manual_seed(0)
    network = FCN1D(FeatureSpec(sr=16000, n_mels=5), n_frames=150, n_outputs=3, width=0.1, depth=3)
    network.eval()
    randomize_norms(network)
    values = torch.randn(2, 5, 150)

    norm = network.input_norm
    steps = (values - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    steps = steps * norm.weight + norm.bias
    for convolution, batch_norm, *_ in network.blocks:
        steps = nn.functional.conv1d(steps, convolution.weight, convolution.bias, padding=1)
        steps = nn.functional.max_pool1d(batch_norm(steps).relu(), 4)
    assert steps.shape == (2, 6, 2)
    first, *_ = network.hidden
    expected = network.dense(first(steps.flatten(1)).relu())

    torch.testing.assert_close(network(values), expected)


def test_every_layer_drops_half_after_its_relu_and_before_its_pool():
    network = FCN1D(FCN.takes, n_frames=300, n_outputs=3, width=0.1)
    layers = [nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.MaxPool1d]
    for block in network.blocks:
        assert [type(layer) for layer in block] == layers
        assert block[3].p == 0.5


@pytest.mark.parametrize("name", ["fcn1d", "fcn1d-dense0", "fcn1d-depth5"])
@pytest.mark.parametrize(("n_mels", "n_frames"), [(1, 1), (8, 2), (200, 31), (24, 1025)])
def test_it_takes_odd_shapes(name, n_mels, n_frames):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, n_fft=4096)
    network = parse_architecture(name).new(spec, n_frames=n_frames, n_outputs=3, width=0.1)
    assert network.eval()(torch.randn(2, n_mels, n_frames)).shape == (2, 3)
