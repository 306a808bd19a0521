import pytest
import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.waveform import WaveformSpec
from models.networks import ARCHITECTURES
from models.networks.cost import clip_cost
from models.networks.won2020.sample import FILTERS, Shape
from models.networks.won2020.se import Block, SampleCNNSE
from tests.models.networks.norms import randomize_norms

SE = ARCHITECTURES["se"]
LENGTHS = (19683, 19683, 6561, 2187, 729, 243, 81, 27, 9, 3, 1)
"""Steps that each block's filters apply to, of a window of 59,049 samples."""


def test_it_has_as_many_parameters_as_the_reference():
    cost = clip_cost(SE, SE.takes, n_frames=59_049, n_outputs=50)
    assert cost.parameters == 6_951_858


def test_its_macs_are_the_formula_written_out():
    cost = clip_cost(SE, SE.takes, n_frames=59_049, n_outputs=50)
    total = 0
    for c_in, c_out, length in zip((1, *FILTERS[:-1]), FILTERS, LENGTHS, strict=True):
        first = c_in * c_out
        total += (3 if length > 1 else 1) * length * (first + c_out**2)
        if c_in != c_out:
            total += 3 * length * first  # what the block is added to
        total += 2 * c_out**2
    assert sum(layer.macs for layer in cost.layers) == total + 512 * 512 + 512 * 50


@pytest.mark.parametrize(("c_in", "stride", "added"), [(4, 1, 0), (4, 3, 2), (2, 1, 2)])
def test_a_block_is_as_written_out(c_in, stride, added):
    torch.manual_seed(0)
    block = Block(Shape(c_in, 4, 3, stride, 2)).eval()
    randomize_norms(block)
    values = torch.randn(2, c_in, 30)

    def convolved(values, convolution, norm, stride):
        weight, bias = convolution.weight, convolution.bias
        return norm(nn.functional.conv1d(values, weight, bias, stride=stride, padding=1))

    first, first_norm, _, second, second_norm = block.convolutions
    maps = convolved(values, first, first_norm, stride).relu()
    maps = convolved(maps, second, second_norm, 1)
    squeeze, _, excite, _ = block.excitation
    scale = excite(squeeze(maps.sum(2) / maps.shape[2]).relu()).sigmoid()
    beside = convolved(values, *block.residual, stride) if added else values
    expected = nn.functional.max_pool1d((maps * scale[..., None] + beside).relu(), 2)

    assert len(block.residual) == added
    torch.testing.assert_close(block(values), expected)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 1000, 2 * 59_049])
def test_it_takes_short_clips_and_long_windows(n_samples):
    network = SampleCNNSE(WaveformSpec(sr=32000), n_frames=n_samples, n_outputs=3, width=0.01)
    with torch.no_grad():
        assert network.eval()(torch.randn(2, 1, n_samples)).shape == (2, 3)


@pytest.mark.parametrize("model", ["sample", "se"])
def test_training_on_one_window_is_refused(model):
    network = ARCHITECTURES[model].new(SE.takes, n_frames=1000, n_outputs=3, width=0.03)
    with pytest.raises(TrainingError, match=r"cannot train on a batch of one window: .*at least 3"):
        network(torch.randn(1, 1, 1000))
    assert network.eval()(torch.randn(1, 1, 1000)).shape == (1, 3)
