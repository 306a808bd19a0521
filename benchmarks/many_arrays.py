"""A store of 88 specs under nine conditions, against one of the 88: what an array costs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from benchmarks.corpus import audio_option, open_corpus
from benchmarks.crew import crew, scratch
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.rounds import Work, interleaved
from featurestore.inspect.info import list_specs
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import ferraro2020, under
from featurestore.specs.perturbation import CONDITIONS
from featurestore.store import FeatureStore
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

FEW = ferraro2020()
MANY = under(FEW, CONDITIONS["smc2020"])

MOST = 1.2
"""Times as much as among few that an array may cost among many."""

SECONDS = 5


def open_store(path: Path) -> None:
    """Open it, and ask what it holds."""
    assert FeatureStore.open(path).specs


def ls(path: Path) -> None:
    """What ``melgrid ls`` does."""
    assert list_specs(FeatureStore.open(path)).lines()


def verify(path: Path) -> None:
    """What ``melgrid verify`` does."""
    assert FeatureStore.open(path).verify().is_healthy


def read(path: Path) -> None:
    """Read a row of every array."""
    store = FeatureStore.open(path)
    for spec in store.specs:
        store[spec].read([3])


WAYS: Mapping[str, Callable[[Path], None]] = {
    "open": open_store,
    "ls": ls,
    "verify": verify,
    "read a row of each": read,
}


def doing(way: Callable[[Path], None], path: Path) -> Work:
    """Something with a store, whose cost is shared among its arrays."""
    return lambda n_arrays: way(path)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=8, show_default=True, help="Clips in the stores.")
@click.option("--rounds", default=5, show_default=True)
@save_option
def main(audio: str | None, clips: int, rounds: int, save: bool) -> None:
    """Measure and print."""
    corpus = open_corpus(audio)
    rows = []
    with scratch("stores") as folder:
        folder.mkdir()
        with crew() as workers:
            settings = RunSettings(scheduler=workers.address, window=Excerpt(duration=SECONDS))
            took = {
                specs: run(
                    corpus.catalog(clips), str(folder / f"{len(specs)}.zarr"), specs, settings
                )
                for specs in (FEW, MANY)
            }
        works = {
            f"{name}, {len(specs)}": (doing(way, folder / f"{len(specs)}.zarr"), len(specs))
            for name, way in WAYS.items()
            for specs in (FEW, MANY)
        }
        measured = interleaved(works, rounds)
        for name in WAYS:
            few, many = f"{name}, {len(FEW)}", f"{name}, {len(MANY)}"
            cost = measured.cost(many, few)
            rows.append([
                name,
                *(f"{1e3 * measured.seconds(work):.0f}" for work in (few, many)),
                *(f"{measured.cpu_ms(work):.3f}" for work in (few, many)),
                f"{cost.wall:.2f}", f"{cost.cpu:.2f}", verdict(cost.cpu, most=MOST),
            ])  # fmt: skip
    header = [
        "of a store", f"{len(FEW)} arrays [ms]", f"{len(MANY)} arrays [ms]",
        "CPU ms an array", "of many", "of many in few: by the clock", "by CPU time", "aim",
    ]  # fmt: skip
    remark = (
        f"{corpus.name}: {clips} clips of {SECONDS} s; ferraro2020 clean, and clean and under the "
        f"eight conditions of smc2020. {rounds} rounds in turn, medians; the store is opened anew "
        "each time. Two workers made them in "
        + " and ".join(f"{summary.seconds:.0f} s" for summary in took.values())
        + "."
    )
    publish("many_arrays", [table(header, rows), remark], save)


if __name__ == "__main__":
    main()
