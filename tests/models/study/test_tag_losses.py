import math

import numpy as np
import pytest

from models.study.comparison import compare
from models.study.tag_losses import hanley_mcneil


def test_the_variance_of_an_area_is_hanley_and_mcneils():
    """Their table of 1982: an area of 0.9 and 50 clips of either kind have an error of 0.0319."""
    assert math.sqrt(hanley_mcneil(0.9, 50, 50)) == pytest.approx(0.0319, abs=0.001)
    assert hanley_mcneil(1.0, 20, 20) > 0  # nothing is certain


@pytest.mark.parametrize("area", [0.6, 0.8])
def test_the_variance_is_near_what_draws_of_clips_do(area):
    """Normal scores; Hanley and McNeil's are exponential, which is on the safe side near 1."""
    rng = np.random.default_rng(0)
    shift = math.sqrt(2) * _quantile(area)
    areas = [
        np.mean((rng.normal(shift, 1, 30)[:, None] > rng.normal(0, 1, 60)).astype(float))
        for _ in range(2000)
    ]
    assert hanley_mcneil(area, 30, 60) == pytest.approx(np.var(areas), rel=0.25)


def _quantile(area):
    from scipy import stats

    return float(stats.norm.ppf(area))


def test_a_tag_of_few_clips_or_of_unknown_many_is_not_told(few):
    def verdicts(**changes):
        points = compare([row | changes for row in few]).points
        return {loss.verdict for point in points for loss in point.tag_losses.values()}

    assert "worse" in verdicts()
    assert verdicts(n_positive_per_tag=dict.fromkeys(few[0]["roc_auc_per_tag"], 9)) == {"not told"}
    assert verdicts(n_positive_per_tag={}) == {"not told"}


def test_of_tags_that_lose_nothing_one_discovery_in_twenty_is_false_at_most():
    """All null: a study that shows any is one in twenty, and the estimate is on the safe side."""
    from scipy import stats

    rng = np.random.default_rng(1)
    template = {"data": "0", "encoding": "e", "model": "m", "width": 1, "recipe": "r",
                "augment": "n", "fold": None, "epochs": 1, "batch_size": 1, "learning_rate": 1,
                "amp": "off", "pr_auc": 0.5, "parameters": 1, "train_seconds": 1.0,
                "inference_seconds_per_clip": 1.0, "pr_auc_per_tag": {}, "bootstrap_pr_auc": [],
                "n_test": 100, "n_train": 300}  # fmt: skip
    tags, shown = [f"tag{i}" for i in range(8)], 0
    for _ in range(60):
        rows = []
        for n_mels in (96, 48):
            level = {tag: rng.normal(0.8, math.sqrt(hanley_mcneil(0.8, 20, 80))) for tag in tags}
            for seed in range(3):
                per_tag = {t: float(np.clip(level[t] + rng.normal(0, 0.01), 0, 1)) for t in tags}
                auc = float(np.mean(list(per_tag.values())))
                rows.append(template | {
                    "spec": f"sr16000-mel{n_mels}-x1-db", "seed": seed, "roc_auc": auc,
                    "gmac": n_mels, "bytes_per_clip": n_mels, "roc_auc_per_tag": per_tag,
                    "bootstrap_roc_auc": (auc + rng.normal(0, 0.015, 50)).tolist(),
                    "n_positive_per_tag": dict.fromkeys(tags, 20),
                })  # fmt: skip
        losses = compare(rows).points[0].tag_losses
        shown += any(loss.verdict != "not told" for loss in losses.values())
    assert shown <= stats.binom.ppf(0.99, 60, 0.05)
