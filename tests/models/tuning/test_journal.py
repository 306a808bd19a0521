"""The journal's promises, one by one, without trainings."""

import contextlib
import os
import signal
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState

from featurestore.errors import OutputError, TrainingError
from models.tuning.journal import Journal
from models.tuning.space import Space

SPACES = [Space.parse("learning_rate=log:1e-4:1e-1"), Space.parse("batch_size=6,9")]


def sampler(n_before):
    return optuna.samplers.RandomSampler(seed=n_before)


def opened(path):
    return Journal(path, maximise=True, about={"of": "a test"})


def ask(journal, total=6):
    return journal.ask(total, SPACES, sampler)


PROCESS = """
import os, signal, sys
from pathlib import Path
import optuna
from models.tuning.journal import Journal
from models.tuning.space import Space

journal = Journal(Path(sys.argv[1]), maximise=True, about={"of": "a test"})
spaces = [Space.parse("learning_rate=log:1e-4:1e-1"), Space.parse("batch_size=6,9")]
sampler = lambda n_before: optuna.samplers.RandomSampler(seed=n_before)
for _ in range(int(sys.argv[2])):
    trial = journal.ask(6, spaces, sampler)
    trial.report(0.5, 1)
    journal.complete(trial, 0.5)
trial = journal.ask(6, spaces, sampler)
print(trial.number, flush=True)
if sys.stdin.readline() == "die\\n":
    os.kill(os.getpid(), signal.SIGKILL)
journal.complete(trial, 0.7)
"""
"""Does so many trials, says the number of the next one, and waits there for a word."""


@contextlib.contextmanager
def process(path, n_before=0):
    """A process that is at a trial; it is sent on in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(path), str(n_before)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        running.number = int(running.stdout.readline())
        yield running


def ask_and_die(path, n_before=0):
    with process(path, n_before) as running:
        running.communicate("die\n")
    assert running.returncode == -signal.SIGKILL


def test_the_values_of_a_dead_process_are_tried_again_once_and_first(tmp_path):
    path = tmp_path / "tune.jsonl"
    ask_and_die(path, 2)
    with opened(path) as journal:
        assert [t.state.name for t in journal.trials()] == ["COMPLETE", "COMPLETE", "RUNNING"]
        lost = journal.trials()[2]
        trial = ask(journal)
        assert trial.params == lost.params
        assert trial.user_attrs == {"repeats": 2}
        assert journal.trials()[2].state == TrialState.FAIL
        other = ask(journal)
        assert other.params != lost.params
        assert other.number == 4


def test_a_trial_that_was_killed_twice_is_tried_again_twice(tmp_path):
    path = tmp_path / "tune.jsonl"
    for _ in range(2):
        ask_and_die(path)
    with opened(path) as journal:
        trial = ask(journal, total=1)
        assert trial.user_attrs == {"repeats": 1}
        assert trial.params == journal.trials()[0].params == journal.trials()[1].params
        journal.complete(trial, 0.5)
        assert ask(journal, total=1) is None


def test_a_kill_between_failing_a_trial_and_repeating_it_is_made_up_for(tmp_path):
    path = tmp_path / "tune.jsonl"
    ask_and_die(path)
    with opened(path) as journal:
        journal.study.tell(0, state=TrialState.FAIL)  # as far as that process came
    with opened(path) as journal:
        assert ask(journal).user_attrs == {"repeats": 0}
        assert len(journal.trials()) == 2


def test_of_values_that_were_not_all_drawn_none_counts(tmp_path):
    path = tmp_path / "tune.jsonl"
    with opened(tmp_path / "whole.jsonl") as journal:
        whole = [ask(journal).params for _ in range(4)]
    with opened(path) as journal:
        ask(journal)
    with path.open("rb+") as file:  # up to the trial's first value
        lines = file.readlines()
        file.truncate(sum(map(len, lines[:-1])))
    with opened(path) as journal:
        assert journal.trials()[0].params.keys() == {"learning_rate"}
        again = [ask(journal) for _ in range(4)]
        assert [trial.params for trial in again] == whole
        assert [trial.number for trial in again] == [1, 2, 3, 4]


def test_the_trial_of_a_living_process_is_its_own_and_counts(tmp_path):
    path = tmp_path / "tune.jsonl"
    with process(path) as other, opened(path) as journal:
        mine = ask(journal, total=2)
        assert (other.number, mine.number) == (0, 1)
        assert ask(journal, total=2) is None
        assert journal.trials()[0].state == TrialState.RUNNING
        other.communicate("go on\n")
        journal.complete(mine, 0.5)
        assert [t.value for t in journal.trials()] == [0.7, 0.5]


def test_a_forked_child_that_ends_takes_no_lock_along(tmp_path):
    """Loaders fork: a child's end, or one that outlives its parent, must not show."""
    path = tmp_path / "tune.jsonl"
    with opened(path) as journal:
        ask(journal)
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        with process(path) as other:
            assert other.number == 1
            other.communicate("go on\n")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(TrainingError, match="is a folder; name a file"):
        opened(tmp_path)
    with pytest.raises(OutputError, match="none"):
        opened(tmp_path / "none" / "tune.jsonl")
