"""The runs of one point, as a table of runs by folds without holes."""

import dataclasses
import statistics
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.study.label import Label
from models.study.results import Row

Folds = Sequence[int | None]


class Run(NamedTuple):
    """What tells the runs of a point apart; each is tested on all of the folds."""

    seed: int
    partition: int | None = None

    @property
    def order(self) -> tuple[int, int]:
        """A key to sort by."""
        return self.seed, -1 if self.partition is None else self.partition


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredOn:
    """What runs were tested on.

    Attributes
    ----------
    catalog : str
    has_own_splits : bool
        Whether they learnt from and were tested on the catalog's own splits, whole: not on folds,
        nor from clips drawn of the training split.
    n_clips, n_tags : int
        That were scored.
    """

    catalog: str
    has_own_splits: bool
    n_clips: int
    n_tags: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunTable:
    """The runs of one point that were tested on all of its folds.

    Attributes
    ----------
    label : Label
    runs : tuple of Run
    folds : tuple of int or None
        ``(None,)`` where the store has splits of its own.
    cells : dict of (Run, fold) to dict
        A row for each run and fold.
    n_left_out : int
        Rows of runs that lack a fold.
    """

    label: Label
    runs: tuple[Run, ...]
    folds: tuple[int | None, ...]
    cells: dict[tuple[Run, int | None], Row]
    n_left_out: int

    @property
    def rows(self) -> list[Row]:
        """All rows of the table."""
        return list(self.cells.values())

    @property
    def data(self) -> str:
        """Digest of the collection, which all rows share."""
        return str(self.rows[0]["data"])

    @property
    def scored_on(self) -> ScoredOn | None:
        """What all rows were tested on; None where they differ in it, or do not say."""
        found = {
            (row.get("catalog"), row.get("n_test"), row.get("n_tags_scored")) for row in self.rows
        }
        catalog, n_clips, n_tags = found.pop()
        if found or not catalog or n_clips is None or n_tags is None:
            return None
        is_own = self.folds == (None,) and {run.partition for run in self.runs} == {None}
        return ScoredOn(catalog=catalog, has_own_splits=is_own, n_clips=n_clips, n_tags=n_tags)

    @property
    def is_redrawn(self) -> bool:
        """Whether the training clips differ by run."""
        partitions = {run.partition for run in self.runs}
        return len(partitions) > 1 and None not in partitions

    @property
    def distinct_runs(self) -> list[Run]:
        """The runs but for those that have all scores of an earlier one."""
        first: dict[tuple[float, ...], Run] = {}
        for run in self.runs:
            rows = [self.cells[run, fold] for fold in self.folds]
            # Chance alone does not make some replicates agree as well.
            scores = [(r["roc_auc"], r["pr_auc"], *r["bootstrap_roc_auc"][:16]) for r in rows]
            first.setdefault(tuple(chain.from_iterable(scores)), run)
        return list(first.values())

    @property
    def roc_auc(self) -> float:
        """Mean over runs and folds."""
        return self.mean("roc_auc")

    @property
    def cost(self) -> tuple[float, float]:
        """Multiply-accumulates [1e9] and bytes, per clip."""
        return self.mean("gmac"), self.mean("bytes_per_clip")

    def mean(self, field: str) -> float:
        """Mean of a field over all cells."""
        # Exact, so that what costs the same in every row costs the same in other numbers of rows.
        return float(statistics.mean([row[field] for row in self.rows]))

    def per_run(self, field: str, folds: Folds, runs: Sequence[Run]) -> npt.NDArray[np.float64]:
        """Means over `folds` of each of `runs`, ``(n_runs,)``."""
        table = [[self.cells[run, fold][field] for fold in folds] for run in runs]
        return np.asarray(np.mean(table, axis=1))

    def per_tag(self, field: str) -> dict[str, float]:
        """Mean of each tag over the cells in which it was scored."""
        tags = dict.fromkeys(tag for row in self.rows for tag in row[field])
        return {
            tag: float(np.mean([row[field][tag] for row in self.rows if tag in row[field]]))
            for tag in tags
        }

    def replicates(self, field: str, folds: Folds, runs: Sequence[Run]) -> npt.NDArray[np.float64]:
        """Means over `folds` of each replicate, ``(n_runs, n_replicates)``, perhaps none."""
        table = [[self.cells[run, fold][field] for fold in folds] for run in runs]
        # The first of few replicates are the first of many: they stay paired.
        n = min(len(values) for of_run in table for values in of_run)
        return np.array([np.mean([v[:n] for v in of_run], axis=0) for of_run in table])


def run_table(label: Label, rows: Sequence[Row]) -> RunTable:
    """Arrange the rows of a point; of a run that was done twice, the last row counts."""
    cells = {(Run(row["seed"], row.get("partition")), row["fold"]): row for row in rows}
    folds_of: dict[Run, set[int | None]] = {}
    for run, fold in cells:
        folds_of.setdefault(run, set()).add(fold)
    longest = max(folds_of.values(), key=len)
    folds = sorted(longest, key=lambda fold: -1 if fold is None else fold)
    runs = sorted((run for run in folds_of if folds_of[run] >= longest), key=lambda run: run.order)
    complete = {(run, fold): cells[run, fold] for run in runs for fold in folds}
    return RunTable(
        label=label,
        runs=tuple(runs),
        folds=tuple(folds),
        cells=complete,
        n_left_out=len(cells) - len(complete),
    )
