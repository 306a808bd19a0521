"""The results file of a study: JSON lines, one a run and condition, only ever added to.

A row holds at least the fields of `FIELDS`, and the report needs no more. A row is written with its
newline in one go; what a kill leaves behind is at worst a last line cut short, which is recognised,
reported and dropped.
"""

import fcntl
import json
import math
import os
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from featurestore.errors import RunError, SpecError, TrainingError
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from featurestore.storage.atomic import output_errors

Row = dict[str, Any]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_whole_or_none(value: object) -> bool:
    return value is None or _is_whole(value)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and 0 <= value < math.inf)


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and -_ROUNDING <= value <= 1 + _ROUNDING


def _are_scores(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_score, value))


def _are_scores_of_tags(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_score, value.values()))


def _are_counts(value: object) -> bool:
    """A square of whole numbers."""
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == len(value) and all(map(_is_whole, row))
        for row in value
    )


def _are_numbers_of_tags(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_whole, value.values()))


def _is_condition(value: object) -> bool:
    try:
        return isinstance(value, str) and Condition.parse(value).name == value
    except SpecError:
        return False


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_texts_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


_ROUNDING = 1e-9  # an area is a sum, which may pass 1 by its last bits

_IDENTITY_FIELDS: dict[str, Callable[[object], bool]] = {
    "data": _is_text,
    "spec": _is_text,
    "encoding": _is_text,
    "model": _is_text,
    "width": _is_number,
    "recipe": _is_text,
    "augment": _is_text,
    "seed": _is_whole,
    "fold": _is_whole_or_none,
    "epochs": _is_whole,
    "batch_size": _is_whole,
    "learning_rate": _is_number,
    "amp": _is_text,
}

_OUTCOME_FIELDS: dict[str, Callable[[object], bool]] = {
    "roc_auc": _is_score,
    "pr_auc": _is_score,
    "gmac": lambda value: _is_number(value) and value != 0,
    "parameters": _is_whole,
    "bytes_per_clip": lambda value: _is_number(value) and value != 0,
    "train_seconds": _is_number,
    "inference_seconds_per_clip": _is_number,
    "roc_auc_per_tag": _are_scores_of_tags,
    "pr_auc_per_tag": _are_scores_of_tags,
    "bootstrap_roc_auc": _are_scores,
    "bootstrap_pr_auc": _are_scores,
    "versions": _are_texts_by_name,
}

FIELDS = _IDENTITY_FIELDS | _OUTCOME_FIELDS
"""What every row holds, and what it must be: scores from 0 to 1, and no number nan or infinite."""

_OPTIONAL_FIELDS: dict[str, Callable[[object], bool]] = {
    "partition": _is_whole_or_none,
    "draws": lambda value: value is None or _is_text(value),
    "condition": _is_condition,
    "weights": _is_text,
    "catalog": _is_text,
    "device": _is_text,
    "n_tags_scored": _is_whole,
    "tags_left_out": _are_texts,
    "n_train": _is_whole,
    "n_validation": _is_whole,
    "n_test": _is_whole,
    "n_positive_per_tag": _are_numbers_of_tags,
    "task": _is_text,
    "class_weights": _is_text,
    "weight_decay": _is_number_or_none,
    "warm_up": _is_number_or_none,
    "accuracy": _is_score,
    "classes": _are_texts,
    "confusion": _are_counts,
    "recall_per_class": _are_scores_of_tags,
}
"""What a row may hold and the report uses."""

IDENTITY = tuple(_IDENTITY_FIELDS)
"""The fields of every row that make a run what it is."""


class Identity(NamedTuple):
    """What makes a run what it is: two runs that agree in all of it are the same run.

    `partition` is the drawing of the training clips, where runs differ in it: of the folds, or of a
    resampled training split. None is the only one that there is, as in all rows of old. `draws` are
    the random draws that training clips were read from; None is none, as in all rows of old.
    `condition` is that of the clips on which the network was tested; all rows of old are of what it
    was trained on, which is ``clean`` unless the spec says another. Rows of old are taggings, and
    took the recipe's weight decay and warm-up, which are None here.
    """

    data: str
    spec: str
    encoding: str
    model: str
    width: float
    recipe: str
    augment: str
    seed: int
    fold: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    amp: str
    draws: str | None = None
    partition: int | None = None
    condition: str = "clean"
    task: str = "tagging"
    class_weights: str = "none"
    weight_decay: float | None = None
    warm_up: float | None = None

    @property
    def point(self) -> "Identity":
        """What all runs of a point share: everything but seed, partition and fold."""
        return self._replace(seed=0, partition=None, fold=None)

    @property
    def as_trained(self) -> "Identity":
        """The row of the same training, tested under the condition that it was trained on."""
        return self._replace(condition=_condition_of(self.spec))


LATER = tuple(field for field in Identity._fields if field not in IDENTITY)
"""Those that rows of old lack."""


def identity(row: Row) -> Identity:
    """Whose row it is."""
    fields = {field: row[field] for field in IDENTITY}
    later = {field: row[field] for field in LATER if field in row}
    return Identity(**fields, **{"condition": _condition_of(row["spec"])} | later)


def is_as_trained(row: Row) -> bool:
    """Whether it is of the condition that the network was trained on, as all rows of old are."""
    return identity(row).condition == _condition_of(row["spec"])


def is_of_one_network(row: Row, other: Row) -> bool:
    """Whether two rows of one training can be of the same weights; not told where a row is old.

    Of a training that was done twice, which on a GPU need not give the same weights, rows of the
    one are not compared with rows of the other.
    """
    digests = {r["weights"] for r in (row, other) if "weights" in r}
    return len(digests) < 2


def _condition_of(spec: str) -> str:
    return spec.partition("~")[2] or "clean"


def spec_of(row: Row) -> Spec:
    """The spec that a row is about.

    Raises
    ------
    SpecError
        If the row's ``spec`` is no spec's name.
    """
    return parse_spec(row["spec"])


def read_results(path: str | os.PathLike[str]) -> tuple[list[Row], str | None]:
    """Read the rows of a results file.

    Returns
    -------
    rows : list of dict
    note : str or None
        What to tell the user of a last line that was cut short, and is left out of the rows.

    Raises
    ------
    TrainingError
        If there is no such file, or if a line in it is not a row.
    """
    path = Path(path)
    if not path.is_file():
        raise TrainingError(f"there is no results file at {path}; melgrid study writes one")
    rows, note, _ = _parse(path.read_bytes(), path)
    return rows, note


class ResultsFile:
    """A results file, open for adding rows; made where there is none. A context manager.

    Attributes
    ----------
    rows : list of dict
        What the file held when opened, and what was added since.
    note : str or None
        What to tell the user of a last line that was cut short. It is gone from the file.

    Raises
    ------
    RunError
        If another study is writing to the file.
    OutputError
        If the path is a folder's or has no folder.
    TrainingError
        If a line in the file is not a row.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        with output_errors(path, what="the results file"):
            self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            self.rows, self.note, whole = _parse(self._file.read(), path)
            self._file.truncate(whole)
        except BlockingIOError:
            self._file.close()
            raise RunError(
                f"another study is writing to {path}; wait for it or name another file"
            ) from None
        except TrainingError:
            self._file.close()
            raise

    def append(self, *rows: Row) -> None:
        """Add rows, in one go; they are on disk when this returns."""
        lines = [json.dumps(row, allow_nan=False, ensure_ascii=False) for row in rows]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows += rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def _parse(content: bytes, path: Path) -> tuple[list[Row], str | None, int]:
    """Rows, a note of what was cut short, and the bytes that whole lines take."""
    whole = content.rfind(b"\n") + 1
    note = None
    if whole < len(content):
        note = (
            f"{path}: the last line was cut short ({len(content) - whole} bytes) and is dropped; "
            "run the study again to make up for it"
        )
    rows = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TrainingError(
                f"{path}:{number} is not JSON ({error}); correct or delete the line"
            ) from None
        if not isinstance(row, dict):
            raise TrainingError(f"{path}:{number} is not a row; correct or delete the line")
        missing = [field for field in FIELDS if field not in row]
        if missing and "spec" in row and "roc_auc" in row:
            raise TrainingError(
                f"{path}:{number} has no {', '.join(missing)}: another version of melgrid wrote "
                "it; name another results file, or delete the line and run the study again"
            )
        optional = {f: fits for f, fits in _OPTIONAL_FIELDS.items() if f in row}
        for field, fits in (FIELDS | optional).items():
            if field not in row or not fits(row[field]):
                value = reprlib.repr(row.get(field, "missing"))
                raise TrainingError(
                    f"{path}:{number}: {field} is {value}; is this a file that melgrid study "
                    "wrote? Correct or delete the line"
                )
        try:
            spec_of(row)
        except SpecError as error:
            raise TrainingError(f"{path}:{number}: {error}; correct or delete the line") from None
        rows.append(row)
    return rows, note, whole
