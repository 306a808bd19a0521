"""JSON that others may have written: read without trust in its size, its depth or its encoding."""

import json
from typing import Any

MOST_NBYTES = 2**28
"""Longest JSON, and longest file of metadata, that is read [bytes]."""

_DEPTH = 64
"""Deepest nesting; melgrid's own is below ten."""


def parse(text: bytes) -> Any:
    """Value of a JSON text in UTF-8.

    Raises
    ------
    ValueError
        If it is none, or nested so deeply that code which walks it would run out of stack.
    """
    if len(text) > MOST_NBYTES:
        raise ValueError(f"{len(text):,} bytes are too many")
    try:
        value = json.loads(text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # There are no more levels than brackets, so that most texts need no walk.
    if text.count(b"[") + text.count(b"{") > _DEPTH and _is_deeper(value, _DEPTH):
        raise ValueError("nested too deeply")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether there are more than so many levels of lists and objects."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(inner, list | dict) for inner in level)
