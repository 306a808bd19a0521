"""Where the time goes: the stages of one task, timed on the real code in a worker."""

from collections.abc import Sequence

import click

from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import scratch
from benchmarks.featurize import SPEC
from benchmarks.page import publish, save_option, table
from featurestore.specs.grid import ferraro2020
from featurestore.specs.mel import FeatureSpec
from pipeline.profile import TaskTimes, in_worker, time_tasks
from pipeline.run.settings import RunSettings

_COLLECTION = 8192
"""Clips of the collection whose first tasks are done: enough for shards of full length."""


def measure(corpus: Corpus, specs: Sequence[FeatureSpec], n_clips: int) -> TaskTimes:
    """Do the first tasks of a large collection's run."""
    with scratch("stages.zarr") as path:
        catalog = corpus.catalog(_COLLECTION)
        return in_worker(time_tasks, catalog, str(path.absolute()), specs, RunSettings(), n_clips)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=512, show_default=True, help="Clips of one spec, at least.")
@save_option
def main(audio: str | None, clips: int, save: bool) -> None:
    """Measure and print."""
    corpus = open_corpus(audio)
    measured = {
        "one spec": measure(corpus, [SPEC], clips),
        "88 specs": measure(corpus, ferraro2020(), clips // 4),
    }
    rows = []
    for stage in [*measured["one spec"].wall, "all"]:
        row = [stage]
        for times in measured.values():
            cpu, wall = (
                1e3
                * (sum(by_stage.values()) if stage == "all" else by_stage[stage])
                / times.n_clips
                for by_stage in (times.cpu, times.wall)
            )
            share = cpu * times.n_clips / 1e3 / sum(times.cpu.values())
            row += [f"{cpu:.2f}", f"{share:.1%}", f"{wall:.2f}"]
        rows.append(row)
    header = ["ms a clip"]
    for name in measured:
        header += [f"{name}: CPU", "share", "clock"]
    remark = (
        f"{corpus.name}; {SPEC.name} and ferraro2020, float16. The first tasks of a "
        f"collection of {_COLLECTION} clips, with shards of full length, done one after the other "
        "in one worker; the functions of the real path are timed where they are, each stage "
        "without the stages within it, as melgrid profile does."
    )
    publish("stages", [table(header, rows), remark], save)


if __name__ == "__main__":
    main()
