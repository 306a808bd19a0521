import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from featurestore.specs.grid import ferraro2020
from models.networks import ARCHITECTURES
from models.networks.cost import (
    clip_cost,
    count_layers,
    frames_of,
    macs_table,
)
from models.networks.ferraro2020.vgg import MEL_POOLS, TIME_POOLS
from tests.models.networks.kinds import QUICK, SPECS

VGG, MUSICNN = ARCHITECTURES["vgg"], ARCHITECTURES["musicnn"]
HOPS = (1, 2, 3, 4, 5, 10)

# An independent count of the study's VGG-CNN [GMAC], at the study's frame counts.
GMAC = {
    (12000, 128): (13.197, 6.584, 4.342, 3.292, 2.574, 1.294),
    (12000, 96): (10.011, 4.995, 3.285, 2.497, 1.945, 0.985),
    (12000, 48): (5.005, 2.497, 1.643, 1.249, 0.973, 0.493),
    (16000, 128): (17.581, 8.755, 5.809, 4.314, 3.508, 1.740),
    (16000, 96): (13.327, 6.637, 4.399, 3.264, 2.659, 1.319),
    (16000, 48): (6.664, 3.319, 2.200, 1.632, 1.330, 0.660),
}


@pytest.mark.parametrize(("sr", "n_mels"), GMAC)
def test_gmac_agrees_with_the_independent_count_to_the_last_digit(sr, n_mels):
    specs = [FeatureSpec(sr=sr, n_mels=n_mels, hop=hop) for hop in HOPS]
    rows = macs_table(specs, frames="study").json()
    assert tuple(round(row["gmac"], 3) for row in rows) == GMAC[sr, n_mels]


def macs_by_layer(network, n_mels, n_frames):
    """Of those layers that multiply."""
    return {k.name: k.macs for k in count_layers(network, n_mels, n_frames) if k.macs}


def values_in(network):
    return sum(weights.numel() for weights in network.parameters())


def test_macs_of_each_layer_are_the_formula_written_out():
    spec = FeatureSpec(sr=16000, n_mels=96)
    with torch.device("meta"):
        network = VGG.new(spec, n_frames=1820, n_outputs=50)
    assert macs_by_layer(network, 96, 1820) == {
        "blocks.0.0": 3 * 3 * 1 * 128 * 96 * 1820,
        "blocks.1.0": 3 * 3 * 128 * 384 * 48 * 455,
        "blocks.2.0": 3 * 3 * 384 * 768 * 12 * 91,
        "blocks.3.0": 3 * 3 * 768 * 2048 * 4 * 10,
        "dense": 2048 * 50,
    }


def vgg_by_hand(spec, n_frames):
    pools = zip(MEL_POOLS[spec.n_mels], TIME_POOLS[spec.sr, spec.hop], strict=True)
    height, width, total = spec.n_mels, n_frames, 2048 * 50
    for c_in, c_out, (mel, time) in zip(
        (1, 128, 384, 768), (128, 384, 768, 2048), pools, strict=True
    ):
        total += 3 * 3 * c_in * c_out * height * width
        height, width = height // mel, width // time
    return total


def musicnn_by_hand(spec, n_frames, n_pooled):
    total = 0
    for height in (max(1, int(0.9 * spec.n_mels)), max(1, int(0.4 * spec.n_mels))):
        rows = spec.n_mels - height + 1
        total += (7 * 64 + 3 * 128 + 1 * 256) * height * rows * n_frames
    total += (165 + 128 + 64 + 32) * 32 * n_frames
    steps = n_frames - 6
    total += 7 * 1024 * 512 * steps + 7 * 512 * 512 * steps + 7 * 512 * 512 * (steps // 2)
    return total + n_pooled * 500 + 500 * 50


BY_HAND = {
    "vgg": vgg_by_hand,
    "musicnn": lambda spec, n: musicnn_by_hand(spec, n, 2 * ((n - 6) // 2)),
    "musicnn-original": lambda spec, n: musicnn_by_hand(spec, n, 2 * 512),
}


@pytest.mark.parametrize(
    "specs", [QUICK, pytest.param(SPECS, marks=pytest.mark.thorough)], ids=["few", "all"]
)
@pytest.mark.parametrize("model", ARCHITECTURES)
def test_macs_are_those_of_torchs_own_counter(model, specs):
    architecture = ARCHITECTURES[model]
    for spec in specs[architecture.accepts]:
        n_frames = architecture.window_frames(spec, frames_of(spec))
        with torch.device("meta"):
            network = architecture.new(spec, n_frames=n_frames, n_outputs=50).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                logits = network(torch.empty(1, spec.n_bands, n_frames))

        assert logits.shape == (1, 50), spec
        macs = sum(macs_by_layer(network, spec.n_bands, n_frames).values())
        assert macs == counter.get_total_flops() / 2, spec  # a multiplication and an addition each


@pytest.mark.parametrize("model", BY_HAND)
def test_macs_are_those_of_the_formula_written_out(model):
    architecture = ARCHITECTURES[model]
    for spec in QUICK[architecture.accepts]:
        n_frames = frames_of(spec)
        cost = clip_cost(architecture, spec, n_frames=n_frames, n_outputs=50)
        window = architecture.window_frames(spec, n_frames)
        n_windows = architecture.n_windows(spec, n_frames)
        assert sum(layer.macs for layer in cost.layers) == n_windows * BY_HAND[model](spec, window)


@pytest.mark.parametrize(("sr", "hop", "n_windows"), [(16000, 1, 9), (16000, 10, 10)])
def test_a_clip_costs_all_the_windows_that_it_is_predicted_by(sr, hop, n_windows):
    spec = FeatureSpec(sr=sr, n_mels=96, hop=hop)
    cost = clip_cost(MUSICNN, spec, n_frames=frames_of(spec), n_outputs=50)
    (row,) = macs_table([spec], models=[MUSICNN]).json()
    one = musicnn_by_hand(spec, cost.window_frames, 2 * ((cost.window_frames - 6) // 2))
    assert cost.n_windows == row["n_segments"] == n_windows
    assert cost.gmac == row["gmac"] == n_windows * one / 1e9
    assert row["segment_frames"] == cost.window_frames == 3 * sr // (256 * hop)
    assert row["n_frames"] == frames_of(spec)


def test_each_layer_says_what_it_gives_and_holds_and_they_add_up():
    spec = FeatureSpec(sr=16000, n_mels=96)
    (row,) = macs_table([spec], models=[MUSICNN], layers=True).json()
    by_name = {layer["name"]: layer for layer in row["layers"]}
    assert by_name["timbre.3.0"] == {
        "name": "timbre.3.0",
        "kind": "Conv2d",
        "kernel": (38, 7),
        "output": (64, 59, 187),
        "macs": 9 * 38 * 7 * 64 * 59 * 187,
        "parameters": 38 * 7 * 64 + 64,
    }
    assert by_name["middle.2.0"]["output"] == (512, 90)
    assert by_name["input_norm"]["macs"] == 0
    assert by_name["input_norm"]["parameters"] == 2
    assert sum(layer["macs"] for layer in row["layers"]) / 1e9 == row["gmac"]
    assert sum(layer["parameters"] for layer in row["layers"]) == row["parameters"]
    with torch.device("meta"):
        network = MUSICNN.new(spec, n_frames=187, n_outputs=50)
    assert row["parameters"] == values_in(network)
    assert {type(network.get_submodule(name)).__name__ for name in by_name} == {
        "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d", "Linear"
    }  # fmt: skip


def test_parameters_are_the_formula_written_out():
    with torch.device("meta"):
        network = VGG.new(FeatureSpec(sr=16000, n_mels=96), n_frames=1820, n_outputs=50)
    convolutions = sum(
        9 * c_in * c_out + c_out for c_in, c_out in ((1, 128), (128, 384), (384, 768), (768, 2048))
    )
    batch_norms = 2 * (1 + 128 + 384 + 768 + 2048)
    assert values_in(network) == convolutions + batch_norms + 2048 * 50 + 50


def test_a_layer_that_runs_twice_counts_twice_and_groups_count_their_share():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=4)

        def forward(self, values):
            return self.conv(self.conv(values))

    assert macs_by_layer(Twice(), 8, 10) == {"conv": 2 * 3 * 2 * 8 * 10}
    (layer,) = count_layers(Twice(), 8, 10)
    assert layer.parameters == 3 * 2 * 8 + 8  # but its weights are held once


class Sequence(nn.Module):
    """A layer that takes ``(batch, steps, bands)`` and may give a second thing."""

    def __init__(self, layer, *, n_arguments=1, steps_first=False, batch=1):
        super().__init__()
        self.layer, self.n_arguments = layer, n_arguments
        self.steps_first, self.batch = steps_first, batch

    def forward(self, values):
        steps = values.transpose(1, 2).reshape(self.batch, -1, 12)
        if self.steps_first:
            steps = steps.transpose(0, 1)
        outputs = self.layer(*[steps] * self.n_arguments)
        return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


class Cross(nn.Module):
    """Three queries, 4 wide, of the first bands, to all steps of the others, 6 and 2 wide."""

    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, kdim=6, vdim=2, batch_first=True)

    def forward(self, values):
        queries, keys, others = values.transpose(1, 2).split([4, 6, 2], 2)
        return self.layer(value=others, query=queries[:, :3], key=keys)[0]


def gru(**options):
    return Sequence(nn.GRU(12, 5, num_layers=2, batch_first=True, **options))


def lstm(**options):
    return Sequence(nn.LSTM(12, 5, **options), steps_first=True)


def attention(*, steps_first=False, batch=1):
    layer = nn.MultiheadAttention(12, 3, batch_first=not steps_first)
    return Sequence(layer, n_arguments=3, steps_first=steps_first, batch=batch)


def transformer(*, steps_first=False, **options):
    layer = nn.TransformerEncoderLayer(12, 2, 40, batch_first=not steps_first, **options)
    return Sequence(layer, steps_first=steps_first)


PROJECTIONS, FEED_FORWARD = 4 * 9 * 12 * 12, 2 * 9 * 12 * 40
SEQUENCES = {
    "gru": (gru, 9 * 3 * (5 * (12 + 5) + 5 * (5 + 5))),
    "gru both ways": (partial(gru, bidirectional=True), 9 * 6 * (5 * (12 + 5) + 5 * (10 + 5))),
    "lstm": (lstm, 9 * 4 * 5 * (12 + 5)),
    "lstm, projected": (partial(lstm, proj_size=3), 9 * (4 * 5 * (12 + 3) + 5 * 3)),
    "attention": (attention, PROJECTIONS + 2 * 9 * 9 * 12),
    "attention, steps first": (partial(attention, steps_first=True), PROJECTIONS + 2 * 9 * 9 * 12),
    "attention in thirds": (partial(attention, batch=3), PROJECTIONS + 2 * 9 * 3 * 12),
    "attention to others": (Cross, 2 * 3 * 4 * 4 + 9 * 6 * 4 + 9 * 2 * 4 + 2 * 3 * 9 * 4),
    "transformer": (transformer, PROJECTIONS + 2 * 9 * 9 * 12 + FEED_FORWARD),
    "transformer, norm and steps first": (
        partial(transformer, norm_first=True, steps_first=True),
        PROJECTIONS + 2 * 9 * 9 * 12 + FEED_FORWARD,
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", SEQUENCES)
def test_recurrent_layers_and_attention_count_what_they_multiply_by_matrices(name):
    build, macs = SEQUENCES[name]
    # On the CPU, torch has a transformer layer in one piece, whose parts do not run.
    for device in ("meta", "cpu"):
        with torch.device(device):
            network = build()
        layers = count_layers(network, 12, 9)
        assert sum(layer.macs for layer in layers) == macs, device
        assert sum(layer.parameters for layer in layers) == values_in(network), device
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        build().eval()(torch.empty(1, 12, 9))
    assert counter.get_total_flops() / 2 == macs


def test_of_a_layer_that_gives_its_state_too_the_sequence_is_its_output():
    (layer,) = count_layers(Sequence(nn.GRU(12, 5), steps_first=True), 12, 9)
    assert (layer.kind, layer.kernel, layer.output) == ("GRU", (), (9, 5))
    (layer,) = count_layers(attention(), 12, 9)
    assert (layer.kind, layer.kernel, layer.output) == ("MultiheadAttention", (), (9, 12))


def test_a_layer_of_ones_own_says_what_it_multiplies():
    class Scaled(nn.Module):
        """A matrix that follows from one number."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, values):
            return torch.ones(3, values.shape[1]) * self.scale @ values

        def macs(self, output):
            return output.numel() * 8

    (layer,) = count_layers(nn.Sequential(Scaled()), 8, 10)
    assert (layer.macs, layer.parameters, layer.output) == (3 * 8 * 10, 1, (3, 10))


def test_counting_leaves_the_network_as_it_was():
    network = VGG.new(FeatureSpec(sr=16000, n_mels=8), n_frames=40, n_outputs=2, width=0.02)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    count_layers(network, 8, 40)
    assert network.training
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("sr", "hop", "melgrid", "study"),
    [
        (12000, 1, 1365, 1366),
        (16000, 1, 1819, 1820),
        (16000, 2, 910, 910),
        (16000, 3, 607, 607),
        (12000, 5, 273, 274),
        (12000, 10, 137, 137),
        (16000, 10, 182, 182),
    ],
)
def test_frame_counts_are_the_stores_or_the_studys(sr, hop, melgrid, study):
    spec = FeatureSpec(sr=sr, n_mels=48, hop=hop)
    assert frames_of(spec) == melgrid
    assert frames_of(spec, "study") == study
    assert frames_of(spec) == spec.n_frames(round(29.1 * sr))


def test_an_unknown_frame_count_is_refused():
    with pytest.raises(TrainingError, match="frames is 'paper'; it must be one of melgrid, study"):
        frames_of(FeatureSpec(sr=16000, n_mels=48), "paper")


def test_the_table_has_a_row_for_each_spec_of_the_grid():
    rows = macs_table(ferraro2020(), width=0.125, n_tags=12).json()
    assert [row["spec"] for row in rows] == [spec.name for spec in ferraro2020()]
    assert set(rows[0]) == {
        "spec", "model", "n_frames", "n_segments", "segment_frames", "gmac", "parameters"
    }  # fmt: skip
    by_name = {row["spec"]: row for row in rows}
    assert by_name["sr16000-mel96-x1-db"]["n_frames"] == 1819
    # Half the bands, half the MACs: the study's text.
    halved = by_name["sr16000-mel48-x1-db"]["gmac"] / by_name["sr16000-mel96-x1-db"]["gmac"]
    assert halved == pytest.approx(0.5, abs=0.001)


def test_counting_macs_loads_neither_scikit_learn_nor_matplotlib_nor_a_store():
    code = (
        "import sys, models.networks.cost; "
        "print([m for m in ('sklearn', 'matplotlib', 'pandas', 'zarr') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_package_alone_does_not_load_torch():
    code = "import sys, models; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
