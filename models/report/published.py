"""What the study published, beside what was measured here.

The facts in ``published.csv`` are the means, and where given the standard deviations over three
runs, of ROC AUC and PR AUC in percent, from the tables of: Ferraro, Bogdanov, Jeon, Yoon, Serra:
*Music auto-tagging using CNNs and mel-spectrograms with reduced frequency and time resolution*,
2020.
"""

import csv
import dataclasses
import math
from collections.abc import Sequence
from importlib import resources

from featurestore.specs.mel import FeatureSpec
from models.study.comparison import Comparison, Point

DATA_SETS = {"mtat": "MagnaTagATune", "msd": "the Million Song Dataset"}
"""Catalogs with the clips, the 50 tags and the splits of the study."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A published score.

    Attributes
    ----------
    catalog, model, metric : str
    spec : FeatureSpec
    mean, std : float
        0 to 1; the standard deviation is nan where none was given.
    """

    catalog: str
    model: str
    metric: str
    spec: FeatureSpec
    mean: float
    std: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A point of ours and the published scores of the same network on the same spec."""

    point: Point
    roc_auc: Published
    pr_auc: Published


def published() -> list[Published]:
    """All the scores that the study published."""
    text = (resources.files("models.report") / "published.csv").read_text("utf-8")
    return [
        Published(
            catalog=row["dataset"],
            model=row["model"],
            metric=row["metric"],
            spec=FeatureSpec(
                sr=int(row["sr"]),
                n_mels=int(row["n_mels"]),
                hop=int(row["hop"].removeprefix("x")),
                log="db" if row["log"] == "db" else "log",
            ),
            mean=round(float(row["mean"]) / 100, 6),
            std=round(float(row["std"]) / 100, 6) if row["std"] else math.nan,
        )
        for row in csv.DictReader(text.splitlines())
    ]


def beside_published(comparison: Comparison, catalog: str | None) -> Sequence[Pair]:
    """Pair points with what was published of them; none where `catalog` is another data set.

    The window does not tell: the study's was symmetric, which the scores do not show.
    """
    known = {(p.catalog, p.model, p.spec, p.metric): p for p in published()}
    pairs = []
    for point in comparison.points:
        if not isinstance(point.spec, FeatureSpec):
            continue
        spec = dataclasses.replace(point.spec, window="hann")
        scores = [known.get((catalog or "", point.model, spec, m)) for m in ("roc_auc", "pr_auc")]
        if scores[0] and scores[1]:
            pairs.append(Pair(point=point, roc_auc=scores[0], pr_auc=scores[1]))
    return pairs
