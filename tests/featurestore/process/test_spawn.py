"""Tests of processes that Ctrl-C does not reach."""

import signal
import subprocess
import sys
import threading

import pytest

from featurestore.process.spawn import sigint_blocked, start_resource_tracker

SHOW_MASK = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


@pytest.fixture(autouse=True)
def sigint_heard():
    """As in a terminal; a job in the background of a shell ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def mask_of_a_child():
    return subprocess.check_output([sys.executable, "-c", SHOW_MASK], text=True).strip()


def test_sigint_waits_for_the_end_of_the_context():
    done = []

    def work():
        with sigint_blocked():
            signal.raise_signal(signal.SIGINT)
            done.append("after the signal")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["after the signal"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_started_within_the_context_has_sigint_blocked():
    with sigint_blocked():
        assert mask_of_a_child() == "True"
    assert mask_of_a_child() == "False"


def test_another_thread_keeps_the_handler_of_the_main_one():
    seen = []

    def block():
        with sigint_blocked():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_starting_the_tracker_leaves_the_options_for_warnings_as_they_were():
    before = list(sys.warnoptions)
    start_resource_tracker()
    assert sys.warnoptions == before
