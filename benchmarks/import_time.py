"""What commands take to answer where there is hardly anything to do, against imports alone."""

import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.page import publish, save_option, table, verdict

_IMPORTS = "import dask.distributed, numpy, pandas, zarr"

_AIMS = {"featurize: nothing to do": 1.5, "featurize: one clip": 2.5}
"""At most so many times the imports."""


def seconds(*command: str) -> float:
    """What a command takes, by the clock [s]."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


@click.command(help=__doc__)
@click.option("--rounds", default=9, show_default=True)
@save_option
def main(rounds: int, save: bool) -> None:
    """Measure and print."""
    melgrid = str(Path(sys.executable).with_name("melgrid"))
    with tempfile.TemporaryDirectory() as folder:
        music, store = f"{folder}/music", f"{folder}/features.zarr"
        options = (music, "-o", store, "--mels", "48", "--hop", "x2")
        seconds(melgrid, "demo", music, "--clips", "12")
        one = Path(folder, "one")
        one.mkdir()
        shutil.copy(Path(music, "demo-0000.mp3"), one)
        stores = (f"{folder}/{number}.zarr" for number in itertools.count())

        def one_clip() -> float:
            return seconds(melgrid, "featurize", str(one), *options[3:], "-o", next(stores))

        seconds(melgrid, "featurize", *options)
        measured = {
            "python -c pass": lambda: seconds(sys.executable, "-c", "pass"),
            f"python -c '{_IMPORTS}'": lambda: seconds(sys.executable, "-c", _IMPORTS),
            "featurize --help": lambda: seconds(melgrid, "featurize", "--help"),
            "ls": lambda: seconds(melgrid, "ls", store),
            "info": lambda: seconds(melgrid, "info", store),
            "verify": lambda: seconds(melgrid, "verify", store),
            "featurize --dry-run": lambda: seconds(melgrid, "featurize", *options, "--dry-run"),
            "featurize: nothing to do": lambda: seconds(melgrid, "featurize", *options),
            "featurize: one clip": one_clip,
            "macs --mels 96": lambda: seconds(melgrid, "macs", "--mels", "96"),
        }
        times: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(rounds + 1):
            for name, measure in measured.items():
                times[name].append(measure())
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    imports = medians[f"python -c '{_IMPORTS}'"]
    rows = []
    for name, median in medians.items():
        aim = verdict(median / imports, most=_AIMS[name]) if name in _AIMS else ""
        if name == "featurize --help":
            aim = verdict(median, most=0.3) + " [s]"
        rows.append([name, f"{median:.2f}", f"{median / imports:.2f}", aim])
    publish("import_time", [table(["", "s", "of the imports", "aim"], rows)], save)


if __name__ == "__main__":
    main()
