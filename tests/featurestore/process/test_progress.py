import io
import re
import sys

import pytest

from featurestore.process import progress
from featurestore.process.progress import Progress, write_line


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the job began, told by the test."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_there_is_a_line_at_the_start_at_tenths_and_at_the_end(clock, capsys):
    with Progress(200, unit="clips", what="featurize") as bar:
        for n_failed in range(200):
            clock(1)
            bar.show({"failed": n_failed // 50})
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0] == "featurize: 0 of 200 clips"
    assert lines[1] == "featurize: 20 of 200 clips, 1 clips/s, 0:03:00 left, failed 0"
    assert lines[-1] == "featurize: 200 of 200 clips, 1 clips/s, in 0:03:20, failed 3"


def test_a_slow_job_says_something_each_half_minute(clock, capsys):
    with Progress(1000, unit="batches") as bar:
        for _ in range(9):  # not a tenth of it
            clock(10)
            bar.update()
    said = [line.split(", ")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == [f"{n} of 1,000 batches" for n in (0, 3, 6, 9, 9)]


def test_a_quick_job_does_not_say_each_tenth(clock, capsys):
    with Progress(1000, unit="clips") as bar:
        for _ in range(1000):
            clock(0.0005)
            bar.update()
    _, last = capsys.readouterr().err.splitlines()
    assert last == "1,000 of 1,000 clips, 2,000 clips/s, in 0:00:00"


def test_what_was_done_before_counts_as_done_and_not_as_speed(clock, capsys):
    with Progress(100, unit="clips", done=50) as bar:
        clock(10)
        bar.update(25)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "50 of 100 clips"
    assert last.startswith("75 of 100 clips, 2.5 clips/s")


@pytest.mark.parametrize("how", [{"total": 0}, {"total": 9, "quiet": True}])
def test_quiet_or_with_nothing_to_do_it_says_nothing(how, capsys):
    with Progress(unit="clips", **how) as bar:
        bar.show({"failed": 1})
        bar.update()
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_one_bar_whose_speed_reads_well_however_slow(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(2, unit="clips") as bar:
        bar._bar.start_t -= 100
        bar.update(2)
        write_line("going on")
    shown = terminal.getvalue()
    assert "going on" in shown.split("\n")[0]
    assert re.search(r"2/2 \[.* 0\.0\d clips/s\]", shown)
    assert "s/ clips" not in shown
