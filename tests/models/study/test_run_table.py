import numpy as np
import pytest

from featurestore import FeatureSpec
from models.study.label import Label, words_of
from models.study.run_table import Run, run_table

LABEL = Label(spec=words_of(FeatureSpec(sr=16000, n_mels=48)))


def row(seed, fold, auc, *, partition=None, draws=(0.4, 0.6, 0.5)):
    return {
        "seed": seed, "fold": fold, "partition": partition, "data": "0123", "roc_auc": auc,
        "pr_auc": auc, "bootstrap_roc_auc": list(draws), "gmac": 0.8, "bytes_per_clip": 10.0,
        "roc_auc_per_tag": {},
    }  # fmt: skip


def test_a_run_is_averaged_over_its_folds_and_one_that_lacks_a_fold_is_left_out():
    rows = [row(s, f, 0.5 + 0.1 * s + 0.2 * f) for s in (0, 1) for f in (0, 1)]
    table = run_table(LABEL, [*rows, row(2, 0, 0.9)])
    assert table.runs == (Run(0), Run(1))
    assert table.n_left_out == 1
    assert table.per_run("roc_auc", table.folds, table.runs) == pytest.approx([0.6, 0.7])
    assert table.replicates("bootstrap_roc_auc", table.folds, table.runs).shape == (2, 3)


def test_runs_of_one_seed_on_other_partitions_are_other_runs():
    table = run_table(LABEL, [row(0, None, 0.5, partition=p) for p in (0, 1)])
    assert table.runs == (Run(0, 0), Run(0, 1))
    assert table.is_redrawn
    assert not run_table(LABEL, [row(s, None, 0.5, partition=4) for s in (0, 1)]).is_redrawn
    assert not run_table(LABEL, [row(s, None, 0.5) for s in (0, 1)]).is_redrawn


def test_a_run_with_all_scores_of_another_is_no_other_run():
    same = [row(0, None, 0.5), row(1, None, 0.5), row(2, None, 0.6)]
    assert run_table(LABEL, same).distinct_runs == [Run(0), Run(2)]


def test_of_rows_of_a_run_the_last_counts_and_of_replicates_the_first_that_all_have():
    table = run_table(
        LABEL, [row(0, None, 0.1), row(0, None, 0.5), row(1, None, 0.6, draws=(0.3,))]
    )
    assert table.roc_auc == pytest.approx(0.55)
    found = table.replicates("bootstrap_roc_auc", table.folds, table.runs)
    assert found == pytest.approx(np.array([[0.4], [0.3]]))
