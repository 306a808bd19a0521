import pytest
import torch
from torch.nn import functional

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.pools import to_one
from models.networks.won2020.fcn import FCN, MEL_POOLS, TIME_POOLS
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["fcn"]


def test_parameters_and_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, ARCHITECTURE.takes, n_frames=1819, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (1, 1813)
    assert cost.parameters == 447_732
    maps = 64 * 96 * 1813
    maps += 64 * 128 * 48 * 453 + 128 * 128 * (24 * 113 + 12 * 28) + 128 * 64 * 4 * 5
    assert sum(layer.macs for layer in cost.layers) == 9 * maps + 64 * 50


@pytest.mark.parametrize(
    ("sr", "n_mels", "hop", "mel", "time"),
    [
        (16000, 96, 1, MEL_POOLS, TIME_POOLS),
        (12000, 128, 1, MEL_POOLS, TIME_POOLS),
        (16000, 48, 2, (2, 2, 2, 2, 3), (3, 4, 4, 4, 4)),
        (16000, 8, 10, (1, 1, 2, 2, 2), (2, 3, 3, 3, 3)),
        (12000, 24, 5, (1, 2, 2, 2, 3), (3, 3, 3, 3, 3)),
    ],
)
def test_pools_are_the_published_ones_where_they_leave_one_cell_else_even_ones(
    sr, n_mels, hop, mel, time
):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, hop=hop)
    frames = ARCHITECTURE.window_frames(spec, frames_of(spec))
    assert (to_one(n_mels, MEL_POOLS), to_one(frames, TIME_POOLS)) == (mel, time)
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=frames, n_outputs=2)
        maps = network.blocks(torch.empty(1, 1, n_mels, frames))
    assert [block[2].kernel_size for block in network.blocks] == list(zip(mel, time, strict=True))
    assert maps.shape == (1, 64, 1, 1)


def test_the_network_is_the_studys_as_written_out():
    torch.manual_seed(0)
    network = FCN(FeatureSpec(sr=16000, n_mels=96), n_frames=1300, n_outputs=3, width=0.03).eval()
    randomize_norms(network)
    values = torch.randn(2, 96, 1300)

    maps = network.input_norm(values[:, None])
    pools = [(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)]
    for (convolution, norm, *_), pool in zip(network.blocks, pools, strict=True):
        maps = functional.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        maps = functional.max_pool2d(norm(maps).relu(), pool)
    assert maps.shape == (2, 2, 1, 1)

    torch.testing.assert_close(network(values), network.dense(maps[:, :, 0, 0]))
