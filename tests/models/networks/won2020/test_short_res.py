import pytest
import torch
from torch.nn import functional

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.short_res import ShortRes
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["short_res"]


def test_parameters_and_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, ARCHITECTURE.takes, n_frames=1819, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (7, 231)
    assert cost.parameters == 12_104_244
    maps = (2 * 128 + 128 * 128) * 64 * 116 + 3 * 128 * 128 * 32 * 58
    maps += (2 * 128 * 256 + 256 * 256) * 16 * 29
    maps += 3 * 256 * 256 * (8 * 15 + 4 * 8 + 2 * 4) + (2 * 256 * 512 + 512 * 512) * 1 * 2
    dense = 512 * 512 + 512 * 50
    assert sum(layer.macs for layer in cost.layers) == 7 * (9 * maps + dense)


@pytest.mark.parametrize(
    ("sr", "n_mels", "hop", "left"),
    [
        (16000, 128, 1, (1, 2)),
        (12000, 96, 2, (1, 1)),
        (16000, 8, 10, (1, 1)),
        (22050, 300, 1, (3, 3)),
    ],
)
def test_strides_fit_every_resolution(sr, n_mels, hop, left):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, hop=hop, n_fft=4096)
    frames = ARCHITECTURE.window_frames(spec, frames_of(spec))
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=frames, n_outputs=2).eval()
        maps = network.blocks(torch.empty(1, 1, n_mels, frames))
        assert network(torch.empty(1, n_mels, frames)).shape == (1, 2)
    assert maps.shape == (1, 512, *left)


def test_the_network_is_the_studys_as_written_out():
    torch.manual_seed(0)
    spec = FeatureSpec(sr=16000, n_mels=128, htk=True)
    network = ShortRes(spec, n_frames=231, n_outputs=3, width=0.02).eval()
    randomize_norms(network)
    values = torch.randn(2, 128, 231)

    def convolve(maps, convolution, stride):
        return functional.conv2d(maps, convolution.weight, convolution.bias, stride, padding=1)

    maps = network.input_norm(values[:, None])
    for block in network.blocks:
        conv1, norm1, _, conv2, norm2 = block.straight
        conv3, norm3 = block.beside
        first = norm1(convolve(maps, conv1, 2)).relu()
        maps = (norm2(convolve(first, conv2, 1)) + norm3(convolve(maps, conv3, 2))).relu()
    assert maps.shape == (2, 10, 1, 2)
    dense, norm, *_ = network.hidden

    expected = network.dense(norm(dense(maps[:, :, 0].max(2).values)).relu())
    torch.testing.assert_close(network(values), expected)
