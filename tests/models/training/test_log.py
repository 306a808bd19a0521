import json
import sys

import pytest

from featurestore.errors import OutputError, TrainingError
from models.training.log import EpochLog

EPOCHS = [{"epoch": n, "loss": 1 / n} for n in (1, 2, 3)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_epoch_is_a_line_at_once(tmp_path):
    path = tmp_path / "log.jsonl"
    with EpochLog(path, None) as log:
        for n, epoch in enumerate(EPOCHS, 1):
            log.add(epoch)
            assert lines(path) == EPOCHS[:n]


def test_going_on_keeps_what_has_been_and_nothing_else(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(epoch) for epoch in EPOCHS) + '\n{"epo')
    with EpochLog(path, None, EPOCHS[:1]) as log:
        log.add(EPOCHS[1])
    assert lines(path) == EPOCHS[:2]


def test_no_log_is_written_where_none_is_asked_for(tmp_path):
    with EpochLog(None, None) as log:
        log.add(EPOCHS[0])
    assert "torch.utils.tensorboard" not in sys.modules


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory; name"):
        EpochLog(tmp_path / "none" / "log.jsonl", None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_shows_each_number_by_epoch(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with EpochLog(None, tmp_path / "board") as log:
        log.add(EPOCHS[0])
        log.add(EPOCHS[1])
    with EpochLog(None, tmp_path / "board", EPOCHS[:1]) as log:  # went on after the first
        log.add({"epoch": 2, "loss": 7.0})
    shown = events.EventAccumulator(str(tmp_path / "board"))
    shown.Reload()
    assert shown.Tags()["scalars"] == ["loss"]
    assert [(e.step, e.value) for e in shown.Scalars("loss")] == [(1, 1.0), (2, 7.0)]


def test_tensorboard_that_is_not_installed_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install 'melgrid\[tensorboard\]'"):
        EpochLog(None, tmp_path)
