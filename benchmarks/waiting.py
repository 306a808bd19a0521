"""How long a training step waits for its data: the full-width VGG, read from a store."""

import dataclasses

import click
import numpy as np

from benchmarks.choices import FULL
from benchmarks.corpus import Corpus, audio_option, open_corpus
from benchmarks.crew import crew, scratch
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.reading import ENCODINGS
from featurestore.process.profile import Profile
from featurestore.specs.encoding import Encoding, EncodingName
from models.data import training_data
from models.profile import WAIT, profile
from models.training.settings import TrainSettings
from pipeline.run.run import run
from pipeline.run.settings import RunSettings


def measure(
    corpus: Corpus, encoding: EncodingName, settings: TrainSettings, n_clips: int, n_batches: int
) -> Profile:
    """Train for some batches on clips with a made-up tag; nothing is held in memory."""
    numbers = np.arange(n_clips)
    catalog = dataclasses.replace(
        corpus.catalog(n_clips),
        split=[(*["train"] * 6, "validation", "test")[number % 8] for number in numbers],
        tags=("third",),
        labels=(numbers % 3 == 0).astype(np.uint8)[:, None],
    )
    with scratch("store.zarr") as path:
        with crew() as workers:
            run_settings = RunSettings(scheduler=workers.address, encoding=Encoding(name=encoding))
            store = run(catalog, str(path), [FULL], run_settings).store
        data = training_data(store, FULL)
        return profile(data, settings, n_batches=n_batches, from_store=True)


@click.command(help=__doc__)
@audio_option
@click.option("--clips", default=256, show_default=True, help="Clips in the stores.")
@click.option("--batches", default=5, show_default=True, help="Steps measured.")
@click.option("--width", default=1.0, show_default=True, help="Of the VGG.")
@save_option
def main(audio: str | None, clips: int, batches: int, width: float, save: bool) -> None:
    """Measure and print."""
    corpus, settings = open_corpus(audio), TrainSettings(width=width)
    rows = []
    for encoding in ENCODINGS:
        profiled = measure(corpus, encoding, settings, clips, batches)
        seconds = {stage.stage: stage.seconds for stage in profiled.stages}
        share = seconds[WAIT] / profiled.seconds
        rows.append(
            [
                f"{FULL.name}, {encoding}",
                f"{profiled.seconds / batches:.2f}",
                f"{1e3 * seconds[WAIT] / batches:.1f}",
                f"{share:.2%}",
                verdict(share, most=0.05),
            ]
        )
    remark = (
        f"{corpus.name}, {clips} clips: VGG of width {width:g}, batches of {settings.batch_size} "
        f"whole clips read by two processes, {batches} steps, on the CPU of this machine; "
        "melgrid profile's figures."
    )
    header = ["training", "s a step", "ms of it waiting for data", "share", "aim"]
    publish("waiting", [table(header, rows), remark], save)


if __name__ == "__main__":
    main()
