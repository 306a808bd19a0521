"""Time and memory by stage of the real code, measured where it is.

The functions of a stage are wrapped in place while they are watched, and put back after: code
that nobody watches runs as it is written, and pays nothing.
"""

import abc
import contextlib
import ctypes
import functools
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

OTHER = "other"
"""What is in no stage."""

Stages = Mapping[str, Sequence[tuple[Any, str]]]
"""The functions of each stage: the module, class or dict that holds one, and its name there."""


class Profiler(abc.ABC):
    """Counts something by stage, each moment for the innermost stage alone.

    For the thread in which it was made; what other threads do is in the stage that waits for it.

    Parameters
    ----------
    stages : iterable of str
    """

    def __init__(self, stages: Iterable[str]) -> None:
        self._stages = (*stages, OTHER)
        self._running = [OTHER]
        self._thread = threading.get_ident()

    def begin(self, stage: str) -> None:
        """Count what follows for `stage`, until its `end`."""
        self.count()
        self._running.append(stage)

    def end(self) -> None:
        """The innermost stage ends."""
        self.count()
        self._running.pop()

    @abc.abstractmethod
    def restart(self) -> None:
        """Forget what was so far: a warm-up."""

    @abc.abstractmethod
    def count(self) -> None:
        """Count what was since the last time, for the innermost stage."""

    @contextlib.contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Count what is done here for `stage`."""
        # A stage within itself is that stage still: a network's layers are called like networks.
        if self._running[-1] == stage or threading.get_ident() != self._thread:
            yield
            return
        self.begin(stage)
        try:
            yield
        finally:
            self.end()

    def measured(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that it counts for `stage`; a generator, each step."""
        if not inspect.isgeneratorfunction(call):
            return self.running(stage)(call)

        @functools.wraps(call)
        def measured(*args: Any) -> Iterator[Any]:
            return self.steps(stage, call(*args))

        return measured

    def steps(self, stage: str, steps: Iterator[T]) -> Iterator[T]:
        """Wrap an iterator so that each step counts for `stage`."""
        nothing = object()
        while True:
            with self.running(stage):
                step = next(steps, nothing)
            if step is nothing:
                return
            yield step  # type: ignore[misc]


class Clock(Profiler):
    """Seconds by stage.

    Parameters
    ----------
    stages : iterable of str
    synchronize : callable, optional
        Called before the clock is read; waits for what was begun elsewhere, such as on a GPU.

    Attributes
    ----------
    wall, cpu : dict of str to float
        Time by the clock, and this thread's on a CPU [s]; `OTHER` among the stages, so that they
        add up to all the time that passed.
    """

    def __init__(
        self, stages: Iterable[str], *, synchronize: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(stages)
        self._synchronize = synchronize
        self.restart()

    def restart(self) -> None:
        """Forget what was so far: a warm-up."""
        self._synchronize()
        self.wall = dict.fromkeys(self._stages, 0.0)
        self.cpu = dict.fromkeys(self._stages, 0.0)
        self._since = time.perf_counter(), time.thread_time()

    def count(self) -> None:
        """Count the time since the last time."""
        self._synchronize()
        now = time.perf_counter(), time.thread_time()
        self.wall[self._running[-1]] += now[0] - self._since[0]
        self.cpu[self._running[-1]] += now[1] - self._since[1]
        self._since = now


class MemoryProbe(Protocol):
    """Reads how much memory is in use."""

    def now(self) -> int:
        """Memory in use [bytes]."""

    def peak(self) -> int:
        """The most since the last `reset` [bytes]."""

    def reset(self) -> None:
        """Begin a new peak."""


class ProcessMemory:
    """This process's resident memory, as Linux keeps it.

    Source: proc(5), ``/proc/pid/clear_refs`` and ``VmHWM`` in ``/proc/pid/status``.
    """

    def now(self) -> int:
        """Memory in use [bytes]."""
        return self._field("VmRSS")

    def peak(self) -> int:
        """The most since the last `reset` [bytes]."""
        return self._field("VmHWM")

    def reset(self) -> None:
        """Begin a new peak."""
        Path("/proc/self/clear_refs").write_text("5", "ascii")

    def _field(self, name: str) -> int:
        status = Path("/proc/self/status").read_text("utf-8", "replace")
        return 1024 * int(status.partition(f"{name}:")[2].split()[0])


def process_memory() -> MemoryProbe | None:
    """A probe of this process; None where the system keeps no peak that can be begun anew."""
    if not sys.platform.startswith("linux"):
        return None
    probe = ProcessMemory()
    try:
        probe.reset()
        probe.peak()
    except (OSError, IndexError):
        return None
    return probe


@contextlib.contextmanager
def trim_at_once() -> Iterator[None]:
    """Return freed memory to the system at once, so that resident memory is memory in use.

    By glibc's ``mallopt``; elsewhere nothing is done. It makes a process slow.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    libc.mallopt(trim_threshold, 2**16)
    libc.mallopt(mmap_threshold, 2**16)
    libc.malloc_trim(0)
    try:
        yield
    finally:  # what glibc itself comes to in a process that frees large blocks
        libc.mallopt(trim_threshold, 2**26)
        libc.mallopt(mmap_threshold, 2**25)


class Memory(Profiler):
    """Memory by stage. Looking takes far longer than a clock: never both at the same time.

    Parameters
    ----------
    stages : iterable of str
    probe : MemoryProbe

    Attributes
    ----------
    most : dict of str to int
        The most memory used in a stage above what there was when it began [bytes].
    peak : int
        The most memory used at all [bytes].
    """

    def __init__(self, stages: Iterable[str], probe: MemoryProbe) -> None:
        super().__init__(stages)
        self._probe = probe
        self.peak = 0
        self.restart()

    def restart(self) -> None:
        """Forget what the stages used so far, and not the peak."""
        self.most = dict.fromkeys(self._stages, 0)
        self._before = [self._probe.now()] * len(self._running)
        self._probe.reset()

    def begin(self, stage: str) -> None:
        """Count memory allocated from here on for `stage`, until its `end`."""
        super().begin(stage)
        self._before.append(self._probe.now())

    def end(self) -> None:
        """The innermost stage ends."""
        super().end()
        self._before.pop()

    def count(self) -> None:
        """Take the peak since the last time, and begin a new one."""
        peak, stage = self._probe.peak(), self._running[-1]
        self._probe.reset()
        self.peak = max(self.peak, peak)
        self.most[stage] = max(self.most[stage], peak - self._before[-1])


@contextlib.contextmanager
def instrumented(stages: Stages, profiler: Profiler) -> Iterator[None]:
    """Count the stages' functions with `profiler` in this context."""
    with contextlib.ExitStack() as stack:
        for stage, functions in stages.items():
            for owner, name in functions:
                real = owner[name] if isinstance(owner, dict) else getattr(owner, name)
                stack.enter_context(patched(owner, name, profiler.measured(stage, real)))
        try:
            yield
        finally:
            profiler.count()


@contextlib.contextmanager
def patched(owner: Any, name: str, value: object) -> Iterator[None]:
    """Put `value` in the place of an attribute, or of a dict's entry, in this context."""
    attributes = owner if isinstance(owner, dict) else vars(owner)
    own, before = name in attributes, attributes.get(name)
    put = owner.__setitem__ if isinstance(owner, dict) else functools.partial(setattr, owner)
    put(name, value)
    try:
        yield
    finally:
        if own:
            put(name, before)
        else:  # it was inherited
            delattr(owner, name)
