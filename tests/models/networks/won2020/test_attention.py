import math

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.attention import Attention
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["attention"]


def test_parameters_and_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, ARCHITECTURE.takes, n_frames=1819, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (1, 938)
    assert cost.parameters == 10_521_652
    maps = (2 * 128 + 128 * 128) * 64 * 469 + 3 * 128 * 128 * 32 * 235
    maps += (2 * 128 * 256 + 256 * 256) * 16 * 118
    maps += 3 * 256 * 256 * (8 + 4 + 2 + 1) * 118
    n = 1 + 118
    transformer = 2 * n * (4 * 256 * 256 + 2 * n * 256 + 2 * 256 * 1024)
    dense = 256 * 256 + 256 * 50
    assert sum(layer.macs for layer in cost.layers) == 9 * maps + transformer + dense


@pytest.mark.parametrize(
    ("sr", "n_mels", "hop", "n_bands", "n_steps"),
    [
        (16000, 128, 1, 1, 118),
        (12000, 96, 2, 1, 44),
        (16000, 8, 10, 1, 12),
        (22050, 300, 1, 3, 162),
    ],
)
def test_strides_fit_every_resolution(sr, n_mels, hop, n_bands, n_steps):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, hop=hop, n_fft=4096)
    frames = ARCHITECTURE.window_frames(spec, frames_of(spec))
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=frames, n_outputs=2).eval()
        maps = network.blocks(torch.empty(1, 1, n_mels, frames))
        assert network(torch.empty(1, n_mels, frames)).shape == (1, 2)
    assert maps.shape == (1, 256, n_bands, n_steps)


def attended(layer, steps, n_heads):
    """Post-norm self-attention by its formula."""
    width = steps.shape[2]
    projections = zip(
        layer.attention.in_proj_weight.chunk(3),
        layer.attention.in_proj_bias.chunk(3),
        strict=True,
    )
    query, key, value = (
        (steps @ weight.T + bias).unflatten(2, (n_heads, -1)).transpose(1, 2)
        for weight, bias in projections
    )
    weights = (query @ key.transpose(2, 3) / math.sqrt(width // n_heads)).softmax(3)
    together = (weights @ value).transpose(1, 2).flatten(2)
    steps = layer.attention_norm(steps + layer.attention.out_proj(together))
    first, _, second = layer.feed_forward
    inner = first(steps)
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    return layer.feed_forward_norm(steps + second(inner))


def test_the_network_is_the_studys_as_written_out():
    torch.manual_seed(0)
    network = Attention(FeatureSpec(sr=16000, n_mels=64), n_frames=50, n_outputs=3, width=0.07)
    network.eval()
    randomize_norms(network)
    values = torch.randn(2, 64, 50)

    maps = network.input_norm(values[:, None])
    for block, stride in zip(network.blocks, [(2, 2)] * 3 + [(2, 1)] * 4, strict=True):
        assert {block.straight[0].stride, block.beside[0].stride} == {stride}
        maps = block(maps)
    assert maps.shape == (2, 16, 1, 7)
    first = network.cls_token[0, 0]
    steps = torch.stack([torch.stack([first, *clip[:, 0].T]) for clip in maps])
    assert steps.shape == (2, 8, 16)
    for layer in network.transformer:
        steps = attended(layer, steps, 8)

    expected = network.dense(network.hidden[0](steps[:, 0]).tanh())
    torch.testing.assert_close(network(values), expected)


def test_the_cls_token_is_the_studys_is_kept_and_is_not_learnt():
    spec = FeatureSpec(sr=16000, n_mels=8)
    network = Attention(spec, n_frames=40, n_outputs=3)
    # numpy.random.seed(0); numpy.random.random(…)
    assert network.cls_token.shape == (1, 1, 256)
    assert network.cls_token[0, 0, :3].tolist() == pytest.approx([0.5488135, 0.7151894, 0.6027634])
    assert "cls_token" in network.state_dict()
    assert "cls_token" not in dict(network.named_parameters())
    narrow = Attention(spec, n_frames=40, n_outputs=3, width=0.25)
    assert torch.equal(narrow.cls_token, network.cls_token[:, :, :64])


def test_dropouts_are_the_studys():
    with torch.device("meta"):
        network = Attention(FeatureSpec(sr=16000, n_mels=8), n_frames=40, n_outputs=3)
    dropouts = [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert dropouts == [0.4, 0.4, 0.5]
    assert [layer.attention.dropout for layer in network.transformer] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("width", "filters"), [(1, (128, 256, 1024)), (0.03, (4, 8, 31)), (0.33, (42, 88, 338))]
)
def test_what_the_heads_divide_is_a_multiple_of_them_at_every_width(width, filters):
    with torch.device("meta"):
        spec = FeatureSpec(sr=16000, n_mels=8)
        network = Attention(spec, n_frames=40, n_outputs=3, width=width)
    assert network.blocks[1].straight[0].out_channels == filters[0]
    assert network.blocks[6].straight[0].out_channels == filters[1]
    assert network.transformer[0].feed_forward[0].out_features == filters[2]
