import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost
from models.networks.lu2021.spectnt_mwm import SpecTNTMWM
from tests.models.networks.lu2021.test_spectnt import encoded
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["spectnt-mwm"]
SPEC = ARCHITECTURE.takes


def network_of(log="db"):
    torch.manual_seed(0)
    spec = FeatureSpec(sr=16000, n_mels=6, log=log)
    network = SpecTNTMWM(spec, n_frames=21, n_outputs=3, width=0.1).eval()
    randomize_norms(network)
    for values in network.parameters():  # tokens and positions are zeros at first
        if not values.any():
            nn.init.normal_(values)
    return network


def test_parameters_are_those_of_the_public_code():
    with torch.device("meta"):
        network = ARCHITECTURE.new(SPEC, n_frames=1254, n_outputs=50)
    assert sum(p.numel() for p in network.parameters()) == 727_371
    parts = {n: sum(p.numel() for p in part.parameters()) for n, part in network.named_children()}
    assert parts == {"front": 150_912, "blocks": 3 * 180_275, "dense": 6_450}


def test_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, SPEC, n_frames=1254, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (6, 196)
    front = 9 * (2 * 128 + 128 * 128) * 128 * 196

    def layer(n, d=96):
        return n * (4 * d * d + 2 * n * d + 2 * d * d)

    spectral = 50 * (2 * 128 * 129 * 96 + layer(128))
    temporal = 2 * 128 * 50 * 96 + layer(128)
    block = spectral + temporal + 2 * 50 * 128 * 128
    assert sum(k.macs for k in cost.layers) == 6 * (front + 3 * block + 128 * 50)


def test_maps_of_a_frame_and_features_of_a_window_are_the_tokens():
    network = network_of()
    values = torch.randn(2, 6, 21)
    maps = network.front((10 ** (values / 10))[:, None])
    assert maps.shape == (2, 13, 6, 5)
    frames = [torch.zeros(2, 7, 13)]
    for t in range(5):
        bands = torch.cat([network.frequency_token[:, t].expand(2, -1, -1), maps[..., t].mT], 1)
        frames.append(bands + network.frequency_positions[0])
    steps = [network.time_token[0, 0], *network.time_embedding[0]]
    steps = [step.expand(2, -1) for step in steps]
    for block in network.blocks:
        for t in range(6):
            frame = frames[t].clone()
            frame[:, 0] += block.to_frequency(steps[t])
            frames[t] = block.spectral_out(encoded(block.spectral, block.spectral_in(frame.mT))).mT
            steps[t] = steps[t] + block.to_time(frames[t][:, 0])
        features = torch.stack(steps, 2)
        features = block.temporal_out(encoded(block.temporal, block.temporal_in(features)))
        steps = list(features.unbind(2))
    torch.testing.assert_close(network(values), network.dense(steps[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("log", ["db", "log"])
def test_what_a_specs_scaling_made_of_the_power_is_turned_back(log):
    power = torch.tensor([[1e-4, 0.5, 1.0, 123.0]])
    scaled = 10 * power.log10() if log == "db" else (1 + 10_000 * power).log10()
    torch.testing.assert_close(network_of(log).power(scaled), power, rtol=1e-4, atol=1e-7)


def test_no_recipe_normalises_what_it_takes():
    assert ARCHITECTURE.needs_unit
