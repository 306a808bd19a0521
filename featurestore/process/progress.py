"""How far a job is: a bar on a terminal, and elsewhere a plain line now and then."""

import datetime
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

_EVERY, _LEAST = 30.0, 3.0
"""Seconds between two plain lines: at most, and at least."""

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


class Progress:
    """How far a job is, on stderr. A context.

    On a terminal, a bar. Elsewhere, as in the log of a batch job, a line when the job begins, at
    each tenth of it or each half minute, whichever comes first, and when it ends.

    Parameters
    ----------
    total : int
        How much there is to do. Nothing is shown if that is nothing.
    unit : str
        Of what, in the plural.
    what : str
        What is done, to begin the line with.
    quiet : bool
        Show nothing.
    done : int
        How much was done before.
    stays : bool
        Whether the bar is left on the terminal when the job has ended.
    """

    def __init__(
        self,
        total: int,
        *,
        unit: str,
        what: str = "",
        quiet: bool = False,
        done: int = 0,
        stays: bool = True,
    ) -> None:
        self._total, self._unit, self._what = total, unit, what
        self._begun_at = self._done = done
        self._facts: Mapping[str, object] = {}
        self._bar: Any = None
        self._is_quiet = quiet or total <= 0
        if self._is_quiet:
            return
        self._began = self._said = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc=what or None, unit=f" {unit}", file=sys.stderr,
                bar_format=_BAR, dynamic_ncols=True, leave=stays,
            )  # fmt: skip
        else:
            self._say()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif not self._is_quiet:
            self._say(ended=True)

    def update(self, n: int = 1) -> None:
        """Say that `n` more were done."""
        before, self._done = self._done, self._done + n
        if self._is_quiet:
            return
        if self._bar is not None:
            self._bar.update(n)
            return
        since = time.monotonic() - self._said
        is_tenth = 10 * before // self._total < 10 * self._done // self._total
        if since >= _EVERY or (is_tenth and since >= _LEAST and self._done < self._total):
            self._say()

    def show(self, facts: Mapping[str, object]) -> None:
        """Show these beside it, from the next time on that something is shown."""
        self._facts = facts
        if self._bar is not None:
            self._bar.set_postfix(facts, refresh=False)

    def _say(self, *, ended: bool = False) -> None:
        self._said = time.monotonic()
        seconds, n_done = self._said - self._began, self._done - self._begun_at
        said = [f"{self._done:,} of {self._total:,} {self._unit}"]
        if n_done and seconds > 0:
            rate = n_done / seconds
            text = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
            said.append(f"{text} {self._unit}/s")
            left = (self._total - self._done) * seconds / n_done
            said.append(f"in {_clock(seconds)}" if ended else f"{_clock(left)} left")
        said += [f"{name} {value}" for name, value in self._facts.items()]
        line = ", ".join(said)
        line = f"{self._what}: {line}" if self._what else line
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, ``0:00:05``."""
    return str(datetime.timedelta(seconds=round(seconds)))


def write_line(text: str) -> None:
    """Write a line on stderr, above the bars that are there."""
    from tqdm import tqdm

    tqdm.write(text, sys.stderr)
