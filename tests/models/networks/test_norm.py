import pytest
import torch

from models.networks.norm import BandNorm


def test_each_band_has_mean_0_and_standard_deviation_1_afterwards():
    torch.manual_seed(1)
    values = torch.randn(50, 3, 40) * torch.tensor([1.0, 5.0, 20.0])[:, None] - 60
    norm = BandNorm(values.mean((0, 2)), values.std((0, 2)))
    assert norm(values).mean((0, 2)).tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert norm(values).std((0, 2)).tolist() == pytest.approx([1] * 3, abs=1e-4)


@pytest.mark.parametrize(("std", "of_all"), [([2.0, 0.0], 0.02), ([0.0, 0.0], 1.0)])
def test_a_band_in_which_nothing_happens_is_not_blown_up(std, of_all):
    norm = BandNorm(torch.zeros(2), torch.tensor(std))
    assert norm.std[1].item() == pytest.approx(of_all)


def test_statistics_are_kept_with_the_weights_and_are_no_parameters():
    mean, std = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    norm, other = BandNorm(mean, std), BandNorm.identity(2)
    values = torch.randn(5, 2, 3)
    assert torch.equal(other(values), values)
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other(values), norm(values))
    assert list(norm.parameters()) == []


def test_the_statistics_given_are_not_shared():
    mean = torch.zeros(2)
    norm = BandNorm(mean, torch.ones(2))
    mean.fill_(7)
    assert norm.mean.tolist() == [[0], [0]]
