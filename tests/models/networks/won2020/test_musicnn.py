import pytest
import torch
from torch.nn import functional

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.musicnn import MUSICNN
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["musicnn-smc"]


def test_parameters_and_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, ARCHITECTURE.takes, n_frames=1819, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (9, 188)
    assert cost.parameters == 784_300
    timbre = 204 * 7 * (67 * 30 + 38 * 59) * 188
    temporal = 51 * (129 + 65 + 33) * 188
    middle = 7 * (561 * 64 + 2 * 64 * 64) * 188
    dense = 2 * (561 + 3 * 64) * 200 + 200 * 50
    assert sum(layer.macs for layer in cost.layers) == 9 * (timbre + temporal + middle + dense)


@pytest.mark.parametrize(
    ("sr", "n_mels", "hop", "heights", "n_frames"),
    [(16000, 96, 1, (67, 38), 188), (12000, 128, 2, (89, 51), 71), (16000, 8, 10, (5, 3), 19),
     (16000, 1, 1, (1, 1), 188)],
)  # fmt: skip
def test_timbre_filters_are_0_7_and_0_4_of_the_bands_high_and_at_least_one(
    sr, n_mels, hop, heights, n_frames
):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, hop=hop)
    assert ARCHITECTURE.window_frames(spec, frames_of(spec)) == n_frames
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=n_frames, n_outputs=50)
    assert [layer[0].kernel_size for layer in network.timbre] == [(n, 7) for n in heights]
    assert [layer[0].kernel_size for layer in network.temporal] == [(129,), (65,), (33,)]


def test_the_network_is_the_studys_as_written_out():
    torch.manual_seed(0)
    network = MUSICNN(FeatureSpec(sr=16000, n_mels=13), n_frames=21, n_outputs=3, width=0.03).eval()
    randomize_norms(network)
    values = torch.randn(2, 13, 21)

    maps = network.input_norm(values[:, None])
    front = []
    for convolution, norm, _ in network.timbre:
        padded = functional.pad(maps, (3, 3))
        rows = norm(functional.conv2d(padded, convolution.weight, convolution.bias)).relu()
        front.append(functional.max_pool2d(rows, (rows.shape[2], 1))[:, :, 0])
    mean = functional.avg_pool2d(maps, (13, 1))[:, :, 0]
    for (convolution, norm, _), half in zip(network.temporal, (64, 32, 16), strict=True):
        padded = functional.pad(mean, (half, half))
        front.append(norm(functional.conv1d(padded, convolution.weight, convolution.bias)).relu())
    features = [torch.cat(front, 1)]
    assert features[0].shape == (2, 6 + 6 + 2 + 2 + 2, 21)
    sums = 0
    for layer, (convolution, norm, _) in enumerate(network.middle):
        padded = functional.pad(sums if layer else features[0], (3, 3))
        middle = norm(functional.conv1d(padded, convolution.weight, convolution.bias)).relu()
        sums = sums + middle
        features.append(sums)
    together = torch.cat(features, 1)
    assert together.shape == (2, 18 + 3 * 2, 21)
    dense, norm, *_ = network.hidden
    pooled = torch.cat([together.max(2).values, together.mean(2)], 1)

    expected = network.dense(norm(dense(pooled)).relu())
    torch.testing.assert_close(network(values), expected)
