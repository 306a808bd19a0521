import dataclasses
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from featurestore.errors import TrainingError
from models.networks.adapters import Adapter
from models.training.checkpoint import load_checkpoint
from models.training.loop import train_to_checkpoint
from models.transfer.initial import Initial
from models.transfer.merging import merge_adapter
from tests.models.transfer.conftest import SETTINGS

ADAPTED = dataclasses.replace(
    SETTINGS, model="ast-layers2-hidden50", adapter=Adapter(kind="dora-column"), epochs=1
)


@pytest.fixture
def base(make_base, data):
    return make_base(data)


def trained(path, data, base, *, adapter_only, settings=ADAPTED):
    train_to_checkpoint(
        path, data, settings, initial=Initial.open(base), adapter_only=adapter_only, progress=False
    )
    return path


@pytest.fixture
def adapter(data, base, tmp_path):
    return trained(tmp_path / "adapter.safetensors", data, base, adapter_only=True)


def test_base_and_adapter_make_the_checkpoint_that_training_would_have_written(
    data, base, adapter, tmp_path
):
    whole = trained(tmp_path / "whole.safetensors", data, base, adapter_only=False)
    assert adapter.stat().st_size < 0.1 * whole.stat().st_size
    made = merge_adapter(base, adapter, tmp_path / "merged.safetensors")
    one, other = load_checkpoint(whole), load_checkpoint(tmp_path / "merged.safetensors")
    for name, values in one.network.state_dict().items():
        assert torch.equal(values, other.network.state_dict()[name]), name
    assert (one.spec, one.tags, one.settings, one.source) == (
        (other.spec, other.tags, other.settings, other.source)
    )
    assert one.training.test == other.training.test

    # A, B and m of two layers, 256 to 64, and the head.
    n_head = 64 * 50 + 50 + 50 * 2 + 2
    assert made.learnt == 2 * (256 * 2 + 2 * 64 + 256) + n_head
    assert made.lines()[-1] == f"saved in {tmp_path / 'merged.safetensors'}"
    assert made.lines()[1].startswith(f"{made.learnt:,} learnt, by dora-column")
    assert json.loads(json.dumps(made.json()))["n_tags"] == 2


def test_log_and_state_lie_beside_the_adapter(adapter):
    assert adapter.with_name("adapter.safetensors.jsonl").exists()
    assert not adapter.with_name("adapter.safetensors.state").exists()


def test_an_adapter_is_no_checkpoint_and_a_checkpoint_no_adapter(base, adapter, tmp_path):
    with pytest.raises(TrainingError, match="without the network: melgrid merge-adapter BASE"):
        load_checkpoint(adapter)
    with pytest.raises(TrainingError, match="is a whole checkpoint; give what train --save-ad"):
        merge_adapter(base, base, tmp_path / "merged")
    with pytest.raises(TrainingError, match="there is no checkpoint at"):
        merge_adapter(base, tmp_path / "none", tmp_path / "merged")


def test_another_base_is_refused(data, make_base, base, adapter, tmp_path):
    shutil.copy(base, tmp_path / "renamed")
    merge_adapter(tmp_path / "renamed", adapter, tmp_path / "merged")
    other = make_base(data, dataclasses.replace(SETTINGS, seed=3), "other")
    with pytest.raises(TrainingError, match=r"learnt from base\.safetensors, sha256 .* give that"):
        merge_adapter(other, adapter, tmp_path / "merged")


@pytest.mark.parametrize("damage", ["lost", "unknown", "shape", "settings"])
def test_a_damaged_adapter_is_refused(base, adapter, tmp_path, damage):
    with safe_open(adapter, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata()
    first = min(weights)
    if damage == "lost":
        del weights[first]
    elif damage == "unknown":
        weights["more"] = torch.zeros(1)
    elif damage == "shape":
        weights[first] = torch.zeros(3)
    else:
        fields = json.loads(said["metadata"])
        fields["settings"]["adapter"] = None
        said["metadata"] = json.dumps(fields)
    save_file(weights, adapter, said)
    with pytest.raises(TrainingError, match="is damaged: its weights do not fit its settings"):
        merge_adapter(base, adapter, tmp_path / "merged")


@pytest.mark.parametrize("lacking", ["adapter", "base"])
def test_without_adapter_or_base_nothing_is_trained_to_be_saved_alone(
    data, base, tmp_path, lacking
):
    settings = SETTINGS if lacking == "adapter" else ADAPTED
    initial = None if lacking == "base" else Initial.open(base)
    with pytest.raises(TrainingError, match=r"saved alone where .* give both"):
        train_to_checkpoint(
            tmp_path / "adapter", data, settings, initial=initial, adapter_only=True, progress=False
        )
    assert not (tmp_path / "adapter.jsonl").exists()
