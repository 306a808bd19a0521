"""What a command gives: a JSON value, and lines of text that fit a terminal."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

WIDTH = 79
"""Characters in a line of text, at most, where it can be wrapped."""

_MOST_LINES = 20
"""Things of a kind that are listed as text; JSON lists all."""

_KEY_WIDTH = 17


class Result(Protocol):
    """Result of a command: printed as lines or as JSON."""

    def json(self) -> Any:
        """All of it, as values that JSON has; nan where a number is not known."""

    def lines(self) -> list[str]:
        """Lines for a terminal; whoever prints them escapes control characters in names."""


def count(n: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def size(nbytes: float) -> str:
    """Bytes as ``300 B`` or ``1.19 kB``: three digits, and 1 kB is 1000 B."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def shape(lengths: Iterable[int]) -> str:
    """Lengths of axes as ``30 x 16 x 32``."""
    return " x ".join(map(str, lengths))


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """A header of the keys and a line per row, columns aligned, numbers to the right."""
    cells = [list(rows[0]), *[[_text(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    return [
        "  ".join(
            text.ljust(width) if to_left else text.rjust(width)
            for text, width, to_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    ]


def fact(key: str, value: object) -> list[str]:
    """``key   value``, the value wrapped under a hanging indent; a dash where there is none."""
    if isinstance(value, dict):
        value = ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        value = ", ".join(
            " ".join(f"{k} {v}" for k, v in part.items()) if isinstance(part, dict) else str(part)
            for part in value
        )
    text = "-" if value in (None, "") else _text(value)
    return _filled(text, f"{key:<{_KEY_WIDTH}}", " " * _KEY_WIDTH)


def wrapped(text: str) -> list[str]:
    """A sentence in lines of at most `WIDTH`, all but the first indented."""
    return _filled(text, "", "    ")


def listed(sentences: Iterable[str]) -> list[str]:
    """Each wrapped, and no more than fit a screen."""
    sentences = list(sentences)
    lines = [line for sentence in sentences[:_MOST_LINES] for line in wrapped(sentence)]
    if len(sentences) > _MOST_LINES:
        lines.append(f"… and {len(sentences) - _MOST_LINES:,} more; --json lists all")
    return lines


def _filled(text: str, first: str, following: str) -> list[str]:
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_on_hyphens=False,
        # What is no space stays, for whoever prints to escape.
        expand_tabs=False,
        replace_whitespace=False,
    )
    return lines or [first.rstrip()]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
