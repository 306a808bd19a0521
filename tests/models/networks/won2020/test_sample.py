import pytest
import torch
from torch import nn

from featurestore.specs.waveform import WaveformSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost, frames_of
from models.networks.won2020.sample import FILTERS, SampleCNN, shapes
from tests.models.networks.norms import randomize_norms

SAMPLE = ARCHITECTURES["sample"]
LENGTHS = (19683, 19683, 6561, 2187, 729, 243, 81, 27, 9, 3, 1)
"""Steps that each layer's filters apply to, of a window of 59,049 samples."""


def test_it_has_as_many_parameters_as_the_reference():
    cost = clip_cost(SAMPLE, SAMPLE.takes, n_frames=59_049, n_outputs=50)
    assert cost.parameters == 1_869_874


def test_its_macs_are_the_formula_written_out():
    cost = clip_cost(SAMPLE, SAMPLE.takes, n_frames=59_049, n_outputs=50)
    total = 0
    for c_in, c_out, length in zip((1, *FILTERS[:-1]), FILTERS, LENGTHS, strict=True):
        total += (3 if length > 1 else 1) * c_in * c_out * length
    assert sum(layer.macs for layer in cost.layers) == total + 512 * 50


@pytest.mark.parametrize(
    ("sr", "n_samples"), [(16000, 59_049), (12000, 44_287), (22050, 81_377), (44100, 162_754)]
)
def test_a_window_is_as_long_in_seconds_at_every_rate(sr, n_samples):
    spec = WaveformSpec(sr=sr)
    assert SAMPLE.window_frames(spec, frames_of(spec)) == n_samples


@pytest.mark.parametrize(
    ("n_samples", "pools"),
    [
        (59_049, (3,) * 9),
        (81_377, (3,) * 9),
        (44_287, (*(3,) * 8, 2)),
        (100, (3, 3, 3, 1, 1, 1, 1, 1, 1)),
        (1, (1,) * 9),
    ],
)
def test_a_pool_is_no_longer_than_what_is_left(n_samples, pools):
    assert tuple(shape.pool for shape in shapes(n_samples, 1)) == (1, *pools, 1)


def test_one_step_is_left_of_the_published_window_and_of_longer_ones_a_maximum():
    torch.manual_seed(0)
    for n_samples, left in ((59_049, 1), (59_048, 1), (4 * 59_049, 4)):
        network = SampleCNN(SAMPLE.takes, n_frames=n_samples, n_outputs=3, width=0.01).eval()
        randomize_norms(network)
        values = torch.randn(1, 1, n_samples)
        with torch.no_grad():
            steps = network.layers(values)
            assert torch.equal(network(values), network.dense(steps.max(2).values))
        assert steps.shape == (1, 5, left)
        assert left == 1 or not torch.equal(steps.max(2).values, steps[..., 0])


def test_the_network_is_as_written_out():
    torch.manual_seed(0)
    network = SampleCNN(WaveformSpec(sr=16000), n_frames=700, n_outputs=3, width=0.03).eval()
    randomize_norms(network)
    values = torch.randn(2, 1, 700)

    steps = values
    # 700 samples are 234 steps, 78, 26, 8 and 2.
    for i, pool in enumerate((1, 3, 3, 3, 3, 2, 1, 1, 1, 1, 1)):
        convolution, norm, *_ = network.layers[i]
        steps = nn.functional.conv1d(
            steps,
            convolution.weight,
            convolution.bias,
            stride=3 if i == 0 else 1,
            padding=0 if i == 10 else 1,
        )
        steps = nn.functional.max_pool1d(norm(steps).relu(), pool)
    assert steps.shape == (2, 15, 1)

    torch.testing.assert_close(network(values), network.dense(steps[..., 0]))


@pytest.mark.parametrize("n_samples", [1, 2, 3, 10, 1000])
def test_it_takes_short_clips(n_samples):
    network = SAMPLE.new(SAMPLE.takes, n_frames=n_samples, n_outputs=3, width=0.03).eval()
    assert network(torch.randn(2, 1, n_samples)).shape == (2, 3)
