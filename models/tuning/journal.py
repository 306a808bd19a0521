"""The file of a tuning: Optuna's journal, JSON lines, shared by processes that may be killed.

Optuna's SQLite storage was measured beside it, see `docs/tuning.md`: either holds under kills and
several processes. The journal is text that can be looked at, needs no database, and takes locks of
the house.

What Optuna does not promise with either:

- **So many trials, and no more.** A trial is asked for by one process at a time, which counts
  those that are done, running and waiting first.
- **Trials of dead processes are known as such.** Who does a trial holds a lock on its byte of
  ``<file>.lock`` (POSIX record locks), which the kernel lets go when the process ends, however it
  ends. So there is no lease to wait for, no process number that another may have by now, and it
  holds across machines that share a file system with working locks. (Optuna's heartbeats are of
  databases alone, and of its own loop.)
- **Their values are tried again, once.** Such a trial is failed, and its values are enqueued as
  another that says which one it repeats; a kill in between is made up for.
- **A line cut short** by a kill is taken away before the next one is written.
"""

import contextlib
import fcntl
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from featurestore.errors import TrainingError
from featurestore.storage.atomic import output_errors

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from models.tuning.space import Space

_REPEATS = "repeats"
"""User attribute of a trial: the number of the one whose values it tries again."""

_TURN, _APPEND, _FIRST_TRIAL = 0, 1, 2
"""Bytes of the lock's file."""

_FILE_NAME = "tuning"
"""Of the one study that a file holds, for Optuna."""


class _Bytes:
    """Locks on bytes of a file. They are a process's: it has this file open once."""

    def __init__(self, path: Path) -> None:
        with output_errors(path, what="the lock of the tuning"):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @contextlib.contextmanager
    def held(self, byte: int) -> Iterator[None]:
        """Wait for a byte, and hold it for a while."""
        self.wait_for(byte)
        try:
            yield
        finally:
            self.let_go(byte)

    def wait_for(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)

    def take(self, byte: int) -> bool:
        """Hold a byte from now on, unless another process does."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def let_go(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def close(self) -> None:
        os.close(self._file)


class Journal:
    """Trials of a tuning, in a file; made where there is none. A context manager.

    Parameters
    ----------
    path : Path
    maximise : bool
        Whether more of what is tuned for is better.
    about : mapping
        JSON: what the trials have in common. A file is of one such.

    Raises
    ------
    OutputError
        If it cannot be written.
    TrainingError
        If the file is of another tuning, or is none; or Optuna is not installed.
    """

    def __init__(self, path: Path, *, maximise: bool, about: Mapping[str, Any]) -> None:
        optuna = require_optuna()
        if path.is_dir():
            raise TrainingError(f"the tuning's file {path} is a folder; name a file")
        with output_errors(path, what="the tuning"):
            path.open("ab").close()
        self._path = path
        self._mine: set[int] = set()
        self._bytes = _Bytes(path.with_name(f"{path.name}.lock"))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with self._bytes.held(_TURN):
                self._study = self._open(maximise)
                self._require(about)
        except BaseException:
            self._bytes.close()
            raise

    def _open(self, maximise: bool) -> "Study":
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        _require_journal(self._path)
        lock: Any = _AppendLock(self._bytes, self._path)
        try:
            storage = JournalStorage(JournalFileBackend(str(self._path), lock_obj=lock))
            return optuna.create_study(
                storage=storage,
                study_name=_FILE_NAME,
                direction="maximize" if maximise else "minimize",
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise TrainingError(
                f"{self._path} is not a tuning's file, or is damaged ({error}); name another with "
                "-o"
            ) from error

    def _require(self, about: Mapping[str, Any]) -> None:
        about = json.loads(json.dumps(about))
        if not self._study.user_attrs:
            self._study.set_user_attr("about", about)
        theirs = self._study.user_attrs.get("about", {})
        differing = [
            f"{field} {theirs.get(field)}, now {about.get(field)}"
            for field in {**theirs, **about}
            if theirs.get(field) != about.get(field)
        ]
        if differing:
            raise TrainingError(
                f"{self._path} is of another tuning ({'; '.join(differing)}); name another file "
                "with -o"
            )

    def ask(
        self,
        total: int,
        spaces: "Sequence[Space]",
        sampler: "Callable[[int], BaseSampler]",
    ) -> "Trial | None":
        """Begin the next trial, which is this process's from then on; None if there are enough.

        Parameters
        ----------
        total : int
            How many there are to be: done, running elsewhere and waiting.
        spaces : sequence of Space
            What its values are drawn from.
        sampler : callable
            Makes what draws them, of how many trials there were before; those that repeat another
            one do not count, and are drawn as that was.
        """
        from optuna.trial import TrialState

        with self._bytes.held(_TURN):
            self._give_back_those_of_the_dead({space.name for space in spaces})
            trials = self.trials()
            waiting = [t for t in trials if t.state == TrialState.WAITING]
            if sum(t.state not in (TrialState.FAIL, TrialState.WAITING) for t in trials) >= total:
                return None
            self._study.sampler = sampler(_n_before(waiting[0] if waiting else None, trials))
            trial = self._study.ask({space.name: space.distribution() for space in spaces})
            if not self._bytes.take(_FIRST_TRIAL + trial.number):
                raise AssertionError(f"trial {trial.number} is another process's")
            self._mine.add(trial.number)
            return trial

    def _give_back_those_of_the_dead(self, names: set[str]) -> None:
        from optuna.trial import TrialState

        for trial in self.trials():
            if trial.state != TrialState.RUNNING or trial.number in self._mine:
                continue
            if self._bytes.take(_FIRST_TRIAL + trial.number):
                self._bytes.let_go(_FIRST_TRIAL + trial.number)
                self._study.tell(trial.number, state=TrialState.FAIL)
        trials = self.trials()
        repeated = {trial.user_attrs.get(_REPEATS) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.FAIL and trial.number not in repeated:
                # Without all of them, as it died while they were drawn: they are drawn again.
                values = trial.params if trial.params.keys() == names else {}
                self._study.enqueue_trial(values, user_attrs={_REPEATS: trial.number})

    def complete(self, trial: "Trial", value: float) -> None:
        """End a trial with its value."""
        self._study.tell(trial, value)
        self._let_go(trial)

    def prune(self, trial: "Trial") -> None:
        """End a trial that was given up."""
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState.PRUNED)
        self._let_go(trial)

    def _let_go(self, trial: "Trial") -> None:
        self._mine.discard(trial.number)
        self._bytes.let_go(_FIRST_TRIAL + trial.number)

    def trials(self) -> "list[FrozenTrial]":
        """All trials as they are now, those of other processes among them."""
        return self._study.get_trials(deepcopy=False)

    @property
    def study(self) -> "Study":
        """As Optuna has it."""
        return self._study

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bytes.close()


def require_optuna() -> Any:
    """Import Optuna.

    Raises
    ------
    TrainingError
        If it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about itself
            import optuna
    except ImportError:
        raise TrainingError(
            "Optuna is not installed; pip install 'melgrid[tune]', or choose settings by hand"
        ) from None
    return optuna


def _n_before(waiting: "FrozenTrial | None", trials: "Sequence[FrozenTrial]") -> int:
    """How many trials, but for repetitions, were before one that waits, or before a new one."""
    while waiting is not None and _REPEATS in waiting.user_attrs:
        waiting = trials[waiting.user_attrs[_REPEATS]]
    before = trials if waiting is None else trials[: waiting.number]
    return sum(_REPEATS not in trial.user_attrs for trial in before)


class _AppendLock:
    """Lock under which lines are added to the journal, as Optuna wants it."""

    def __init__(self, locks: _Bytes, path: Path) -> None:
        self._locks, self._path = locks, path

    def acquire(self) -> bool:
        self._locks.wait_for(_APPEND)
        _cut_short(self._path)
        return True

    def release(self) -> None:
        self._locks.let_go(_APPEND)


_BEGINS = b'{"op_code":'


def _require_journal(path: Path) -> None:
    """Refuse a file that another program wrote: Optuna would add to it."""
    with path.open("rb") as file:
        begins = file.read(len(_BEGINS))
    if not _BEGINS.startswith(begins):
        raise TrainingError(f"{path} is not a tuning's file; name another with -o")


def _cut_short(path: Path) -> None:
    """Take a last line away that a kill left without its end."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
