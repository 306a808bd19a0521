import pytest
import torch
from torch.nn import functional

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.short import Short
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["short"]


def test_parameters_and_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, ARCHITECTURE.takes, n_frames=1819, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (7, 231)
    assert cost.parameters == 3_687_348
    maps = 128 * 128 * 231 + 128 * 128 * 64 * 115 + 128 * 256 * 32 * 57
    maps += 256 * 256 * (16 * 28 + 8 * 14 + 4 * 7) + 256 * 512 * 2 * 3
    dense = 512 * 512 + 512 * 50
    assert sum(layer.macs for layer in cost.layers) == 7 * (9 * maps + dense)


@pytest.mark.parametrize(
    ("sr", "n_mels", "hop", "n_mel_pools", "n_time_pools", "left"),
    [
        (16000, 128, 1, 7, 7, (1, 1)),
        (12000, 96, 1, 6, 7, (1, 1)),
        (16000, 48, 2, 5, 6, (1, 1)),
        (16000, 8, 10, 3, 4, (1, 1)),
        (22050, 300, 1, 7, 7, (2, 2)),
    ],
)
def test_pools_are_of_2_where_two_cells_are_left(sr, n_mels, hop, n_mel_pools, n_time_pools, left):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, hop=hop, n_fft=4096)
    frames = ARCHITECTURE.window_frames(spec, frames_of(spec))
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=frames, n_outputs=2).eval()
        maps = network.blocks(torch.empty(1, 1, n_mels, frames))
    mel, time = zip(*(block[2].kernel_size for block in network.blocks), strict=True)
    assert mel == (2,) * n_mel_pools + (1,) * (7 - n_mel_pools)
    assert time == (2,) * n_time_pools + (1,) * (7 - n_time_pools)
    assert maps.shape == (1, 512, *left)


def test_the_network_is_the_studys_as_written_out():
    torch.manual_seed(0)
    spec = FeatureSpec(sr=16000, n_mels=128, htk=True)
    network = Short(spec, n_frames=400, n_outputs=3, width=0.02).eval()
    randomize_norms(network)
    values = torch.randn(2, 128, 400)

    maps = network.input_norm(values[:, None])
    for convolution, norm, *_ in network.blocks:
        maps = functional.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        maps = functional.max_pool2d(norm(maps).relu(), 2)
    assert maps.shape == (2, 10, 1, 3)
    dense, norm, *_ = network.hidden

    expected = network.dense(norm(dense(maps.flatten(2).max(2).values)).relu())
    torch.testing.assert_close(network(values), expected)
