from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.specs.fbank import FbankSpec
from models.data import training_data
from models.training.loop import train_to_checkpoint
from models.training.settings import TrainSettings

SPEC = FbankSpec(sr=16000, n_mels=40)

SETTINGS = TrainSettings(
    model="ast-layers2", width=0.08, epochs=2, batch_size=6, seed=1, device="cpu", amp="off"
)
"""One head of 64 units."""


@pytest.fixture
def fbank_store(write_store) -> FeatureStore:
    """36 clips of 64 frames; ``low`` is easy to learn, ``late`` too. Splits of 18, 9 and 9."""
    rng = np.random.default_rng(5)
    low, late = (rng.permutation(np.arange(36) % 2) for _ in range(2))
    values = rng.normal(-6, 2, (36, 40, 64)).astype(np.float32)
    values[low == 1, :16] += 5
    values[late == 1, :, 40:] += 5
    return write_store(
        {SPEC: values},
        tags={"low": low, "late": late},
        split=["train"] * 18 + ["validation"] * 9 + ["test"] * 9,
    )


@pytest.fixture
def data(fbank_store):
    return training_data(fbank_store, SPEC)


MakeBase = Callable[..., Path]


@pytest.fixture
def make_base(tmp_path) -> MakeBase:
    """Train a checkpoint to start from."""

    def make(data, settings: TrainSettings = SETTINGS, name: str = "base.safetensors") -> Path:
        train_to_checkpoint(tmp_path / name, data, settings, progress=False)
        return tmp_path / name

    return make
