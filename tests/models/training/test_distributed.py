"""Two processes that torchrun starts train one network; on the CPU, with gloo."""

import json
import socket
import subprocess
import sys

import pytest
import torch

from models.data import training_data
from models.training import distributed
from models.training.checkpoint import load_checkpoint

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


@pytest.fixture
def run(tmp_path):
    """Run a program in two processes; what each printed, in order of their numbers."""

    def run(program, *arguments):
        (tmp_path / "program.py").write_text(program)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        done = subprocess.run(
            [*TORCHRUN, "--master-port", str(port), "--redirects", "3",
             "--log-dir", tmp_path / "logs", tmp_path / "program.py", *arguments],
            capture_output=True,
            text=True,
        )  # fmt: skip
        logs = sorted((tmp_path / "logs").rglob("std*.log"))
        assert done.returncode == 0, done.stderr + "".join(log.read_text() for log in logs)
        return [log.read_text() for log in logs if log.name == "stdout.log"]

    return run


TRAIN = """
import dataclasses, json, sys
import torch
torch.set_num_threads(1)
from featurestore import FeatureStore
from models.training import distributed, loop
from models.data import training_data
from models.training.settings import TrainSettings

seen = []
step = loop._Training._step
def watched(self, number, clips):
    seen.append(clips.values[:, 0, 0].tolist())
    return step(self, number, clips)
loop._Training._step = watched

path, checkpoint = sys.argv[1:]
store = FeatureStore.open(path)
data = training_data(store, store.specs[0])
settings = TrainSettings(
    recipe="modern", width=0.03, epochs=4, batch_size=6, learning_rate=0.005, device="cpu",
    amp="off",
)
trained = loop.train_to_checkpoint(checkpoint, data, settings, progress=False)
print(json.dumps({"seen": seen, "writes": trained is not None}))
"""


@pytest.mark.slow
def test_two_processes_share_each_epoch_and_one_writes_what_both_have_learnt(
    toy_store, tmp_path, run
):
    answers = [json.loads(text) for text in run(TRAIN, toy_store.path, str(tmp_path / "model.pt"))]
    assert sorted(answer["writes"] for answer in answers) == [False, True]

    data = training_data(toy_store, toy_store.specs[0])
    data.train.preload()
    epoch = sorted(data.train._cached[0][:, 0, 0].tolist())
    for number in range(4):  # of three batches, of three clips for each process
        steps = [answer["seen"][3 * number : 3 * number + 3] for answer in answers]
        assert all(len(clips) == 3 for batches in steps for clips in batches)
        assert sorted(x for batches in steps for clips in batches for x in clips) == epoch

    trained = load_checkpoint(tmp_path / "model.pt")
    assert len(trained.training.losses) == 4
    assert trained.training.losses[-1] < trained.training.losses[0]
    assert trained.training.test.roc_auc_per_tag["loud"] > 0.9
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model.pt", "model.pt.jsonl"]


def test_alone_a_process_is_the_first_of_one():
    values = torch.ones(3)
    with distributed.process_group("cpu"):
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.all_reduce(values) is values
        network = torch.nn.Linear(1, 1)
        assert distributed.parallel(network) is network
        distributed.broadcast_buffers(network)
