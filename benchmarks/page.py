"""The results page: tables in Markdown, printed, and put in RESULTS.md by ``--save``."""

import datetime
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
import soundfile

RESULTS = Path(__file__).with_name("RESULTS.md")

_LIBRARIES = ("numpy", "torch", "soxr", "numcodecs", "zarr", "distributed", "librosa")


save_option = click.option("--save", is_flag=True, help="Put the tables in RESULTS.md.")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns padded so that it reads as plain text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def verdict(value: float, *, least: float | None = None, most: float | None = None) -> str:
    """An aim, and whether it is met."""
    if least is not None:
        return f"at least {least:g}: {'met' if value >= least else 'MISSED'}"
    assert most is not None
    return f"at most {most:g}: {'met' if value <= most else 'MISSED'}"


def publish(name: str, parts: Sequence[str], save: bool) -> None:
    """Print a benchmark's tables and remarks; if `save`, put them in its place in RESULTS.md."""
    text = "\n\n".join([*parts, f"*{conditions()}*"])
    print(text)
    if save:
        page = RESULTS.read_text("utf-8")
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        place = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
        if not place.search(page):
            raise SystemExit(f"{RESULTS} has no place for {name}: {begin} … {end}")
        RESULTS.write_text(place.sub(lambda _: f"{begin}\n{text}\n{end}", page), "utf-8")


def conditions() -> str:
    """When and on what this was measured, and what else the machine did."""
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{datetime.date.today()}, {_cpu()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the end (the benchmark's own included); "
        f"Python {platform.python_version()}, libsndfile {soundfile.__libsndfile_version__}, "
        f"{versions}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
