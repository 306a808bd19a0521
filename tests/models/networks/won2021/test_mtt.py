import math

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from models.networks import ARCHITECTURES, PUBLISHED, parse_architecture
from models.networks.attentive import Attentive, time_attention
from models.networks.cost import clip_cost
from models.networks.won2021.mtt import MusicTaggingTransformer
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["mtt"]
SPEC = ARCHITECTURE.takes
TEN_SECONDS = 431


def new(name="mtt", n_outputs=50, **changes):
    return parse_architecture(name).new(SPEC, n_frames=1254, n_outputs=n_outputs, **changes)


def network_of(**settings):
    torch.manual_seed(0)
    network = MusicTaggingTransformer(
        FeatureSpec(sr=16000, n_mels=16), n_frames=23, n_outputs=3, width=0.07, **settings
    ).eval()
    randomize_norms(network)
    return network


@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [("mtt", 4_567_732), ("mtt-attention64", 1_108_852), ("mtt-conv16", 3_378_852)],
)
def test_parameters_are_those_of_the_public_code(name, n_parameters):
    with torch.device("meta"):
        network = new(name)
    assert sum(p.numel() for p in network.parameters()) == n_parameters
    parts = {n: sum(p.numel() for p in part.parameters()) for n, part in network.named_children()}
    if name == "mtt":
        assert parts["frontend"] == 1_266_818
        assert parts["transformer"] == 3_155_968
        assert parts["mlp_head"] == 13_362


def test_macs_are_the_formula_written_out():
    cost = clip_cost(ARCHITECTURE, SPEC, n_frames=1254, n_outputs=50)
    assert (cost.n_windows, cost.window_frames) == (2, TEN_SECONDS)
    maps = (2 * 128 + 128 * 128) * 128 * 431 + 2 * 128 * 128 * (64 * 215 + 32 * 107)
    n = 1 + 107
    transformer = 4 * n * (4 * 256 * 256 + 2 * n * 256 + 2 * 256 * 1024)
    one = 9 * maps + 2048 * 256 * 107 + transformer + 256 * 50
    assert sum(layer.macs for layer in cost.layers) == 2 * one


def test_shapes_are_those_of_the_public_code():
    with torch.device("meta"):
        network = new().eval()
        maps = network.frontend.input_bn(torch.empty(2, 1, 128, TEN_SECONDS))
        shapes = []
        for layer in (network.frontend.layer1, network.frontend.layer2, network.frontend.layer3):
            maps = layer(maps)
            shapes.append(tuple(maps.shape[1:]))
        tokens = network._tokens(torch.empty(2, 128, TEN_SECONDS))
        assert network(torch.empty(2, 128, TEN_SECONDS)).shape == (2, 50)
    assert shapes == [(128, 64, 215), (128, 32, 107), (128, 16, 107)]
    assert tokens.shape == (2, 108, 256)


def attended(attention, tokens):
    """Self-attention of 8 heads by its formula."""
    query, key, value = (
        (tokens @ weight.T).unflatten(2, (8, -1)).transpose(1, 2)
        for weight in attention.to_qkv.weight.chunk(3)
    )
    weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(3)
    return attention.to_out[0]((weights @ value).transpose(1, 2).flatten(2))


def test_the_network_is_the_public_codes_as_written_out():
    network = network_of()
    values = torch.randn(2, 16, 23)
    front = network.frontend
    maps = front.input_bn(values[:, None])
    for block, pool in zip([front.layer1, front.layer2, front.layer3], [2, 2, 1], strict=True):
        straight = block.bn_2(block.conv_2(block.bn_1(block.conv_1(maps)).relu()))
        beside = block.bn_3(block.conv_3(maps)) if block is front.layer1 else maps
        maps = nn.functional.max_pool2d((straight + beside).relu(), (2, pool))
    assert maps.shape == (2, 9, 2, 5)
    steps = torch.stack([front.fc(maps[..., step].flatten(1)) for step in range(5)], 1)
    first = network.cls_token.expand(2, 1, -1)
    tokens = torch.cat([first, steps], 1) + network.pos_embedding[:, :6]
    for attention, feed_forward in network.transformer.layers:
        tokens = tokens + attended(attention.fn.fn, attention.fn.norm(tokens))
        wide = feed_forward.fn.fn.net[0](feed_forward.fn.norm(tokens))
        wide = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
        tokens = tokens + feed_forward.fn.fn.net[3](wide)
    torch.testing.assert_close(network(values), network.mlp_head(tokens[:, 0]))


def test_a_window_of_more_steps_than_positions_is_refused_with_what_would_fit():
    spec = FeatureSpec(sr=22050, n_mels=16, hop=1)
    with torch.device("meta"):
        fits = MusicTaggingTransformer(spec, n_frames=2051, n_outputs=1, width=0.02).eval()
        assert fits(torch.empty(1, 16, 2051)).shape == (1, 1)
        with pytest.raises(TrainingError, match=r"512 positions.* 2052 frames.* 513 steps; choose"):
            MusicTaggingTransformer(spec, n_frames=2052, n_outputs=1, width=0.02)


@pytest.mark.parametrize(("n_mels", "n_bands"), [(128, 16), (96, 12), (9, 1), (3, 1), (1, 1)])
def test_pools_fit_any_number_of_bands(n_mels, n_bands):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, hop=10)
    with torch.device("meta"):
        network = ARCHITECTURE.new(spec, n_frames=182, n_outputs=2).eval()
        assert network.frontend.fc.in_features == 128 * n_bands
        assert network(torch.empty(1, n_mels, 63)).shape == (1, 2)


@pytest.mark.parametrize(
    ("width", "filters", "units"), [(1, 128, 256), (0.03, 4, 8), (0.3, 38, 80)]
)
def test_the_heads_divide_the_attention_at_every_width(width, filters, units):
    with torch.device("meta"):
        network = new(width=width)
    assert network.frontend.layer1.conv_1.out_channels == filters
    assert network.cls_token.shape == (units,)
    assert network.transformer.layers[0][1].fn.fn.net[0].out_features == 4 * units


def test_dropouts_are_the_public_codes():
    with torch.device("meta"):
        network = new(width=0.1)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.1] * (1 + 4 * 3)


def test_what_it_attends_to_is_what_its_output_is_made_with():
    network = network_of()
    values = torch.randn(2, 16, 23)
    assert isinstance(network, Attentive)
    weights = network.attention(values)
    assert weights.shape == (2, 4, 8, 6, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 8, 6))
    taken = []
    last = network.transformer.layers[-1][0].fn.fn
    handle = last.register_forward_hook(lambda _, given, out: taken.append((given[0], out)))
    network(values)
    handle.remove()
    ((tokens, output),) = taken
    value = (tokens @ last.to_qkv.weight.chunk(3)[2].T).unflatten(2, (8, -1)).transpose(1, 2)
    expected = last.to_out((weights[:, -1] @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(output, expected)
    assert time_attention(network, values).shape == (2, 5)


def test_a_step_is_of_the_frames_that_it_is_said_to_be_of():
    torch.manual_seed(0)
    network = MusicTaggingTransformer(
        FeatureSpec(sr=16000, n_mels=16), n_frames=120, n_outputs=3, width=0.07
    ).eval()
    assert network.frames_per_step == 4
    values = torch.randn(1, 16, 120)
    changed = values.clone()
    changed[:, :, 44:46] += 5
    moved = (network._tokens(changed) - network._tokens(values)).abs().sum(2)[0, 1:] > 1e-6
    steps = moved.nonzero()[:, 0].tolist()
    # Six convolutions reach 2 + 4 + 8 frames further.
    assert (44 - 14) // 4 <= steps[0] <= 11 <= steps[-1] <= (45 + 14) // 4


BLOCK = [f"{kind}_{number}.{name}" for number in (1, 2)
         for kind, names in (("conv", ("weight", "bias")),
                             ("bn", ("weight", "bias", "running_mean", "running_var",
                                     "num_batches_tracked")))
         for name in names]  # fmt: skip

KEYS = {
    "cls_token", "pos_embedding", "frontend.fc.weight", "frontend.fc.bias",
    *(f"frontend.input_bn.{name.removeprefix('bn_1.')}" for name in BLOCK if "bn_1" in name),
    *(f"frontend.layer{layer}.{name}" for layer in (1, 2, 3) for name in BLOCK),
    *(f"frontend.layer1.{name.replace('_1.', '_3.')}" for name in BLOCK if "_1." in name),
    *(f"transformer.layers.{layer}.{part}.fn.{name}"
      for layer in range(4)
      for part, names in enumerate((
          ("norm.weight", "norm.bias", "fn.to_qkv.weight", "fn.to_out.0.weight",
           "fn.to_out.0.bias"),
          ("norm.weight", "norm.bias", "fn.net.0.weight", "fn.net.0.bias", "fn.net.3.weight",
           "fn.net.3.bias"),
      ))
      for name in names),
    *(f"mlp_head.{part}.{kind}" for part in (0, 1) for kind in ("weight", "bias")),
}  # fmt: skip
"""Weights of the public code, by its names."""


def published(name, n_outputs=7):
    """Weights of a network as its authors' training keeps them, with those of a teacher."""
    torch.manual_seed(1)
    network = new(name, n_outputs=n_outputs)
    state = {f"network.{key}": values for key, values in network.state_dict().items()}
    state |= {f"teacher_{key}": torch.zeros(2) for key in state}
    spectrum = {"network.spec.spectrogram.window": 1024, "network.spec.mel_scale.fb": 513}
    return network, state | {key: torch.zeros(n) for key, n in spectrum.items()}


def test_weights_have_the_names_of_the_public_code():
    with torch.device("meta"):
        assert set(new().state_dict()) == KEYS


@pytest.mark.parametrize("name", ["mtt", "mtt-attention64"])
def test_published_weights_are_those_of_the_network_without_its_teachers(name):
    network, state = published(name)
    found = PUBLISHED[name](state)
    assert list(found) == list(network.state_dict())
    for key, values in network.state_dict().items():
        assert torch.equal(found[key], values), key
    bare = PUBLISHED[name](network.state_dict())  # without a prefix, as state_dict() of it has them
    assert bare.keys() == found.keys()


def test_unknown_missing_and_misshapen_weights_are_refused_by_name():
    _, state = published("mtt")
    take = PUBLISHED["mtt"]
    with pytest.raises(TrainingError, match=r"weights of mtt: frontend\.layer4 is unknown; choose"):
        take(state | {"network.frontend.layer4": torch.zeros(1)})
    with pytest.raises(TrainingError, match="cls_token is missing"):
        take({key: values for key, values in state.items() if key != "network.cls_token"})
    with pytest.raises(TrainingError, match=r"cls_token is \(64,\), not \(256,\)"):
        take(published("mtt-attention64")[1])
