"""Tag audio files with a trained network: what needs both audio and a network, joined.

Files become values in `pipeline.run.values`, values become predictions in
`models.training.predictor`.
"""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import AudioError, SettingsError
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.perturbation import CLEAN
from featurestore.storage.atomic import atomic_write
from pipeline.kernels import COMPILED
from pipeline.run.processes import begin

if TYPE_CHECKING:
    import pandas as pd

    from models.tags import Tags
    from models.training.checkpoint import Checkpoint
    from pipeline.catalogs.table.settings import TableSettings
    from pipeline.run.values import Values

# What imports PyTorch is imported within functions: processes begin to import it before.


class Tagger:
    """A checkpoint that tags audio files.

    Each file is decoded once, and becomes the values that a run would store in float32: of a clip
    as long as those that the network was trained on, and from the same place of its track, or from
    the middle if a track was cut into several. A short file is padded as a store's clips are.

    Parameters
    ----------
    checkpoint : Checkpoint
    device : str
        ``auto`` is ``cuda`` where there is one, else ``cpu``; or any device that torch knows.
    batch_size : int, optional
        Clips that the network is given at a time; None is 8 on a CPU and 64 elsewhere.
    workers : int, optional
        Processes that read files, where there are several; None is one a core. 0 is none: see
        `pipeline.run.values.compute_values`. A script that has some must guard what it does by
        ``if __name__ == "__main__"``, as Python's multiprocessing asks for.
    timeout : float
        How long a process may be at a file [s].
    name : str
        Of the checkpoint, for results.

    Raises
    ------
    SettingsError
        If a setting is out of range.

    Examples
    --------
    >>> tagger = Tagger.load("model.pt")  # doctest: +SKIP
    >>> tagger("song.mp3").T.nlargest(5, "song.mp3")  # doctest: +SKIP
    """

    def __init__(
        self,
        checkpoint: "Checkpoint",
        *,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        timeout: float = 300.0,
        name: str = "",
    ) -> None:
        from models.training.predictor import Predictor

        if batch_size is not None and batch_size < 1:
            raise SettingsError(f"invalid batch_size {batch_size}: must be at least 1")
        self._predictor = Predictor(checkpoint, device=device, batch_size=batch_size)
        self._spec = checkpoint.spec.under(CLEAN)
        self._n_frames = checkpoint.n_frames
        window = checkpoint.window
        if window is None or window.take == "all":
            window = Excerpt.of_frames(self._spec, self._n_frames)
        self._window = window
        self._workers, self._timeout = workers, timeout
        self._name = name
        self.tags = checkpoint.tags
        self._is_classification = checkpoint.settings.task == "classification"

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | None = None,
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        timeout: float = 300.0,
    ) -> Self:
        """Make one of a file that ``melgrid train`` wrote.

        Parameters
        ----------
        path : path
        model : str, optional
            As `models.training.checkpoint.load_checkpoint` takes it.
        device, batch_size, workers, timeout
            As above.

        Raises
        ------
        TrainingError
            If it is no checkpoint.
        SettingsError
            If a setting is out of range.
        """
        from models.training.checkpoint import load_checkpoint

        return cls(
            load_checkpoint(path, model=model),
            device=device,
            batch_size=batch_size,
            workers=workers,
            timeout=timeout,
            name=os.fspath(path),
        )

    def __call__(
        self,
        audio: "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]",
        *,
        chunks: int | None = None,
        seed: int = 0,
    ) -> "pd.DataFrame":
        """Tag a file, or several: a row a file, by its path, and a column a tag.

        Parameters
        ----------
        audio : path, or iterable of paths
            Of files; of folders and tables too, see `pipeline.catalogs.paths.list_paths`. One file
            alone is read in this process.
        chunks, seed : int
            As in `tag`.

        Returns
        -------
        pandas.DataFrame
            See `models.tags.Tags.frame`: rows of files that failed are nan, and its
            ``attrs["failures"]`` says why.

        Raises
        ------
        AudioError
            If one file alone is given, and fails.
        CatalogError, SettingsError
            As `list_paths` and `tag` do.
        """
        from pipeline.catalogs.paths import list_paths

        given = [audio] if isinstance(audio, str | os.PathLike) else [*audio]
        paths = list_paths([os.fspath(place) for place in given])
        is_one = isinstance(audio, str | os.PathLike) and paths == [os.fspath(audio)]
        tags = self._tag(paths, chunks, seed, workers=0 if is_one else self._workers)
        if is_one and tags.failures:
            raise tags.failures[0]
        return tags.frame()

    def tag(
        self,
        paths: Sequence[str],
        *,
        chunks: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Tags":
        """Tag files; one that cannot be read becomes a failure, and the others are done.

        Parameters
        ----------
        paths : sequence of str
            Paths or fsspec URLs.
        chunks : int, optional
            Tag by so many windows, drawn at random from the whole of each file. None is by those by
            which clips are judged.
        seed : int
            Which windows are drawn, with the bytes of each file.
        progress : callable, optional
            Called with files done and their total.

        Raises
        ------
        SettingsError
            If a setting is out of range.
        StorageError, RunError
            If object storage cannot be reached, or processes cannot be started.
        """
        return self._tag(paths, chunks, seed, workers=self._workers, progress=progress)

    def _tag(
        self,
        paths: Sequence[str],
        chunks: int | None,
        seed: int,
        *,
        workers: int | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Tags":
        from models.evaluation.voting import vote
        from models.tags import VOTE, Tags
        from pipeline.run.values import RandomWindows, compute_values

        began = time.monotonic()
        windows = None
        if chunks is not None:
            n_frames = self._predictor.window
            windows = RandomWindows(n_windows=chunks, n_frames=n_frames, seed=seed)
        outcomes = compute_values(
            paths,
            self._spec,
            self._window,
            windows=windows,
            workers=workers,
            timeout=self._timeout,
        )
        shape = len(paths), len(self.tags)
        probabilities = np.full(shape, np.nan, np.float32)
        votes = None if windows is None else probabilities.copy()
        classes = [("", math.nan)] * len(paths) if self._is_classification else None
        failures: dict[int, AudioError] = {}
        predict = self._clips if windows is None else self._windows
        n_done = 0
        self._predictor.begin(shares_cores=workers != 0)
        report = progress or (lambda done, total: None)
        report(0, len(paths))
        with contextlib.closing(outcomes):
            for batch in _batches(outcomes, self._predictor.batch_size):
                values = {}
                for number, outcome in batch:
                    if isinstance(outcome, AudioError):
                        failures[number] = outcome
                    else:
                        values[number] = outcome
                for number, predicted in zip(values, predict([*values.values()]), strict=True):
                    probabilities[number] = predicted.mean(axis=0)
                    if classes is not None:
                        voted = vote(predicted)
                        classes[number] = self.tags[voted.winner], voted.confidence
                        if votes is not None:
                            votes[number] = voted.shares
                    elif votes is not None:
                        votes[number] = (predicted >= VOTE).mean(axis=0)
                n_done += len(batch)
                report(n_done, len(paths))
        return Tags(
            checkpoint=self._name,
            spec=self._spec.name,
            tags=self.tags,
            paths=tuple(paths),
            probabilities=probabilities,
            votes=votes,
            chunks=chunks,
            failures=failures,
            classes=None if classes is None else tuple(classes),
            seconds=time.monotonic() - began,
        )

    def _clips(self, values: "Sequence[Values]") -> list[npt.NDArray[np.float32]]:
        """Predictions for clips: of each file, for one."""
        if not values:
            return []
        stacked = np.concatenate([of_file.values[:, :, : self._n_frames] for of_file in values])
        n_valid = np.concatenate([of_file.n_valid for of_file in values])
        predicted = self._predictor.clips(stacked, np.minimum(n_valid, self._n_frames))
        return np.split(predicted, len(values))

    def _windows(self, values: "Sequence[Values]") -> list[npt.NDArray[np.float32]]:
        """Predictions for windows, by file."""
        if not values:
            return []
        predicted = self._predictor.windows(np.concatenate([of_file.values for of_file in values]))
        ends = np.cumsum([len(of_file.values) for of_file in values])
        return np.split(predicted, ends[:-1])


def tag_files(
    checkpoint: str | os.PathLike[str],
    audio: Iterable[str],
    *,
    table: "TableSettings | None" = None,
    output: str | None = None,
    model: str | None = None,
    top: int = 5,
    chunks: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    timeout: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
) -> "Tags":
    """Tag files, and what is in folders and tables, and write a table of it.

    Parameters
    ----------
    checkpoint : path
    audio : iterable of str
    table : TableSettings, optional
        Where tables among `audio` have their paths.
    output : str, optional
        CSV file for the tags: written whole or not at all.
    top : int
        Tags of a file that the result shows as text.
    chunks, seed, progress
        As in `Tagger.tag`.
    model, device, batch_size, workers, timeout
        As `Tagger.load` has them.

    Raises
    ------
    CatalogError, SettingsError, TrainingError, StorageError, RunError
        As `list_paths`, `Tagger.load` and `Tagger.tag` do.
    OutputError
        If the table cannot be written; this is found out before files are read.
    """
    if workers != 0:
        begin("pipeline.run.values", *COMPILED)
    from pipeline.catalogs.paths import list_paths

    paths = list_paths(audio, table)
    with contextlib.ExitStack() as stack:
        written = None
        if output is not None:
            written = stack.enter_context(atomic_write(Path(output), what="the table of tags"))
            written.open("ab").close()
        tagger = Tagger.load(
            checkpoint,
            model=model,
            device=device,
            batch_size=batch_size,
            workers=workers,
            timeout=timeout,
        )
        tags = tagger.tag(paths, chunks=chunks, seed=seed, progress=progress)
        if written is not None:
            tags.write_csv(written)
    return dataclasses.replace(tags, top=top, output=output)


def _batches(
    outcomes: "Iterable[Values | AudioError]", size: int
) -> "Iterator[list[tuple[int, Values | AudioError]]]":
    """Numbered outcomes, in lists that hold `size` clips or windows, or a little more."""
    batch: list[tuple[int, Values | AudioError]] = []
    n_held = 0
    for numbered in enumerate(outcomes):
        batch.append(numbered)
        n_held += 1 if isinstance(numbered[1], AudioError) else len(numbered[1].values)
        if n_held >= size:
            yield batch
            batch, n_held = [], 0
    if batch:
        yield batch
