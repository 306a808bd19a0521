import pytest
import torch
from torch import nn
from torch.nn import functional

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.crnn import CRNN, POOLS
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["crnn"]


def test_parameters_and_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, ARCHITECTURE.takes, n_frames=1819, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (1, 1813)
    assert cost.parameters == 394_100
    maps = 64 * 96 * 1813 + 64 * 128 * 48 * 906 + 128 * 128 * (16 * 302 + 4 * 75)
    recurrent = 18 * 3 * 32 * (128 + 32 + 32 + 32)
    assert sum(layer.macs for layer in cost.layers) == 9 * maps + recurrent + 32 * 50


@pytest.mark.parametrize(
    ("sr", "n_mels", "hop", "mel", "time", "n_steps"),
    [
        (16000, 96, 1, POOLS, POOLS, 18),
        (12000, 128, 1, POOLS, POOLS, 14),
        (16000, 48, 2, (2, 2, 3, 4), (2, 3, 3, 3), 16),
        (16000, 8, 10, (1, 2, 2, 2), (1, 2, 2, 3), 15),
        (12000, 24, 10, (2, 2, 2, 3), (1, 2, 2, 2), 17),
    ],
)
def test_pools_are_the_published_ones_where_they_leave_a_sequence_of_single_bands(
    sr, n_mels, hop, mel, time, n_steps
):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, hop=hop)
    frames = ARCHITECTURE.window_frames(spec, frames_of(spec))
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=frames, n_outputs=2)
        maps = network.blocks(torch.empty(1, 1, n_mels, frames))
    assert [block[2].kernel_size for block in network.blocks] == list(zip(mel, time, strict=True))
    assert maps.shape == (1, 128, 1, n_steps)


def test_the_network_is_the_studys_as_written_out():
    torch.manual_seed(0)
    network = CRNN(FeatureSpec(sr=16000, n_mels=96), n_frames=1400, n_outputs=3, width=0.1).eval()
    randomize_norms(network)
    values = torch.randn(2, 96, 1400)

    maps = network.input_norm(values[:, None])
    for (convolution, norm, *_), pool in zip(network.blocks, (2, 3, 4, 4), strict=True):
        maps = functional.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        maps = functional.max_pool2d(norm(maps).relu(), pool)
    steps = maps[:, :, 0].transpose(1, 2)
    assert steps.shape == (2, 14, 13)
    for layer in range(2):
        cell = nn.GRUCell(steps.shape[2], 3)
        for name, values_of in cell.named_parameters():
            values_of.data.copy_(getattr(network.recurrent, f"{name}_l{layer}"))
        state, states = torch.zeros(2, 3), []
        for step in steps.unbind(1):
            state = cell(step, state)
            states.append(state)
        steps = torch.stack(states, 1)

    torch.testing.assert_close(network(values), network.dense(state))
