import numpy as np
import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from models.training import predictor
from models.training.checkpoint import Checkpoint, new_network
from models.training.predictor import Predictor, folded
from models.training.settings import TrainSettings

SPEC = FeatureSpec(sr=16000, n_mels=16, hop=4)
SETTINGS = TrainSettings(width=0.03, device="cpu", amp="off")


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    network = new_network(SETTINGS, SPEC, n_frames=40, n_outputs=3)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return Checkpoint(
        network=network.eval(),
        spec=SPEC,
        n_frames=40,
        tags=("a", "b", "c"),
        settings=SETTINGS,
        training=None,
    )


def values(n):
    return np.random.default_rng(n).normal(-40, 20, (n, 16, 40)).astype(np.float32)


def test_batches_do_not_show_but_in_last_digits_and_norms_are_folded(checkpoint):
    given, n_valid = values(7), np.full(7, 40)
    with torch.inference_mode():
        expected = checkpoint.network(torch.from_numpy(given)).sigmoid().numpy()
    for batch_size in (1, 3, 8):
        found = Predictor(checkpoint, device="cpu", batch_size=batch_size).clips(given, n_valid)
        np.testing.assert_allclose(found, expected, atol=2e-6)
    kinds = [type(module) for module in folded(checkpoint.network).modules()]
    assert kinds.count(nn.BatchNorm2d) == 1  # that of the input, which follows no convolution
    assert any(isinstance(module, nn.BatchNorm2d) for module in checkpoint.network.modules())


def test_beside_processes_it_takes_one_thread_until_it_has_worked_twice_as_long_as_it_waited(
    checkpoint, monkeypatch
):
    now, n_threads, seconds = [0.0], [], []

    class Timed(nn.Module):
        def forward(self, given):
            n_threads.append(torch.get_num_threads())
            now[0] += seconds[-1]
            return given.mean(dim=2)[:, :3]

    monkeypatch.setattr(predictor.time, "perf_counter", lambda: now[0])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = Predictor(checkpoint, device="cpu")
        found._network = Timed()
        found.begin(shares_cores=True)
        for waits, works in ((1, 1), (0, 1), (0, 1), (0, 1), (9, 1)):
            now[0] += waits
            seconds.append(works)
            found.windows(values(1))
        assert n_threads == [1, 1, 1, 2, 1]
        assert torch.get_num_threads() == 2
        found.begin(shares_cores=False)
        now[0] += 100
        found.windows(values(1))
        assert n_threads[-1] == 2
    finally:
        torch.set_num_threads(before)
