import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.attentive import Attentive, time_attention
from models.networks.cost import clip_cost
from models.networks.lu2021.spectnt import Block, SpecTNT
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["spectnt"]
SPEC = ARCHITECTURE.takes


def network_of(n_mels=16, n_frames=24):
    torch.manual_seed(0)
    network = SpecTNT(
        FeatureSpec(sr=16000, n_mels=n_mels), n_frames=n_frames, n_outputs=3, width=0.1
    ).eval()
    randomize_norms(network)
    return network


@pytest.mark.parametrize(
    ("n_maps", "n_units", "n_parameters"),
    [(96, 96, 242_304), (128, 128, 429_568), (64, 256, 872_832)],
)
def test_a_block_has_as_many_parameters_as_two_transformers_and_what_leads_over(
    n_maps, n_units, n_parameters
):
    with torch.device("meta"):
        block = Block(n_maps, n_units)
    assert sum(p.numel() for p in block.parameters()) == n_parameters


def test_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, SPEC, n_frames=1254, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (6, 196)
    front = 9 * (2 * 96 + 96 * 96) * 128 * 196

    def layer(n, d=96):
        return n * (4 * d * d + 2 * n * d + 2 * d * 4 * d)

    block = 49 * layer(1 + 32) + layer(1 + 49) + 49 * 2 * 96 * 96
    assert sum(k.macs for k in cost.layers) == 6 * (front + 3 * block + 96 * 50)


def encoded(layer, tokens):
    """A transformer layer with the norms before, by its parts."""
    normed = layer.norm1(tokens)
    tokens = tokens + layer.self_attn(normed, normed, normed)[0]
    return tokens + layer.linear2(nn.functional.gelu(layer.linear1(layer.norm2(tokens))))


def test_bands_are_attended_to_within_a_frame_and_then_frames():
    network = network_of()
    values = torch.randn(2, 16, 24)
    maps = network.front(network.input_norm(values[:, None]))
    assert maps.shape == (2, 8, 4, 6)
    frames = [
        torch.cat([network.frequency_token.expand(2, 1, -1), maps[..., t].transpose(1, 2)], 1)
        + network.frequency_positions
        for t in range(6)
    ]
    first = network.time_token.expand(2, -1)
    steps = [network.time_embedding[t].expand(2, -1) for t in range(6)]
    for block in network.blocks:
        for t in range(6):
            frame = frames[t].clone()
            frame[:, 0] += block.to_frequency(steps[t])
            frames[t] = encoded(block.spectral, frame)
            steps[t] = steps[t] + block.to_time(frames[t][:, 0])
        together = encoded(block.temporal, torch.stack([first, *steps], 1))
        first, *steps = together.unbind(1)
    torch.testing.assert_close(network(values), network.dense(first), rtol=1e-4, atol=1e-5)


def test_before_the_temporal_transformer_a_frame_knows_its_own_bands_alone():
    network = network_of()
    values = torch.randn(1, 16, 24)
    changed = values.clone()
    changed[:, :, 10:14] += 3  # the convolutions reach two frames further: steps 2 and 3
    block = network.blocks[0]
    with torch.inference_mode():
        before = block._gathered(*network._embeddings(values))[1]
        after = block._gathered(*network._embeddings(changed))[1]
    moved = (after - before).abs().sum(2)[0] > 1e-6
    # The class token is of no frame.
    assert moved.tolist() == [False, False, False, True, True, False, False]


@pytest.mark.parametrize(
    ("n_mels", "n_frames", "n_bands", "n_steps"),
    [(128, 196, 32, 49), (48, 14, 12, 3), (8, 2, 2, 1), (3, 196, 1, 49)],
)
def test_tokens_follow_from_the_resolution(n_mels, n_frames, n_bands, n_steps):
    network = network_of(n_mels, n_frames)
    spectral, temporal = network._embeddings(torch.zeros(1, n_mels, n_frames))
    assert spectral.shape == (1, n_steps, 1 + n_bands, 8)
    assert temporal.shape == (1, 1 + n_steps, 8)


def test_what_it_attends_to_are_steps_in_the_last_blocks_temporal_transformer():
    network = network_of()
    values = torch.randn(2, 16, 24)
    assert isinstance(network, Attentive)
    weights = network.attention(values)
    assert weights.shape == (2, 3, 8, 7, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 8, 7))
    last, taken = network.blocks[-1].temporal.self_attn, []
    handle = last.register_forward_hook(lambda _, given, out: taken.append((given[0], out[0])))
    network(values)
    handle.remove()
    ((tokens, output),) = taken
    torch.testing.assert_close(output, last(tokens, tokens, tokens)[0])
    value = tokens @ last.in_proj_weight.chunk(3)[2].T + last.in_proj_bias.chunk(3)[2]
    value = value.unflatten(2, (8, -1)).transpose(1, 2)
    together = last.out_proj((weights[:, -1] @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(output, together)
    assert time_attention(network, values).shape == (2, 6)
