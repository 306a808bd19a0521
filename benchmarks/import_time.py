"""What ``featurize --help`` takes to answer, against Python's own start."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

from benchmarks.page import publish, save_option, table, verdict


def seconds(*command: str) -> float:
    """What a command takes, by the clock [s]."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True)
@save_option
def main(rounds: int, save: bool) -> None:
    """Measure and print."""
    program = str(Path(sys.executable).with_name("featurize"))
    commands = {
        "featurize --help": (program, "--help"),
        "python -c pass": (sys.executable, "-c", "pass"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            times[name].append(seconds(*command))
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    aims = {"featurize --help": verdict(medians["featurize --help"], most=0.3)}
    rows = [[name, f"{median:.3f}", aims.get(name, "")] for name, median in medians.items()]
    publish("import_time", [table(["", "s", "aim"], rows)], save)


if __name__ == "__main__":
    main()
