import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from models.networks.ferraro2020.musicnn import MUSICNN

SPEC = FeatureSpec(sr=16000, n_mels=96)


def on_meta(spec=SPEC, **arguments):
    with torch.device("meta"):
        return MUSICNN(spec, **{"n_frames": 128, "n_outputs": 50} | arguments)


def randomize_norms(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values)


# 96 bands and the study's windows of 128 frames: filters of 86 and 38 bands; 122 frames are left
# by the unpadded convolution, 61 after the pool.
FRONT_END = (
    (7 * 86 + 1) * 64 + (3 * 86 + 1) * 128 + (1 * 86 + 1) * 256
    + (7 * 38 + 1) * 64 + (3 * 38 + 1) * 128 + (1 * 38 + 1) * 256
    + (165 + 1) * 32 + (128 + 1) * 32 + (64 + 1) * 32 + (32 + 1) * 32
)  # fmt: skip
MIDDLE = (7 * 1024 + 1) * 512 + 2 * (7 * 512 + 1) * 512
BATCH_NORMS = 2 * (1 + 1024 + 3 * 512 + 500)
LAST = (500 + 1) * 50


@pytest.mark.parametrize(("pooling", "n_pooled"), [("study", 2 * 61), ("original", 2 * 512)])
def test_parameters_are_a_count_by_hand(pooling, n_pooled):
    expected = FRONT_END + MIDDLE + BATCH_NORMS + (n_pooled + 1) * 500 + LAST
    assert sum(p.numel() for p in on_meta(pooling=pooling).parameters()) == expected


@pytest.mark.parametrize(
    ("n_mels", "heights"), [(128, (115, 51)), (96, (86, 38)), (48, (43, 19)), (32, (28, 12)),
                            (24, (21, 9)), (16, (14, 6)), (8, (7, 3)), (2, (1, 1)), (1, (1, 1))],
)  # fmt: skip
def test_timbre_filters_are_0_9_and_0_4_of_the_bands_high_and_at_least_one(n_mels, heights):
    network = on_meta(FeatureSpec(sr=16000, n_mels=n_mels))
    assert [layer[0].kernel_size for layer in network.timbre] == [
        (height, width) for height in heights for width in (7, 3, 1)
    ]


@pytest.mark.parametrize("n_frames", [187, 14])
def test_temporal_filters_keep_their_frames_whatever_the_window(n_frames):
    network = on_meta(n_frames=n_frames)
    assert [layer[1].kernel_size for layer in network.temporal] == [(165,), (128,), (64,), (32,)]


@pytest.mark.parametrize("pooling", ["study", "original"])
def test_the_network_is_the_papers_as_written_out(pooling):
    spec = FeatureSpec(sr=16000, n_mels=13)
    torch.manual_seed(0)
    network = MUSICNN(spec, n_frames=21, n_outputs=3, width=0.05, pooling=pooling).eval()
    randomize_norms(network)
    values = torch.randn(2, 13, 21)

    maps = network.input_norm(values[:, None])
    front = []
    for conv, relu, norm in network.timbre:
        # (batch, filters, rows, 21) to the largest of the rows
        front.append(
            nn.functional.max_pool2d(norm(relu(conv(maps))), (14 - conv.kernel_size[0], 1))
        )
    mean = nn.functional.avg_pool2d(maps, (13, 1))
    for _, conv, relu, norm in network.temporal:
        (k,) = conv.kernel_size
        padded = nn.functional.pad(mean, ((k - 1) // 2, k - 1 - (k - 1) // 2, 0, 0))
        time = nn.functional.conv2d(padded, conv.weight[:, :, None], conv.bias)
        front.append(norm(relu(time)[:, :, 0])[:, :, None])
    features = torch.cat(front, 1)[:, :, 0]
    assert features.shape == (2, 2 * (3 + 6 + 13) + 4 * 2, 21)
    (conv1, _, norm1), (conv2, _, norm2), (conv3, _, norm3) = network.middle
    one = norm1(conv1(features).relu())
    assert one.shape == (2, 26, 15)
    two = norm2(conv2(one).relu()) + one
    pooled = torch.maximum(two[:, :, 0:14:2], two[:, :, 1:14:2])
    three = norm3(conv3(pooled).relu()) + pooled
    assert three.shape == (2, 26, 7)
    axis = {"study": 1, "original": 2}[pooling]
    flat = torch.cat([three.mean(axis), three.max(axis).values], 1)
    _, linear, _, norm, _ = network.hidden
    expected = network.dense(norm(linear(flat).relu()))

    torch.testing.assert_close(network(values), expected)


def test_halves_are_dropped_in_training_only():
    torch.manual_seed(0)
    network = MUSICNN(FeatureSpec(sr=16000, n_mels=8), n_frames=20, n_outputs=3, width=0.05)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    values = torch.randn(4, 8, 20)
    assert not torch.equal(network(values), network(values))
    network.eval()
    assert torch.equal(network(values), network(values))


def test_temporal_filters_are_centred():
    # 'same' padding: an even filter's centre is the left of its two middle frames.
    network = MUSICNN(FeatureSpec(sr=16000, n_mels=8), n_frames=100, n_outputs=3, width=0.05)
    for layer, (before, after) in zip(
        network.temporal, [(82, 82), (63, 64), (31, 32), (15, 16)], strict=True
    ):
        impulse = torch.zeros(1, 1, 400)
        impulse[..., 200] = 1
        moved = (layer[1](layer[0](impulse)) != layer[1].bias[:, None])[0].any(0).nonzero()
        assert (200 - moved.min(), moved.max() - 200) == (after, before)


@pytest.mark.parametrize(("width", "filters"), [(1.0, (64, 32, 512, 500)), (0.03, (2, 1, 15, 15))])
def test_width_scales_filters_and_hidden_units_and_rounds_them(width, filters):
    network = on_meta(width=width)
    assert (
        network.timbre[0][0].out_channels,
        network.temporal[0][1].out_channels,
        network.middle[2][0].out_channels,
        network.hidden[1].out_features,
    ) == filters


def test_windows_too_short_to_pool_are_refused_with_what_helps():
    spec = FeatureSpec(sr=16000, n_mels=8, hop=40)
    on_meta(spec, n_frames=8)
    with pytest.raises(
        TrainingError,
        match="8 frames or more, and those of sr16000-mel8-x40-db have 7; use a small",
    ):
        on_meta(spec, n_frames=7)


def test_training_on_a_batch_of_one_is_refused_and_judging_one_is_not():
    network = MUSICNN(FeatureSpec(sr=16000, n_mels=8), n_frames=20, n_outputs=3, width=0.05)
    with pytest.raises(TrainingError, match=r"batch of one window.* batch_size of at least 3"):
        network(torch.randn(1, 8, 20))
    assert network.eval()(torch.randn(1, 8, 20)).shape == (1, 3)
