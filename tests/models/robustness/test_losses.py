import math

import numpy as np
import pytest

from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from models.robustness import compare_conditions
from models.robustness.losses import typical_change
from models.study.comparison import compare
from models.study.label import Label, words_of
from models.study.results import identity
from models.study.run_table import run_table
from models.study.study import study
from models.training.settings import TrainSettings

SPECS = [FeatureSpec(sr=16000, n_mels=n, hop=hop) for n, hop in ((96, 1), (48, 2), (16, 1))]


def judged(rows, **arguments):
    return compare_conditions(rows, compare(rows, **arguments))


def by_point(robustness, condition):
    return {
        str(loss.point.label): loss for loss in robustness.losses if loss.condition == condition
    }


@pytest.fixture
def rows(make_rows):
    return make_rows(SPECS)


def test_results_of_clean_clips_alone_have_no_robustness(rows):
    assert judged(rows) is None


def test_a_loss_is_that_of_the_same_point_and_conditions_stand_mildest_first(rows, with_conditions):
    found = judged(with_conditions(rows, {"noise0.1": 0.1, "gain3": 0.0, "pitch1": 0.03}))
    assert found.conditions == ("gain3", "pitch1", "noise0.1")
    assert [p.spec for p in found.points] == [SPECS[i] for i in (2, 1, 0)]  # cheapest first
    assert len(found.losses) == 9
    for loss in found.losses:
        assert loss.loss == pytest.approx(loss.point.roc_auc - loss.roc_auc)
        assert (loss.n_runs, loss.n_folds) == (3, 1)
    for loss in by_point(found, "noise0.1").values():
        assert loss.verdict == "worse"
        assert loss.loss_interval[0] < 0.1 < loss.loss_interval[1] + 0.02


def test_a_condition_that_changes_nothing_loses_nothing_and_is_no_worse(rows, with_conditions):
    """And leaves the verdicts against the baseline as they are on clean clips."""
    found = judged(with_conditions(rows, {"noise0.1": 0.1, "gain0": 0.0}))
    for loss in by_point(found, "gain0").values():
        assert (loss.loss, loss.loss_interval, loss.loss_bound) == (0, (0, 0), 0)
        assert (loss.verdict, loss.against_baseline) == ("no worse", loss.point.verdict)
        assert loss.loss_against_baseline == pytest.approx(loss.point.loss)
        assert loss.tags_lost == []


def test_nothing_is_no_worse_than_a_margin_of_nothing(rows, with_conditions):
    rows = with_conditions(rows, {"gain0": 0.0})
    assert {loss.verdict for loss in judged(rows, margin=0).losses} == {"not told"}


def test_a_single_run_tells_nothing(make_rows, with_conditions):
    found = judged(with_conditions(make_rows(SPECS, runs=1), {"noise0.1": 0.2}))
    assert {loss.verdict for loss in found.losses} == {"not told"}
    assert all("a single run says nothing" in loss.why_not_told for loss in found.losses)
    assert found.most_robust is None
    assert any(note.startswith("Not told of any loss: a single run") for note in found.notes)
    assert all(math.isnan(loss.loss_bound) for loss in found.losses)


def test_the_chance_that_runs_and_clips_share_with_clean_ones_cancels(rows, with_conditions):
    """Scores vary by 1 % and more; a loss of 0.5 %, the same in each run, is told all the same."""
    found = judged(with_conditions(rows, {"gain3": 0.005}), margin=0.004)
    assert {loss.verdict for loss in found.losses} == {"worse"}
    assert found.points[0].roc_auc_std > 0.001


def test_only_the_runs_that_both_have_are_compared(rows, with_conditions):
    several = with_conditions(rows, {"noise0.1": 0.05})
    whole = judged(several)
    lacking = [r for r in several if "condition" not in r or r["seed"] != 2]
    found = judged(lacking)
    assert {loss.n_runs for loss in found.losses} == {2}
    first = found.losses[0]
    own = [r["roc_auc"] for r in rows if r["spec"] == first.point.spec.name][:2]
    assert first.loss == pytest.approx(np.mean(own) - first.roc_auc)
    assert found.notes[0].startswith("3 of 3 points were not tested under all conditions in all")
    assert not any("were not tested" in note for note in whole.notes)


def test_rows_of_weights_that_are_gone_are_not_compared(rows, with_conditions):
    several = [r | {"weights": "aaaa"} for r in with_conditions(rows, {"noise0.1": 0.05})]
    assert len(judged(several).losses) == 3
    anew = [r | {"weights": "bbbb"} for r in rows]  # trained again, and not tested again
    assert judged([*several, *anew]) is None


def test_one_point_alone_is_not_the_most_robust(make_rows, with_conditions):
    found = judged(with_conditions(make_rows(SPECS[:1]), {"noise0.1": 0.05}))
    assert found.most_robust is None
    assert found.sentence == "Which resolution is most robust is not told: there is but one."


def harsher(rows, condition, factors):
    """Each spec loses as told, the same in all runs but for a little."""
    rng = np.random.default_rng(1)
    found = []
    for i, row in enumerate(rows):
        lost = factors[row["spec"]] + 0.0005 * (i % 3)
        replicates = np.array(row["bootstrap_roc_auc"]) - lost
        found.append(
            row
            | {"condition": condition, "roc_auc": row["roc_auc"] - lost}
            | {"bootstrap_roc_auc": (replicates + rng.normal(0, 0.001, 50)).tolist()}
        )
    return found


def test_the_point_that_is_shown_to_lose_least_on_average_is_most_robust(rows):
    names = [spec.name for spec in SPECS]
    mild = harsher(rows, "pitch1", dict(zip(names, (0.02, 0.01, 0.04), strict=True)))
    harsh = harsher(rows, "noise0.4", dict(zip(names, (0.2, 0.1, 0.14), strict=True)))
    found = judged([*rows, *mild, *harsh])
    assert found.most_robust.spec == SPECS[1]
    assert found.sentence == (
        "Most robust is mel48 x2: it loses least of ROC AUC, 5.5 % on average over 2 conditions, "
        "and all others are shown to lose more."
    )
    assert found.json()["most_robust"] == "mel48 x2"


def test_where_others_may_lose_as_little_it_is_not_told_which(rows, with_conditions):
    found = judged(with_conditions(rows, {"noise0.1": 0.05, "pitch1": 0.02}))
    assert found.most_robust is None
    assert found.sentence.startswith("Which resolution is most robust is not told: mel")
    assert " not shown to lose more." in found.sentence


def test_points_under_different_conditions_are_not_ranked(rows, with_conditions):
    several = with_conditions(rows, {"noise0.1": 0.05, "pitch1": 0.02})
    fine, middle, _ = (spec.name for spec in SPECS)
    left = [
        r
        for r in several
        if "condition" not in r or (r["spec"], r["condition"]) not in {(fine, "pitch1")}
    ]
    assert judged(left).sentence.startswith(("Which resolution", "Most robust"))  # noise0.1 alone
    left = [r for r in left if (r["spec"], r.get("condition")) != (middle, "noise0.1")]
    assert "were not tested under the same conditions" in judged(left).sentence


def test_a_baseline_without_a_condition_leaves_its_verdicts_untold(rows, with_conditions):
    several = with_conditions(rows, {"noise0.1": 0.05})
    several = [r for r in several if "condition" not in r or r["spec"] != SPECS[0].name]
    assert {loss.against_baseline for loss in judged(several).losses} == {"not told"}


def test_runs_vary_as_those_of_all_points_under_the_same_condition():
    label = Label(spec=words_of(SPECS[0]))

    def tables(losses):
        row = {"partition": None, "fold": None, "pr_auc": 0.5, "bootstrap_roc_auc": []}
        scores = [0.8, 0.7, 0.6]
        own = [row | {"seed": i, "roc_auc": score} for i, score in enumerate(scores)]
        other = [r | {"roc_auc": r["roc_auc"] - lost} for r, lost in zip(own, losses, strict=True)]
        return run_table(label, own), run_table(label, other)

    few = tables((0.1, 0.2, 0.3))
    found = typical_change([few, tables((0.1, 0.1, 0.1))])
    assert (found.value, found.freedom) == (pytest.approx(0.01 / 2), 4)
    assert typical_change([few]) is None


def test_lines_fit_a_terminal_and_say_the_verdicts(rows, with_conditions):
    found = judged(with_conditions(rows, {"lowpass1000~mp3-64": 0.1, "gain0": 0.0}))
    lines = found.lines()
    assert max(map(len, lines)) <= 80
    assert "gain0" in lines
    assert any(line.split()[:2] == ["mel48", "x2"] and "no worse" in line for line in lines)
    assert any("worse" in line and "+10" in line for line in lines)
    assert found.sentence.split()[0] in " ".join(lines)


def test_of_many_points_the_text_lists_those_that_lose_least_and_most(many, with_conditions):
    found = judged(with_conditions(many, {"noise0.1": 0.1}))
    lines = found.lines()
    assert len(found.losses) == 176
    assert len([line for line in lines if line.startswith("  mel")]) in (12, 13)
    losses = sorted(found.losses, key=lambda loss: loss.loss)
    baseline = next(loss for loss in losses if loss.against_baseline == "baseline")
    for loss in (losses[0], losses[-1], baseline):
        assert any(line.startswith(f"  {loss.point.label}") for line in lines)
    assert " ".join(lines).endswith("those that lose least and most are listed here.")


def test_labels_too_long_for_a_column_have_a_line_of_their_own(make_rows, with_conditions):
    rows = make_rows(SPECS[:1]) + make_rows(SPECS[1:2], recipe="modern", augment="specaugment")
    lines = judged(with_conditions(rows, {"noise0.1": 0.1})).lines()
    assert max(map(len, lines)) <= 80
    assert any("augment specaugment" in line for line in lines)


def test_networks_and_resolutions_are_points_alike(make_rows, with_conditions):
    rows = make_rows(SPECS, models=("vgg", "musicnn"))
    found = judged(with_conditions(rows, {"noise0.1": 0.05}))
    assert len(found.losses) == 6
    assert "point is most robust" in found.sentence or found.most_robust is not None


@pytest.fixture
def planted(write_store):
    """The upper bands carry the tag ``high``, the lower ones ``low``: a low-pass takes the upper.

    What is left there is another clip's, so that nothing but the tag is lost.
    """
    n_clips, spec = 160, FeatureSpec(sr=16000, n_mels=16, hop=10)
    rng = np.random.default_rng(7)
    low, high = (rng.permutation(np.arange(n_clips) % 2) for _ in range(2))
    clean = rng.normal(-40, 4, (n_clips, 16, 24)).astype(np.float32)
    for bands, tag in ((slice(0, 8), low), (slice(8, 16), high)):
        level = 6 * tag + rng.normal(0, 2.5, n_clips)  # not so far apart that no run errs
        clean[:, bands] += level[:, None, None].astype(np.float32)
    lowpass = clean.copy()
    lowpass[:, 8:] = clean[rng.permutation(n_clips), 8:]
    coarse = FeatureSpec(sr=16000, n_mels=8, hop=10)

    def halved(values):
        return values.reshape(n_clips, 8, 2, 24).mean(axis=2)

    values = {}
    for condition, fine in (("clean", clean), ("gain0", clean), ("lowpass1000", lowpass)):
        under = Condition.parse(condition)
        values |= {spec.under(under): fine, coarse.under(under): halved(fine)}
    split = ["train"] * 80 + ["validation"] * 20 + ["test"] * 60
    return write_store(values, tags={"low": low, "high": high}, split=split)


def test_a_condition_that_takes_the_bands_of_a_tag_loses_that_tag_and_no_other(planted, tmp_path):
    settings = TrainSettings(width=0.03, epochs=6, batch_size=16, device="cpu", amp="off")
    rows = study(
        [planted], tmp_path / "results.jsonl", settings=settings, conditions=["all"],
        progress=False,
    )  # fmt: skip
    assert len({identity(row) for row in rows}) == 2 * 3 * 3
    found = judged(rows)
    assert found.conditions == ("gain0", "lowpass1000")
    for loss in by_point(found, "lowpass1000").values():
        assert loss.point.roc_auc_per_tag["high"] > 0.85
        assert loss.verdict == "worse"
        assert loss.tags_lost == ["high"]
        assert loss.tag_losses["high"].loss > 0.3
        assert abs(loss.tag_losses["low"].loss) < 0.05
    for loss in by_point(found, "gain0").values():
        assert (loss.loss, loss.loss_interval, loss.verdict) == (0, (0, 0), "no worse")
        assert {tag.loss for tag in loss.tag_losses.values()} == {0}
    assert found.most_robust is None
