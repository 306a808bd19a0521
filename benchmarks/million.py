"""The driver's memory, and the scheduler's time a task, with a million imagined tracks."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import matplotlib as mpl

from benchmarks.page import publish, table, verdict
from benchmarks.simulation import Simulation, overhead, simulate

PICTURE = Path(__file__).with_name("million.png")

_CLIP_MS = 8.0
"""About what a clip at one spec takes a worker [ms]."""


def draw(simulations: Sequence[Simulation]) -> None:
    """Memory over time, a line a collection."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for simulation in simulations:
        times, nbytes, phases = zip(*simulation.memory, strict=True)
        [line] = axes.plot(
            times, [n / 2**20 for n in nbytes], label=f"{simulation.n_tracks:,} tracks"
        )
        computing = [time for time, phase in zip(times, phases, strict=True) if phase == "compute"]
        axes.axvspan(computing[0], computing[-1], color=line.get_color(), alpha=0.08)
    axes.set(xlabel="time [s]", ylabel="driver's memory [MiB]", ylim=(0, None))
    axes.set_title("shaded: while tasks are done; before, the clip table; after, the status")
    axes.legend()
    figure.savefig(PICTURE, dpi=120)


@click.command(help=__doc__)
@click.option("--tracks", default=1_000_000, show_default=True)
@click.option("--save", is_flag=True, help="Put the table in RESULTS.md, and the picture beside.")
def main(tracks: int, save: bool) -> None:
    """Measure and print."""
    sizes = [tracks // 10, tracks // 3, tracks]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as pool:
        simulations = list(pool.map(simulate, sizes))
        wall, cpu = pool.submit(overhead, 1000).result()
    rows = []
    for one in simulations:
        first, last = one.results[0][1], one.results[-1][1]
        rows.append(
            [
                f"{one.n_tracks:,}",
                f"{one.n_tasks:,}",
                f"{one.peak('start') / 2**20:.0f}",
                f"{one.peak('prepare') / 2**20:.0f}",
                f"{first / 2**20:.0f}",
                f"{last / 2**20:.0f}",
                f"{one.growth / 2**20:+.2f}",
                f"{one.peak('publish') / 2**20:.0f}",
                f"{one.seconds('prepare'):.1f}, {one.seconds('compute'):.1f}, "
                f"{one.seconds('publish'):.1f}",
            ]
        )
    header = [
        "tracks",
        "tasks",
        "at start",
        "most, preparing",
        "at the first result",
        "at the last",
        "a 1000 tasks",
        "most, publishing",
        "s: prepare, compute, publish",
    ]
    small, large = simulations[0], simulations[-1]
    rows_more = large.n_tracks - small.n_tracks

    def a_row(of: str) -> str:
        return f"{(large.peak(of) - small.peak(of)) / rows_more:.0f}"

    table_bytes = (large.results[0][1] - small.results[0][1]) / rows_more
    share = cpu * 1e3 / (256 * _CLIP_MS)
    remarks = (
        "MiB of the driver, the scheduler in it. What is computed is imagined: workers write the "
        "commit records of clips that are not there; all else is the real run, one spec, two "
        "workers, shards of 256 clips. While tasks are done memory must not grow. The clip table "
        f"takes {table_bytes:.0f} bytes a row then (50 tags, 40 letters of path); at most, "
        f"{a_row('prepare')} bytes a row while it is made, and {a_row('publish')} a row while the "
        "status is published."
    )
    tasks = table(
        ["scheduling, a task of 256 clips", "ms", "share of the clips' own time", "aim"],
        [
            ["by the clock, two workers", f"{wall * 1e3:.2f}", "", ""],
            ["CPU of driver and scheduler", f"{cpu * 1e3:.2f}", f"{share:.2%}",
             verdict(share, most=0.01)],
        ],
    )  # fmt: skip
    if save:
        draw(simulations)
        remarks += f" ![memory over time]({PICTURE.name})"
    publish("million", [table(header, rows), remarks, tasks], save)


if __name__ == "__main__":
    main()
