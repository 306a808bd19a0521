"""A table of published scores: a CSV file, and what one must know to read it."""

import csv
import dataclasses
import math
from collections.abc import Mapping
from functools import cached_property
from importlib import resources

from featurestore.specs.kinds import parse_spec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from models.study.comparison import Point

_INCOMPLETE = 0.01
"""Share of the published test clips that a store may lack: files that are broken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """Published scores of a network, 0 to 1.

    Attributes
    ----------
    catalog, model : str
        As they are called here.
    spec : Spec or None
        None where the publication does not say.
    roc_auc, pr_auc : float
    roc_auc_std, pr_auc_std : float
        Over runs; nan where none was given.
    """

    catalog: str
    model: str
    spec: Spec | None
    roc_auc: float
    roc_auc_std: float
    pr_auc: float
    pr_auc_std: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A point of ours and what was published of the same network on the same spec."""

    point: Point
    score: Score


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Scores that one publication gives.

    Attributes
    ----------
    name : str
        Of the CSV file beside this one: ``catalog``, ``model`` and ``spec`` by their names here,
        the last empty where it is not said; ``roc_auc``, ``pr_auc`` and their standard deviations
        ``…_std`` in percent, empty where there are none.
    authors : str
    title : str
        And year; empty where there is none.
    note : str
        What its scores are, sentences.
    n_test : mapping of str to int
        Clips of the test split that it scored, by catalog. Of a catalog that is left out, the split
        is not known.
    is_comparable : bool
        Whether a difference from its scores means something: not where it averaged or split
        otherwise.
    """

    name: str
    authors: str
    note: str
    n_test: Mapping[str, int]
    title: str = ""
    is_comparable: bool = True

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """All of them."""
        text = (resources.files(__package__) / f"{self.name}.csv").read_text("utf-8")
        return tuple(
            Score(
                catalog=row["catalog"],
                model=row["model"],
                spec=parse_spec(row["spec"]) if row["spec"] else None,
                **{f: _share(row[f]) for f in ("roc_auc", "roc_auc_std", "pr_auc", "pr_auc_std")},
            )
            for row in csv.DictReader(text.splitlines())
        )

    def beside(self, point: Point) -> Pair | None:
        """Pair a point with the scores of its network and spec; None where the test differed.

        It did unless the point's catalog is the table's, with the catalog's own splits, as many
        test clips and 50 tags. The window does not tell: Essentia's is symmetric, which scores do
        not show.
        """
        on = point.scored_on
        if on is None or not on.has_own_splits or on.n_tags != _N_TAGS:
            return None
        n_test = self.n_test.get(on.catalog, on.n_clips)
        if not (1 - _INCOMPLETE) * n_test <= on.n_clips <= n_test:
            return None
        spec = point.spec
        if isinstance(spec, FeatureSpec):
            spec = dataclasses.replace(spec, window="hann")
        for score in self.scores:
            if (score.catalog, score.model) == (on.catalog, point.model) and (
                score.spec in (None, spec)
            ):
                return Pair(point=point, score=score)
        return None


_N_TAGS = 50
"""All of them score the 50 most frequent tags."""


def _share(percent: str) -> float:
    return round(float(percent) / 100, 6) if percent else math.nan
