"""Tags that a network gives to files: as lines, as JSON, as a table."""

import csv
import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import AudioError

if TYPE_CHECKING:
    import pandas as pd

VOTE = 0.5
"""Probability from which on a window is said to have a tag."""

_SHOWN = 20
"""Files, or failures, that are shown where a table has all."""

_NO_BREAK = "\u00a0"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tags:
    """Tags of files, by a checkpoint.

    Attributes
    ----------
    checkpoint, spec : str
    tags : tuple of str
    paths : tuple of str
    probabilities : np.ndarray [shape=(n_files, n_tags), dtype=float32]
        Of each tag, the mean over the windows by which a file is judged; nan where it failed.
    votes : np.ndarray [shape=(n_files, n_tags), dtype=float32] or None
        Share of a file's random windows that have the tag, with a probability of at least `VOTE`:
        above 0.5 for what most of them say; of a classification, share of those that say the class.
        None where none were drawn.
    chunks : int or None
        How many windows were to be drawn from each file.
    classes : tuple of (str, float) or None, n_files
        Of a classification, the class of each file and how sure it is: with random windows the
        class that most of them say, of as many the first of `tags`, and its mean probability over
        those; else the most probable one. Empty and nan where the file failed. None of a tagging.
    failures : mapping of int to AudioError
        Of the files that have no tags, by their numbers.
    seconds : float
        What it took [s].
    top : int
        Tags of a file that `lines` shows.
    output : str or None
        Where the table of all is, if it was written.
    """

    checkpoint: str
    spec: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    votes: npt.NDArray[np.float32] | None
    chunks: int | None
    failures: Mapping[int, AudioError]
    seconds: float
    classes: tuple[tuple[str, float], ...] | None = None
    top: int = 5
    output: str | None = None

    def json(self) -> dict[str, Any]:
        """All of it; a file that failed has a reason in place of probabilities."""
        return {
            "checkpoint": self.checkpoint,
            "spec": self.spec,
            "chunks": self.chunks,
            "seconds": round(self.seconds, 3),
            "failed": len(self.failures),
            "files": [self._file(number) for number in range(len(self.paths))],
        }

    def lines(self) -> list[str]:
        """The most probable tags of each file, and how many files there are."""
        n_shown = len(self.paths) if self.output is None else _SHOWN
        lines = []
        for number, path in enumerate(self.paths[:n_shown]):
            if number not in self.failures:
                lines += [path, *self._class(number), *self._most_probable(number)]
        if len(self.paths) > n_shown:
            lines.append(f"… and {len(self.paths) - n_shown:,} more")
        if self.votes is not None:
            of_windows = "that say so" if self.classes else f"with at least {VOTE:g}"
            lines.append(f"in brackets: share of {self.chunks} windows {of_windows}")
        n_tagged = len(self.paths) - len(self.failures)
        lines.append(
            f"{n_tagged:,} of {result.count(len(self.paths), 'file')} tagged in "
            f"{self.seconds:.1f} s ({len(self.paths) / self.seconds:.3g} files/s)"
        )
        if self.output is not None:
            lines.append(f"all {result.count(len(self.tags), 'tag')} in {self.output}")
        return lines

    def warnings(self) -> list[str]:
        """A line for each file that failed; JSON and the table have all."""
        failed = [f"failed: {self.paths[n]}: {error}" for n, error in self.failures.items()]
        if len(failed) > _SHOWN:
            n_more = len(failed) - _SHOWN
            failed[_SHOWN:] = [f"… and {n_more:,} more; --json and the table of -o name all"]
        return failed

    def frame(self) -> "pd.DataFrame":
        """A row a file, by its path, and a column a tag.

        With random windows, columns of votes follow, each called like its tag and `` votes``; of a
        classification, ``class`` and ``confidence`` are the last. Rows of files that failed are
        nan, and ``attrs["failures"]`` says why, by path.
        """
        import pandas as pd

        columns = [*self.tags]
        values = self.probabilities
        if self.votes is not None:
            columns += [f"{tag} votes" for tag in self.tags]
            values = np.concatenate([values, self.votes], axis=1)
        frame = pd.DataFrame(values, pd.Index(self.paths, dtype=object, name="path"), columns)
        if self.classes is not None:
            frame["class"] = pd.Series([c or None for c, _ in self.classes], frame.index, object)
            frame["confidence"] = [confidence for _, confidence in self.classes]
        frame.attrs["failures"] = {self.paths[n]: str(e) for n, e in self.failures.items()}
        return frame

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `frame` as CSV, with a last column, ``reason``, for files that failed."""
        frame = self.frame()
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *frame.columns, "reason"])
            for number, (name, row) in enumerate(zip(self.paths, frame.to_numpy(), strict=True)):
                error = self.failures.get(number)
                cells = ["" if error else _cell(value) for value in row.tolist()]
                writer.writerow([name, *cells, error or ""])

    def _file(self, number: int) -> dict[str, Any]:
        file: dict[str, Any] = {"path": self.paths[number]}
        error = self.failures.get(number)
        if error is not None:
            return file | {"reason": error.reason, "detail": error.detail}
        file["probabilities"] = dict(
            zip(self.tags, self.probabilities[number].tolist(), strict=True)
        )
        if self.classes is not None:
            file["class"], file["confidence"] = self.classes[number]
        if self.votes is not None:
            file["votes"] = dict(zip(self.tags, self.votes[number].tolist(), strict=True))
        return file

    def _class(self, number: int) -> list[str]:
        if self.classes is None:
            return []
        name, confidence = self.classes[number]
        share = ""
        if self.votes is not None:
            share = f", {self.votes[number, self.tags.index(name)]:.0%} of its windows"
        return [f"    class {name}, confidence {confidence:.2f}{share}"]

    def _most_probable(self, number: int) -> list[str]:
        row = self.probabilities[number]
        words = []
        for column in np.argsort(-row, kind="stable")[: self.top].tolist():
            votes = "" if self.votes is None else f" ({self.votes[number, column]:.0%})"
            words.append(f"{self.tags[column]} {row[column]:.2f}{votes}")
        # A tag stays in one line.
        text = ", ".join(word.replace(" ", _NO_BREAK) for word in words)
        return [line.replace(_NO_BREAK, " ") for line in result.wrapped(f"    {text}")]


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
