"""Start processes that Ctrl-C does not reach, and that leave no warnings when they are killed."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker


def start_resource_tracker() -> None:
    """Start the process that frees the semaphores of killed ones, its warnings off.

    Call it before SIGINT is blocked: starting it would unblock it.
    """
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Delay Ctrl-C until the end of the context, and block it in processes started within.

    A terminal sends Ctrl-C to all of its processes. Those that are started here inherit that it is
    blocked, and end when their parent tells them to, in silence; and what is started is started
    entirely, so that it can be stopped.
    """
    delayed: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    if in_main:  # where Python handles signals, whatever thread the system gives them to
        handler = signal.signal(signal.SIGINT, lambda number, _: delayed.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if delayed:
            signal.raise_signal(signal.SIGINT)
