import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.cost import clip_cost, frames_of
from models.networks.mtat.crnn2d import CRNN2D, MIN_STEPS, POOLS, time_pools
from models.networks.mtat.fcn2d import pools_to_one
from models.networks.pools import cells_left
from tests.models.networks.norms import randomize_norms

CRNN = ARCHITECTURES["crnn2d"]


def parameters_and_macs(name):
    architecture = parse_architecture(name)
    cost = clip_cost(architecture, CRNN.takes, n_frames=frames_of(CRNN.takes), n_outputs=50)
    return cost.parameters, sum(layer.macs for layer in cost.layers)


def test_parameters_and_macs_are_the_formula_written_out():
    recurrent = 3 * 32 * (64 + 32) + 3 * 32 * (32 + 32)
    parameters = 2 + (9 + 1 + 2) * 64 + 3 * (9 * 64 + 1 + 2) * 64
    parameters += recurrent + 2 * 2 * 3 * 32 + 32 * 50 + 50
    macs = 9 * 64 * 96 * 1819 + 9 * 64 * 64 * (48 * 909 + 16 * 303 + 4 * 75)
    macs += 18 * recurrent + 32 * 50
    assert parameters_and_macs("crnn2d") == (parameters, macs)


def test_pools_are_chois_at_chois_input_and_at_16_khz():
    assert POOLS[4] == (2, 3, 4, 4)
    for depth in (3, 4, 5):
        for n_mels in (96, 128):
            assert pools_to_one(n_mels, depth, POOLS) == POOLS[depth]
        assert cells_left(96, POOLS[depth]) == 1
        for n_frames in (1365, 1366, 1819):
            assert time_pools(n_frames, depth) == POOLS[depth]


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_pools_along_time_leave_a_sequence_where_there_is_one(depth):
    for n_frames in (*range(1, 1400), 1819, 7277):
        steps = cells_left(n_frames, time_pools(n_frames, depth))
        assert steps >= min(n_frames, MIN_STEPS), n_frames
        assert steps <= 2 * MIN_STEPS + 2 or time_pools(n_frames, depth) == POOLS[depth], n_frames


def test_the_network_is_as_written_out():
    torch.manual_seed(0)
    network = CRNN2D(FeatureSpec(sr=16000, n_mels=8), n_frames=90, n_outputs=3, width=0.1, depth=3)
    network.eval()
    randomize_norms(network)
    values = torch.randn(2, 8, 90)

    maps = network.input_norm(values[:, None])
    for (convolution, norm, *_), pool in zip(network.blocks, [(2, 1), (2, 2), (2, 3)], strict=True):
        maps = nn.functional.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        maps = nn.functional.max_pool2d(norm(maps).relu(), pool)
    steps = maps[:, :, 0].transpose(1, 2)  # (batch, 15, filters)
    for layer in range(2):
        cell = nn.GRUCell(steps.shape[2], 3)
        cell.load_state_dict(
            {
                name: getattr(network.recurrent, f"{name}_l{layer}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
        )
        state, states = torch.zeros(2, 3), []
        for step in steps.unbind(1):
            state = cell(step, state)
            states.append(state)
        steps = torch.stack(states, 1)
    assert steps.shape == (2, 15, 3)

    torch.testing.assert_close(network(values), network.dense(state))


@pytest.mark.parametrize("name", ["crnn2d", "crnn2d-depth3", "crnn2d-depth5-hidden128"])
@pytest.mark.parametrize(("n_mels", "n_frames"), [(1, 1), (8, 2), (200, 31), (24, 2561)])
def test_it_takes_odd_shapes(name, n_mels, n_frames):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, n_fft=4096)
    network = parse_architecture(name).new(spec, n_frames=n_frames, n_outputs=3, width=0.1)
    assert network.eval()(torch.randn(2, n_mels, n_frames)).shape == (2, 3)
