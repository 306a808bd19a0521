import pytest
import torch

from featurestore.errors import OutputError, TrainingError
from models.training.state import load_state, save_state

IDENTITY = {"epochs": 3, "learning_rate": 0.1, "fold": None, "tags": ("a", "b")}
STATE = {"epochs": [{"epoch": 1, "loss": 0.1 + 0.2}], "weights": {"w": torch.rand(3)}, "none": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt.state"


def test_a_state_comes_back_bit_for_bit(path):
    assert load_state(path, IDENTITY) is None
    save_state(path, IDENTITY, STATE)
    state = load_state(path, IDENTITY)
    assert state["epochs"] == STATE["epochs"]
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_kill_left_half_written_is_no_state_and_is_written_over(path):
    partial = path.with_name("model.pt.state.partial")
    partial.write_bytes(b"half")
    assert load_state(path, IDENTITY) is None
    save_state(path, IDENTITY, STATE)
    assert not partial.exists()


def test_the_state_of_another_training_is_refused_and_the_difference_named(path):
    save_state(path, IDENTITY, STATE)
    with pytest.raises(TrainingError, match=r"differs \(learning_rate 0.1, now 0.2; .*delete it"):
        load_state(path, IDENTITY | {"learning_rate": 0.2, "fold": 1})
    with pytest.raises(TrainingError, match=r"\(augment None, now mixup\)"):
        load_state(path, IDENTITY | {"augment": "mixup"})


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_what_is_no_state_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"not the state of a training, or is damaged; delete"):
        load_state(path, IDENTITY)


def test_a_state_of_another_version_is_refused(path):
    torch.save({"format": "melgrid-training-9"}, path)
    with pytest.raises(TrainingError, match="format 'melgrid-training-9', this melgrid goes on"):
        load_state(path, IDENTITY)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory; name"):
        save_state(tmp_path / "none" / "state", IDENTITY, STATE)
