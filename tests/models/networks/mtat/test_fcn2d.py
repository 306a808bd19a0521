import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.cost import clip_cost, frames_of
from models.networks.mtat.fcn2d import FCN2D, MEL_POOLS, TIME_POOLS, pools_to_one
from tests.models.networks.norms import randomize_norms

FCN = ARCHITECTURES["fcn2d"]


def parameters_and_macs(name):
    architecture = parse_architecture(name)
    cost = clip_cost(architecture, FCN.takes, n_frames=frames_of(FCN.takes), n_outputs=50)
    return cost.parameters, sum(layer.macs for layer in cost.layers)


def test_parameters_and_macs_are_the_formula_written_out():
    parameters = 2 + (9 + 1 + 2) * 64 + 3 * (9 * 64 + 1 + 2) * 64 + 64 * 50 + 50
    macs = 9 * 64 * 96 * 1819 + 9 * 64 * 64 * (48 * 454 + 12 * 90 + 4 * 11) + 64 * 50
    assert parameters_and_macs("fcn2d") == (parameters, macs)
    parameters = 2 + (9 + 1 + 2) * 128 + 4 * (9 * 128 + 1 + 2) * 128 + 128 * 50 + 50
    maps = 48 * 454 + 24 * 113 + 12 * 28 + 4 * 5
    macs = 9 * 128 * 96 * 1819 + 9 * 128 * 128 * maps + 128 * 50
    assert parameters_and_macs("fcn2d-depth5-hidden128") == (parameters, macs)


def test_pools_are_chois_at_chois_input_and_at_16_khz():
    for depth in (4, 5):
        for n_mels in (96, 128):
            assert pools_to_one(n_mels, depth, MEL_POOLS) == MEL_POOLS[depth]
        for n_frames in (1365, 1366, 1819):
            assert pools_to_one(n_frames, depth, TIME_POOLS) == TIME_POOLS[depth]


@pytest.mark.parametrize(
    ("published", "size", "depth", "pools"),
    [
        (MEL_POOLS, 96, 3, (4, 4, 6)),
        (MEL_POOLS, 48, 4, (2, 2, 3, 4)),
        (MEL_POOLS, 1, 5, (1, 1, 1, 1, 1)),
        (TIME_POOLS, 182, 4, (3, 3, 4, 5)),  # Choi's would leave nothing
        (TIME_POOLS, 2560, 4, (7, 7, 7, 7)),  # Choi's would leave two
    ],
)
def test_other_pools_follow_from_the_size(published, size, depth, pools):
    assert pools_to_one(size, depth, published) == pools


def test_the_network_is_as_written_out():
    torch.manual_seed(0)
    network = FCN2D(FeatureSpec(sr=16000, n_mels=24), n_frames=60, n_outputs=3, width=0.1, depth=3)
    network.eval()
    randomize_norms(network)
    values = torch.randn(2, 24, 60)

    maps = network.input_norm(values[:, None])
    for (convolution, norm, *_), pool in zip(network.blocks, [(2, 3), (3, 4), (4, 5)], strict=True):
        maps = nn.functional.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        maps = nn.functional.max_pool2d(norm(maps).relu(), pool)
    expected = network.dense(maps[:, :, 0, 0])

    torch.testing.assert_close(network(values), expected)


def test_every_layer_drops_half_after_its_relu_and_before_its_pool():
    network = FCN2D(FCN.takes, n_frames=300, n_outputs=3, width=0.1)
    layers = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.MaxPool2d]
    for block in network.blocks:
        assert [type(layer) for layer in block] == layers
        assert block[3].p == 0.5


@pytest.mark.parametrize("name", ["fcn2d", "fcn2d-depth3", "fcn2d-depth5-hidden128"])
@pytest.mark.parametrize(("n_mels", "n_frames"), [(1, 1), (8, 2), (200, 31), (24, 2561)])
def test_it_takes_odd_shapes(name, n_mels, n_frames):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, n_fft=4096)
    network = parse_architecture(name).new(spec, n_frames=n_frames, n_outputs=3, width=0.1)
    assert network.eval()(torch.randn(2, n_mels, n_frames)).shape == (2, 3)
