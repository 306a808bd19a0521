import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.mtat.vit import ViT, pools
from models.networks.pools import cells_left

VIT = ARCHITECTURES["vit"]
PUBLISHED = 938  # frames of 15 s


def values_in(module):
    return sum(p.numel() for p in module.parameters())


def test_its_parts_hold_as_many_parameters_as_the_report_says():
    with torch.device("meta"):
        network = VIT.new(VIT.takes, n_frames=frames_of(VIT.takes), n_outputs=50)
    parts = {name: values_in(part) for name, part in network.named_children()}
    assert parts | {"positions": network.positions.numel()} == {
        "input_norm": 2,
        "layers": 369_664,
        "patches": 16_777_472,
        "positions": 16_384,
        "transformer": 7_890_432,
        "dense": 12_850,
    }
    assert values_in(network) == 25_066_804


def test_it_takes_15_s_with_the_frame_at_its_end():
    assert VIT.window_frames(VIT.takes, frames_of(VIT.takes)) == PUBLISHED == 1 + 240_000 // 256


def test_its_macs_are_those_of_58_patches():
    cost = clip_cost(VIT, VIT.takes, n_frames=PUBLISHED, n_outputs=50)
    n = 58
    assert n == PUBLISHED // 16
    convolutions = 9 * PUBLISHED * (1 * 64 * 128 + 64 * 128 * 64 + 128 * 256 * 32)
    patches = n * 16 * 16 * 256 * 256
    attention = 4 * n * 256 * 256 + 2 * n * n * 256
    feed_forward = 2 * n * 256 * 2048
    total = convolutions + patches + 6 * (attention + feed_forward) + 256 * 50
    assert sum(layer.macs for layer in cost.layers) == total


def test_pools_leave_one_row_of_patches_and_at_most_64_of_them():
    assert pools(128, PUBLISHED) == ((2, 2, 2), (1, 1, 1))
    assert pools(8, 94) == ((2, 2, 2), (1, 1, 1))
    assert pools(3, 5) == ((2, 1, 1), (1, 1, 1))
    assert pools(96, 1292) == ((2, 2, 2), (2, 1, 1))  # 22.05 kHz
    assert pools(512, 7500) == ((2, 2, 8), (2, 2, 2))
    for n_mels in (*range(1, 300), 4096):
        assert 1 <= cells_left(n_mels, pools(n_mels, 1)[0]) <= 16, n_mels
    for n_frames in (*range(1, 5000, 7), 1039, 1040, 2079, 2080, 4159, 4160, 240_001):
        _, time = pools(1, n_frames)
        assert 1 <= cells_left(n_frames, time) // 16 * 16 <= 64 * 16 or n_frames < 16, n_frames
        # And no more than that: with a smaller pool, there would be more than 64.
        first = max((i for i, pool in enumerate(time) if pool > 1), default=None)
        if first is not None:
            fewer = (*time[:first], time[first] - 1, *time[first + 1 :])
            assert cells_left(n_frames, fewer) // 16 > 64, n_frames


@pytest.mark.parametrize(
    ("n_mels", "n_frames", "kernel", "n_patches"),
    [
        (128, 938, (16, 16), 58),
        (96, 469, (12, 16), 29),
        (8, 94, (1, 16), 5),
        (1, 1, (1, 1), 1),
        (200, 15, (12, 15), 1),
    ],
)
def test_a_patch_is_as_high_as_the_maps_and_no_longer_than_they_are(
    n_mels, n_frames, kernel, n_patches
):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, n_fft=4096)
    network = ViT(spec, n_frames=n_frames, n_outputs=3, width=0.03)
    assert network.patches.kernel_size == network.patches.stride == kernel
    seen = []
    network.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    assert network(torch.randn(2, n_mels, n_frames)).shape == (2, 3)
    assert seen == [(2, n_patches, 8)]


def test_the_network_is_as_written_out():
    torch.manual_seed(0)
    spec = FeatureSpec(sr=16000, n_mels=32)
    network = ViT(spec, n_frames=70, n_outputs=3, width=0.03).eval()
    for values in network.parameters():
        nn.init.normal_(values, std=0.3)
    values = torch.randn(2, 32, 70)

    maps = network.input_norm(values[:, None])
    for convolution, *_ in network.layers:  # the ReLU before the pool
        maps = nn.functional.max_pool2d(convolution(maps).relu(), (2, 1))
    cut = maps[..., :64].unfold(3, 16, 16)  # (batch, filters, rows, patches, columns)
    steps = torch.einsum("nfrpc,ufrc->npu", cut, network.patches.weight) + network.patches.bias
    steps = steps + network.positions[:4]
    for layer in network.transformer.layers:
        # Post-norm: each part is added to what it takes, and the sum normalised.
        attended, _ = layer.self_attn(steps, steps, steps)
        steps = layer.norm1(steps + attended)
        fed = layer.linear2(layer.linear1(steps).relu())
        steps = layer.norm2(steps + fed)
    expected = network.dense(steps.mean(1))

    assert len(network.transformer.layers) == 6
    assert network.transformer.layers[0].self_attn.num_heads == 8
    with torch.no_grad():
        torch.testing.assert_close(network(values), expected)


def test_where_a_patch_is_tells():
    torch.manual_seed(0)
    spec = FeatureSpec(sr=16000, n_mels=32)
    network = ViT(spec, n_frames=64, n_outputs=3, width=0.1).eval()
    nn.init.normal_(network.positions)
    values = torch.randn(1, 32, 64)
    swapped = torch.cat([values[..., 32:], values[..., :32]], 2)
    with torch.no_grad():
        assert not torch.allclose(network(values), network(swapped), atol=1e-3)
        for layer, *_ in network.layers:
            layer.weight[..., [0, 2]] = 0  # filters one frame wide: no edges
        nn.init.zeros_(network.positions)
        torch.testing.assert_close(network(values), network(swapped))


@pytest.mark.parametrize(("width", "units"), [(1.0, 256), (0.5, 128), (0.03, 8), (0.001, 8)])
def test_heads_divide_what_they_share_at_every_width(width, units):
    with torch.device("meta"):
        network = VIT.new(VIT.takes, n_frames=PUBLISHED, n_outputs=2, width=width)
    assert network.dense.in_features == units
