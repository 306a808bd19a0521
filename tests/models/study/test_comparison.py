import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from featurestore.errors import TrainingError
from featurestore.specs.mel import FeatureSpec
from models.evaluation.metrics import bootstrap, evaluate
from models.study.comparison import compare, parse_margin
from models.study.results import IDENTITY

FINE, MIDDLE, COARSE = "sr16000-mel96-x1-db", "sr16000-mel48-x2-db", "sr16000-mel16-x4-db"
GMAC = {FINE: 4.0, MIDDLE: 2.0, COARSE: 1.0}

ROW = {
    "data": "0123456789ab",
    "spec": FINE,
    "encoding": "float16",
    "model": "vgg",
    "width": 0.125,
    "recipe": "ferraro2020",
    "augment": "none",
    "seed": 0,
    "fold": None,
    "epochs": 13,
    "batch_size": 32,
    "learning_rate": 0.001,
    "amp": "off",
    "roc_auc": 0.8,
    "pr_auc": 0.5,
    "gmac": 4.0,
    "parameters": 274000,
    "bytes_per_clip": 72000.0,
    "train_seconds": 10.0,
    "inference_seconds_per_clip": 0.01,
    "bootstrap_roc_auc": [],
    "bootstrap_pr_auc": [],
    "roc_auc_per_tag": {},
    "pr_auc_per_tag": {},
}


def rows_of(spec, aucs, *, clips=None, **changes):
    """A row a seed; `clips` is what each draw of test clips does to the score."""
    gmac = GMAC.get(spec, 1.0)
    cost = {"gmac": gmac, "bytes_per_clip": 1000 * gmac}
    return [
        ROW | cost | {
            "spec": spec, "seed": seed, "roc_auc": auc, "pr_auc": auc / 2,
            "bootstrap_roc_auc": [] if clips is None else (auc + np.array(clips)).tolist(),
            "bootstrap_pr_auc": [] if clips is None else (auc / 2 + np.array(clips)).tolist(),
        } | changes
        for seed, auc in enumerate(aucs)
    ]  # fmt: skip


def verdicts(comparison):
    return {point.spec.name: point.verdict for point in comparison.points}


def test_a_point_gathers_the_runs_of_a_spec_and_the_cheapest_comes_first():
    tags = [{"roc_auc_per_tag": {"rock": auc}} for auc in (0.4, 0.6)]
    rows = [r | tag for r, tag in zip(rows_of(COARSE, [0.6, 0.7]), tags, strict=True)]
    comparison = compare([*rows_of(FINE, [0.9]), *rows])
    coarse, fine = comparison.points
    assert (coarse.spec, fine.spec) == (FeatureSpec.parse(COARSE), FeatureSpec.parse(FINE))
    assert (coarse.n_runs, coarse.n_folds, fine.n_runs) == (2, 1, 1)
    assert coarse.roc_auc == pytest.approx(0.65)
    assert coarse.roc_auc_std == pytest.approx(0.1 / 2**0.5)  # of a sample: n - 1
    assert coarse.pr_auc == pytest.approx(0.325)
    assert math.isnan(fine.roc_auc_std)
    assert (coarse.gmac, coarse.bytes_per_clip, coarse.parameters) == (1, 1000, 274000)
    assert (coarse.train_seconds, coarse.inference_seconds_per_clip) == (10, 0.01)
    assert coarse.loss == pytest.approx(0.25)
    assert coarse.roc_auc_per_tag == {"rock": pytest.approx(0.5)}
    assert comparison.baseline is fine
    assert (fine.verdict, fine.loss) == ("baseline", 0)
    assert math.isnan(fine.p_holm)


def test_rows_of_other_conditions_change_nothing():
    rows = [*rows_of(FINE, [0.9, 0.91]), *rows_of(COARSE, [0.6, 0.7])]
    perturbed = [row | {"condition": "noise0.1", "roc_auc": 0.5} for row in rows]
    assert str(compare([*rows, *perturbed])) == str(compare(rows))
    with pytest.raises(TrainingError, match="no results to compare"):
        compare(perturbed)


def test_intervals_lie_about_the_score_though_clips_drawn_twice_raise_pr_auc():
    """40 clips and 8 tags: without a move, PR AUC may well lie below its own interval."""
    rng = np.random.default_rng(3)
    truth = (rng.random((40, 8)) < 0.25).astype(float)
    scores = truth * 0.3 + rng.normal(size=truth.shape)
    found = evaluate(truth, scores, [str(i) for i in range(8)])
    roc, pr = bootstrap(truth, scores, replicates=500)
    assert pr.mean() > found.pr_auc + 0.01
    row = {"roc_auc": found.roc_auc, "pr_auc": found.pr_auc}
    replicates = {"bootstrap_roc_auc": roc.tolist(), "bootstrap_pr_auc": pr.tolist()}
    (point,) = compare([ROW | row | replicates]).points
    for score, interval, drawn in (
        (point.roc_auc, point.roc_auc_interval, roc),
        (point.pr_auc, point.pr_auc_interval, pr),
    ):
        assert interval[0] < score < interval[1]
        width = np.subtract(*np.quantile(drawn, (0.975, 0.025)))
        assert interval[1] - interval[0] == pytest.approx(width)
        assert np.mean(interval) == pytest.approx(score, abs=0.2 * width)


def test_folds_are_averaged_for_each_seed_before_anything_else():
    rows = [
        ROW | {"seed": seed, "fold": fold, "roc_auc": 0.5 + 0.1 * seed + 0.2 * fold,
               "bootstrap_roc_auc": [0.5 + 0.2 * fold, 0.6 + 0.2 * fold]}
        for seed in (0, 1) for fold in (0, 1)
    ]  # fmt: skip
    (point,) = compare(rows).points
    assert (point.n_runs, point.n_folds) == (2, 2)
    assert point.roc_auc == pytest.approx(0.65)
    assert point.roc_auc_std == pytest.approx(0.1 / 2**0.5)  # not the folds' 0.2
    assert point.roc_auc_interval == pytest.approx((0.6025, 0.6975))


def test_a_point_tested_on_easy_folds_alone_is_not_taken_for_the_best():
    """As an interrupted study leaves it: the last spec has but the first fold, which is easy."""
    auc, noise = {0: 0.9, 1: 0.6}, [-0.01, 0.01] * 50
    rows = [
        row
        for spec, folds in ((FINE, (0, 1)), (MIDDLE, (0, 1)), (COARSE, (0,)))
        for fold in folds
        for row in rows_of(spec, [auc[fold], auc[fold] - 0.001], clips=noise, fold=fold)
    ]
    comparison = compare(rows)
    partial = comparison.points[0]
    assert (partial.spec.name, partial.n_folds) == (COARSE, 1)
    assert partial.roc_auc > comparison.best.roc_auc == pytest.approx(0.7495)
    assert partial.loss == pytest.approx(0)  # over the fold that both have
    assert not partial.on_frontier
    assert comparison.recommended.spec.name == MIDDLE
    assert comparison.notes[0].startswith("1 of 3 points have not been tested on all folds yet")


def test_the_frontier_is_what_nothing_beats_in_everything():
    def point(mel, auc, gmac, nbytes):
        return ROW | {
            "spec": f"sr16000-mel{mel}-x1-db", "roc_auc": auc, "gmac": gmac,
            "bytes_per_clip": nbytes,
        }  # fmt: skip

    rows = [
        point(96, 0.90, 4, 40),
        point(48, 0.91, 4, 30),  # beats the one before in all but GMAC, and ties there
        point(32, 0.85, 2, 50),  # more bytes, but fewer GMAC
        point(24, 0.85, 2, 60),  # the same with more bytes
        point(16, 0.70, 1, 10),
        point(8, 0.70, 1, 10),  # as good as the one before
    ]
    on = {str(p.label) for p in compare(rows).points if p.on_frontier}
    assert on == {"mel48 x1", "mel32 x1", "mel16 x1", "mel8 x1"}


def test_equal_costs_are_equal_over_other_numbers_of_runs():
    """The mean of three 0.8 is 0.8000000000000002 in floating point."""
    cost = {"gmac": 0.8, "bytes_per_clip": 1000.0}
    rows = [*rows_of(FINE, [0.9] * 3, **cost), *rows_of(COARSE, [0.8] * 2, **cost)]
    points = {point.spec.name: point for point in compare(rows).points}
    assert points[FINE].gmac == points[COARSE].gmac == 0.8
    assert (points[FINE].on_frontier, points[COARSE].on_frontier) == (True, False)


def test_a_baseline_is_named_by_spec_or_label():
    rows = [
        *rows_of(FINE, [0.9]),
        *rows_of(MIDDLE, [0.8]),
        *rows_of(MIDDLE, [0.8], encoding="uint8", bytes_per_clip=900.0),
    ]
    assert str(compare(rows).baseline.label) == "mel96 x1 float16"
    assert (
        str(compare(rows, baseline=MIDDLE).baseline.label) == "mel48 x2 float16"
    )  # has more bytes
    assert compare(rows, baseline="mel48 x2 uint8").baseline.encoding == "uint8"
    with pytest.raises(TrainingError, match="no results of a baseline 'mel8'; there are mel48 x2"):
        compare(rows, baseline="mel8")


def test_encodings_of_one_spec_are_points_of_their_own():
    rows = [
        *rows_of(FINE, [0.9], encoding="float32", bytes_per_clip=400.0),
        *rows_of(FINE, [0.9], encoding="uint8", bytes_per_clip=100.0),
    ]
    comparison = compare(rows)
    assert [str(p.label) for p in comparison.points] == ["mel96 x1 uint8", "mel96 x1 float32"]
    assert [p.on_frontier for p in comparison.points] == [True, False]
    expected = "16 kHz, db, vgg, width 0.125, ferraro2020, augment none, 13 epochs"
    assert (
        ", ".join(comparison.common) == f"{expected}, batches of 32, learning rate 0.001, amp off"
    )


@pytest.mark.parametrize("field", sorted(set(IDENTITY) - {"seed", "fold"}))
def test_whatever_makes_runs_differ_makes_points_and_labels_differ(field):
    value = {"spec": COARSE, "width": 2, "epochs": 2, "batch_size": 2, "learning_rate": 0.5}
    comparison = compare([ROW, ROW | {field: value.get(field, "other")}])
    labels = [str(point.label) for point in comparison.points]
    assert len(set(labels)) == 2


def test_the_same_rows_in_another_order_are_compared_alike():
    rng = np.random.default_rng(0)
    rows = [
        row
        for spec in (FINE, MIDDLE, COARSE)
        for row in rows_of(spec, rng.normal(0.8, 0.01, 3), clips=rng.normal(0, 0.01, 50))
    ]
    first, second = compare(rows), compare(rows[::-1])
    for a, b in zip(first.points, second.points, strict=True):
        for field in dataclasses.fields(a):
            x, y = getattr(a, field.name), getattr(b, field.name)
            assert x == y or x == pytest.approx(y, nan_ok=True)


@pytest.mark.parametrize("loss", ["half", "", "-1%", "100%", 5, "nan", "%"])
def test_what_is_no_margin_is_refused(loss):
    with pytest.raises(TrainingError, match=r"must be a loss of ROC AUC such as 0\.5% or 0\.005"):
        parse_margin(loss)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(TrainingError, match="there are no results to compare; melgrid study"):
        compare([])


NOISE = np.random.default_rng(7).normal(0, 1, 400)
NOISE = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)  # replicates of standard deviation 1

RUNS = np.array([-0.001, 0, 0.001])


@given(
    a=st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True),
    b=st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True),
)
def test_the_studys_own_rule_is_scipys_welch_test(a, b):
    a, b = np.array(a) / 1000, np.array(b) / 1000
    point = compare([*rows_of(FINE, a), *rows_of(COARSE, b)]).points[0]
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert point.p_welch == pytest.approx(expected, rel=1e-6)


def losing(spec, loss, *, clips=0.001, **changes):
    """Three runs that lose `loss`, and replicates whose paired deviation is `clips`."""
    noise = np.roll(NOISE, sum(map(ord, spec)))
    return rows_of(spec, 0.9 - loss + np.roll(RUNS, 1), clips=clips * noise, **changes)


SPECS = [f"sr16000-mel{n}-x1-db" for n in (64, 48, 32, 24, 16)]


def test_the_four_verdicts():
    rows = [
        *rows_of(FINE, 0.9 + RUNS, clips=0.001 * NOISE),
        *losing(SPECS[0], -0.05),
        *losing(SPECS[1], 0.0),
        *losing(SPECS[2], 0.05),
        *losing(SPECS[3], 0.009, clips=0.006),
        *rows_of(SPECS[4], [0.9]),
    ]
    comparison = compare(rows)
    found = verdicts(comparison)
    assert [found[spec] for spec in SPECS] == [
        "better", "no worse", "worse", "not told", "not told"
    ]  # fmt: skip
    for point in comparison.points:
        assert bool(point.why_not_told) == (point.verdict == "not told")
        if point.verdict == "no worse":
            assert point.loss_bound < comparison.margin


def test_a_loss_that_is_shown_but_below_the_margin_is_no_worse():
    rows = [*rows_of(FINE, 0.9 + RUNS, clips=0.001 * NOISE), *losing(COARSE, 0.01)]
    assert compare(rows, margin=0.05).points[0].verdict == "no worse"
    assert compare(rows, margin=0.05).points[0].p_holm < 0.05
    assert compare(rows, margin=0.001).points[0].verdict == "worse"


def test_the_cheapest_that_is_no_worse_is_recommended_and_a_margin_of_nothing_takes_the_best():
    rows = [
        *rows_of(FINE, 0.9 + RUNS, clips=0.001 * NOISE),
        *losing(MIDDLE, 0.001),
        *losing(COARSE, 0.05),
    ]
    comparison = compare(rows)
    assert comparison.recommended.spec.name == MIDDLE
    why = "the cheapest that is shown to lose less than 1 % of ROC AUC"
    assert comparison.recommended_why == why
    none = compare(rows, margin=0)
    assert none.recommended.spec.name == FINE
    assert none.recommended_why.startswith("it has the best ROC AUC, and nothing is shown to be")
    assert none.recommended_why.endswith("better than the baseline, or to lose nothing")
    assert "no worse" not in verdicts(none).values()
    assert compare(rows[:3]).recommended_why.endswith("and nothing is cheaper")


def test_what_is_worse_than_the_best_is_not_recommended_though_better_than_the_baseline():
    rows = [
        *rows_of(FINE, 0.9 + RUNS, clips=0.001 * NOISE),
        *losing(MIDDLE, -0.08),
        *losing(COARSE, -0.02),
    ]
    comparison = compare(rows)
    assert verdicts(comparison) == {FINE: "baseline", MIDDLE: "better", COARSE: "better"}
    assert comparison.recommended.spec.name == MIDDLE


# What must not be said too surely.


def told(rows, **options):
    """The verdict of the cheapest point, and all that is said."""
    comparison = compare(rows, **options)
    return comparison.points[0].verdict, " ".join(" ".join(comparison.lines()).split())


def test_runs_that_differ_in_their_seeds_label_alone_tell_nothing():
    rows = [
        *rows_of(FINE, [0.9] * 3, clips=0.001 * NOISE),
        *rows_of(COARSE, [0.8] * 3, clips=0 * NOISE),
    ]
    verdict, said = told(rows)
    assert verdict == "not told"
    assert "the runs have the same scores, so that they say nothing of other runs." in said
    assert "would begin to tell" not in said  # there are more runs than one


def test_a_single_run_tells_nothing():
    rows = [*rows_of(FINE, [0.9], clips=0.001 * NOISE), *rows_of(COARSE, [0.5], clips=0 * NOISE)]
    verdict, said = told(rows)
    assert verdict == "not told"
    assert "a single run says nothing of other runs; two runs or more (--runs)" in said


@pytest.mark.parametrize("scores", [[0.0, 0.1, 0.2], [1.0, 0.9, 1.0]], ids=["lost", "equal"])
def test_two_test_clips_tell_nothing(scores):
    """One with the tag, one without: every draw of a score is the score."""
    of_clips = {"clips": [0.0] * 100, "n_test": 2, "n_train": 6}
    rows = [*rows_of(FINE, [1.0, 0.9, 1.0], **of_clips), *rows_of(COARSE, scores, **of_clips)]
    verdict, said = told(rows)
    assert verdict == "not told"
    assert "the test clips are too few: whichever are drawn, the scores stay the same" in said
    assert "So many runs and clips tell" not in said


def test_a_loss_that_no_draw_changes_is_not_told():
    """Both points' scores vary, their difference never does."""
    rows = [
        *rows_of(FINE, [0.9, 0.8, 0.9], clips=0.01 * NOISE),
        *rows_of(COARSE, [0.8, 0.6, 0.7], clips=0.01 * NOISE),
    ]
    verdict, said = told(rows)
    assert verdict == "not told"
    assert "the test clips are too few: whichever are drawn, the loss stays the same" in said


def test_points_of_the_same_answers_tell_nothing_of_how_much_a_study_tells():
    """A loss of 0 in each run and draw: no worse, but no study tells a loss of 0 %."""
    rows = [
        row
        for spec in (FINE, COARSE)
        for row in rows_of(spec, 0.9 + RUNS, clips=0.01 * NOISE, n_test=100, n_train=300)
    ]
    verdict, said = told(rows)
    assert verdict == "no worse"
    assert "So many runs and clips tell" not in said


def test_rows_without_replicates_tell_nothing():
    verdict, said = told([*rows_of(FINE, 0.9 + RUNS), *rows_of(COARSE, 0.7 + RUNS)])
    assert verdict == "not told"
    assert "the rows hold no bootstrap replicates" in said


def of_one_tag(make_rows, n_positive):
    tags = {"roc_auc_per_tag": {"rock": 0.8}, "pr_auc_per_tag": {"rock": 0.5}}
    specs = [FeatureSpec(sr=16000, n_mels=n) for n in (96, 48)]
    return make_rows(specs, n_positive_per_tag={"rock": n_positive}, **tags)


def test_one_tag_is_compared_like_many(make_rows):
    point = compare(of_one_tag(make_rows, 12)).points[0]
    assert point.verdict == "no worse"


@pytest.mark.parametrize("n_positive", [3, 37])
def test_one_tag_of_three_clips_tells_nothing(make_rows, n_positive):
    """Three of 40 clips have it, or have it not."""
    rows = of_one_tag(make_rows, n_positive)
    verdict, said = told(rows)
    assert verdict == "not told"
    assert compare(rows).points[0].tag_losses["rock"].verdict == "not told"
    assert "the test clips are too few: 3 are all that the tags have with them, or without" in said


def test_where_all_runs_learn_from_the_same_clips_that_is_said(make_rows):
    specs = [FeatureSpec(sr=16000, n_mels=n) for n in (96, 48)]
    rows = make_rows(specs)
    notes = compare(rows).notes
    assert any(note.startswith("All runs learnt from the same training clips") for note in notes)
    drawn = [row | {"partition": row["seed"]} for row in rows]
    notes = compare(drawn).notes
    assert any(note.startswith("Each run learnt from other training clips") for note in notes)
    assert all(
        "no estimator without bias exists" in " ".join(n) for n in (notes, compare(rows).notes)
    )


def test_what_is_not_told_says_what_would_tell_and_that_more_runs_cannot_where_they_cannot():
    def said(clips, deviation):
        of_clips = {"n_test": 100, "n_train": 300, "clips": clips * NOISE}
        runs = deviation * np.array([-1, 0, 1])
        fine = rows_of(FINE, 0.9 + RUNS, **of_clips | {"clips": 0.0001 * NOISE})
        return told([*fine, *rows_of(COARSE, 0.895 + runs, **of_clips)])[1]

    assert re.search(
        r"Not told of mel16 x4: about \d+ runs .*would tell that the loss is", said(0.0005, 0.01)
    )
    few_clips = said(0.02, 0.002)
    assert "more runs cannot help, as the clips are too few: about " in few_clips
    assert re.search(r"[\d,]+ test clips would tell that the loss is below 1 %", few_clips)


def test_a_true_difference_is_found():
    rng = np.random.default_rng(5)
    clips = rng.normal(0, 0.02, 500)
    rows = [
        *rows_of(FINE, rng.normal(0.80, 0.003, 5), clips=clips),
        *rows_of(COARSE, rng.normal(0.75, 0.003, 5), clips=clips + rng.normal(0, 0.003, 500)),
    ]
    assert verdicts(compare(rows)) == {FINE: "baseline", COARSE: "worse"}


def test_a_difference_over_runs_that_other_clips_could_undo_is_not_told():
    """Ten runs that agree to the fourth digit, on so few clips that the second means nothing."""
    rng = np.random.default_rng(0)
    runs = rng.normal(0, 1e-4, 10)
    rows = [
        *rows_of(FINE, 0.80 + runs, clips=rng.normal(0, 0.02, 1000)),
        *rows_of(COARSE, 0.79 + rng.permutation(runs), clips=rng.normal(0, 0.02, 1000)),
    ]
    point = compare(rows).points[0]
    assert point.p_welch < 1e-6
    assert point.verdict == "not told"


@pytest.mark.slow
def test_without_a_true_difference_one_study_in_twenty_claims_one_at_most():
    """Family-wise: six specs alike, their scores apart by runs and by clips."""
    rng = np.random.default_rng(4)
    n_clips, n_studies, alarms = 60, 200, 0
    for _ in range(n_studies):
        # A score is a mean over clips; hard clips are hard for all, and each spec likes some.
        hardness = rng.normal(0.8, 0.3, n_clips)
        draws = rng.integers(n_clips, size=(100, n_clips))
        rows = []
        for mel in (8, 16, 24, 32, 48, 96):
            clips = hardness + rng.normal(0, 0.2, n_clips)
            of_draws = clips[draws].mean(axis=1) - clips.mean()
            runs = clips.mean() + rng.normal(0, 0.025, 3)
            changes = {"clips": of_draws, "n_test": n_clips, "n_train": 3 * n_clips}
            rows += rows_of(f"sr16000-mel{mel}-x1-db", runs, **changes)
        comparison = compare(rows)
        alarms += any(point.p_holm < 0.05 for point in comparison.points)
    assert alarms / n_studies < 0.08


def test_of_an_unfinished_study_whole_runs_and_common_folds_are_compared():
    folds = [ROW | {"fold": f, "seed": s, "roc_auc": 0.9 - 0.1 * f} for s in (0, 1) for f in (0, 1)]
    coarse = {"spec": COARSE, "gmac": 1.0}
    comparison = compare([*folds[:3], *(row | coarse for row in folds[:1])])
    cheap, fine = comparison.points
    assert (fine.n_runs, fine.n_folds, cheap.n_folds) == (1, 2, 1)
    assert cheap.loss == 0
    assert any(note.startswith("1 row of runs that have not") for note in comparison.notes)
    none = compare([*folds[:2], folds[1] | coarse | {"fold": 2}])
    assert none.points[0].verdict == "not told"
    assert none.points[0].why_not_told == "no fold was tested at both points"
    assert math.isnan(none.points[0].loss)


def test_points_on_other_data_are_shown_and_not_compared():
    rows = [
        *rows_of(FINE, [0.9, 0.91]),
        *rows_of(COARSE, [0.99, 0.98], data="ba9876543210"),
        *rows_of(MIDDLE, [0.8, 0.82]),
    ]
    comparison = compare(rows)
    other = comparison.points[0]
    assert (other.verdict, other.on_frontier) == ("not told", False)
    assert comparison.best.spec.name == FINE
    assert comparison.recommended.spec.name != COARSE
    assert comparison.notes[0] == (
        "1 of 3 points are from other clips, splits or tags than the baseline "
        "mel96 x1 data 0123456789ab: their scores cannot be compared with its."
    )


def test_networks_on_one_spec_are_compared_like_specs(make_rows):
    rows = make_rows([FeatureSpec(sr=16000, n_mels=96)], models=("vgg", "musicnn"))
    labels = {str(p.label): p.verdict for p in compare(rows, margin=0.05).points}
    assert labels == {"mel96 x1 musicnn": "no worse", "mel96 x1 vgg": "baseline"} or labels == {
        "mel96 x1 musicnn": "better",
        "mel96 x1 vgg": "baseline",
    }


@given(
    st.lists(
        st.builds(
            lambda spec, seed, partition, fold, auc, clips: ROW | {
                "spec": spec, "gmac": GMAC[spec], "seed": seed, "partition": partition,
                "fold": fold, "roc_auc": auc, "bootstrap_roc_auc": clips,
            },
            st.sampled_from([FINE, MIDDLE, COARSE]),
            st.integers(0, 2),
            st.sampled_from([None, 0, 1]),
            st.sampled_from([0, 1]),
            st.floats(0, 1),
            st.lists(st.floats(0, 1), max_size=3),
        ),
        min_size=1,
    )
)  # fmt: skip
def test_whatever_was_interrupted_is_compared(rows):
    comparison = compare(rows)
    assert comparison.baseline in comparison.points
    assert comparison.recommended in comparison.points
    assert comparison.best.on_frontier
    assert comparison.lines()
    for point in comparison.points:
        assert not point.p_holm < point.p
        if point.verdict not in ("baseline", "not told"):
            assert point.n_runs > 1
        assert (point.verdict == "not told") == bool(point.why_not_told)


@pytest.mark.parametrize("loss", ["0.5%", "0.5 %", "0.005", 0.005])
def test_a_margin_is_percent_or_a_number(loss):
    assert parse_margin(loss) == pytest.approx(0.005)
