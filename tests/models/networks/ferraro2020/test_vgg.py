import copy

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.specs.grid import ferraro2020
from models.networks.cost import frames_of
from models.networks.ferraro2020.vgg import VGG, pooling

STUDY = [spec for spec in ferraro2020() if spec.log == "db"]


@pytest.mark.parametrize("frames", ["melgrid", "study"])
def test_every_spec_of_the_study_has_its_pools_from_the_table_and_ends_in_one_cell(frames):
    for spec in STUDY:
        n_frames = frames_of(spec, frames)
        with torch.device("meta"):
            network = VGG(spec, n_frames=n_frames, n_outputs=50)
            maps = network.blocks(torch.empty(2, 1, spec.n_mels, n_frames))

        sources = (network.pooling.mel_source, network.pooling.time_source)
        assert sources == ("table", "table"), spec
        assert maps.shape == (2, 2048, 1, 1), spec


def test_the_tables_rows_are_the_studys():
    row = pooling(FeatureSpec(sr=12000, n_mels=96, hop=10), 137)
    assert (row.mel, row.time) == ((2, 4, 3, 4), (4, 5, 4, 1))
    row = pooling(FeatureSpec(sr=16000, n_mels=24), 1820)
    assert (row.mel, row.time) == ((2, 2, 3, 2), (4, 5, 9, 10))


def test_an_axis_without_a_row_has_its_pools_from_the_shape():
    chosen = pooling(FeatureSpec(sr=16000, n_mels=64, hop=2), 910)
    assert (chosen.mel_source, chosen.time_source) == ("shape", "table")
    chosen = pooling(FeatureSpec(sr=22050, n_mels=96), 2507)
    assert (chosen.mel_source, chosen.time_source) == ("table", "shape")


def test_a_row_that_would_not_end_in_one_cell_gives_way_to_the_shape():
    short = pooling(FeatureSpec(sr=16000, n_mels=96), 600)  # the row would leave no cell
    assert (short.time, short.time_source) == ((4, 5, 5, 6), "shape")
    long = pooling(FeatureSpec(sr=16000, n_mels=96), 3640)  # the row would leave two
    assert long.time_source == "shape"


def test_the_network_is_the_studys_as_written_out():
    spec = FeatureSpec(sr=16000, n_mels=16, hop=10)
    torch.manual_seed(0)
    network = VGG(spec, n_frames=182, n_outputs=3, width=0.02).eval()
    for module in network.modules():  # batch norms that do something
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values)
    values = torch.randn(2, 16, 182)

    maps = network.input_norm(values[:, None])
    for (conv, norm, *_), pool in zip(
        network.blocks, [(2, 4), (2, 5), (2, 9), (2, 1)], strict=True
    ):
        # The order that the study prints: ELU before the pool.
        maps = nn.functional.max_pool2d(nn.functional.elu(norm(conv(maps))), pool)
    expected = network.dense(maps.flatten(1))

    assert torch.equal(network(values), expected)
    assert [block[0].kernel_size for block in network.blocks] == [(3, 3)] * 4


@pytest.mark.parametrize(
    ("width", "filters"),
    [(1.0, [128, 384, 768, 2048]), (0.125, [16, 48, 96, 256]), (0.001, [1, 1, 1, 2])],
)
def test_width_scales_the_filters_and_rounds_them(width, filters):
    with torch.device("meta"):
        network = VGG(FeatureSpec(sr=16000, n_mels=8), n_frames=40, n_outputs=2, width=width)
    assert [block[0].out_channels for block in network.blocks] == filters


@pytest.mark.parametrize(
    ("n_mels", "hop", "n_frames", "batch"),
    [(96, 1, 1819, 1), (48, 2, 911, 3), (8, 10, 7, 2), (3, 1, 1, 2), (13, 3, 101, 1)],
)
def test_it_takes_a_training_step_at_odd_shapes(n_mels, hop, n_frames, batch):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, hop=hop)
    torch.manual_seed(1)
    network = VGG(spec, n_frames=n_frames, n_outputs=5, width=0.03)
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    logits = network(torch.randn(batch, n_mels, n_frames))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.ones(batch, 5)).backward()
    optimizer.step()

    assert logits.shape == (batch, 5)
    assert logits.dtype == torch.float32
    after = network.state_dict()
    assert all(values.isfinite().all() for values in after.values())
    assert not torch.equal(before["dense.weight"], after["dense.weight"])
