import pytest
import torch

from models.networks.norm import BandNorm


def test_each_band_comes_to_mean_0_and_spread_1():
    torch.manual_seed(1)
    values = torch.randn(50, 3, 40) * torch.tensor([1.0, 5.0, 20.0])[:, None] - 60
    norm = BandNorm(3)
    assert torch.equal(norm(values), values)
    norm.measure(values.mean((0, 2)), values.std((0, 2)))
    assert norm(values).mean((0, 2)).tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert norm(values).std((0, 2)).tolist() == pytest.approx([1] * 3, abs=1e-4)


@pytest.mark.parametrize(("std", "of_all"), [([2.0, 0.0], 0.02), ([0.0, 0.0], 1.0)])
def test_a_band_in_which_nothing_happens_is_not_blown_up(std, of_all):
    norm = BandNorm(2)
    norm.measure(torch.zeros(2), torch.tensor(std))
    assert norm.std[1].item() == pytest.approx(of_all)


def test_it_is_kept_with_the_weights_and_is_no_parameter():
    norm, other = BandNorm(2), BandNorm(2)
    norm.measure(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other.mean, norm.mean)
    assert torch.equal(other.std, norm.std)
    assert list(norm.parameters()) == []
