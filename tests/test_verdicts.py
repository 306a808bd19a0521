"""What benchmarks/verdicts.py counts, by hand; and that the planted corpus sounds as it says."""

import csv
import dataclasses
import math

import numpy as np
import pytest
import soundfile

from benchmarks import planted
from benchmarks.halves import SPECS, Said, said_before, said_now, shares_of
from benchmarks.old_rule import old_rule
from featurestore.specs.mel import FeatureSpec
from models.study.comparison import compare
from models.study.tag_losses import TagLoss

FINE, MIDDLE, COARSE = (f"sr16000-mel{n}-x1-db" for n in (96, 48, 16))
COST = {FINE: 3.0, MIDDLE: 2.0, COARSE: 1.0}


def rows_of(spec, mean, *, clips=(0.0, 0.0), cost=None):
    """Two runs, 1 % above and below the mean; `clips` is what two draws of clips do to both."""
    gmac = COST[spec] if cost is None else cost
    return [
        {"spec": spec, "seed": seed, "fold": None, "gmac": gmac, "bytes_per_clip": 1000 * gmac,
         "roc_auc": mean + step, "bootstrap_roc_auc": [mean + step + clip for clip in clips]}
        for seed, step in enumerate((-0.01, 0.01))
    ]  # fmt: skip


# The old rule. Two runs of either side, 1 % about their mean, have a variance of 2e-4: the
# difference's is 2e-4, its error 0.01414, with 2 degrees of freedom. Student's t at 5 % is 4.303,
# so that a loss of 6.09 % is shown; at 2.5 %, 6.205 and 8.78 %.


@pytest.mark.parametrize(
    ("loss", "verdict"), [(0.060, "within noise"), (0.062, "worse"), (-0.062, "better")]
)
def test_by_the_old_rule_a_loss_is_shown_from_welchs_critical_value_on(loss, verdict):
    found = old_rule([*rows_of(FINE, 0.8), *rows_of(COARSE, 0.8 - loss)])
    assert (found.specs, found.verdicts) == ((COARSE,), (verdict,))
    assert found.losses == (pytest.approx(loss),)
    assert found.shown == (verdict != "within noise")


@pytest.mark.parametrize(("loss", "verdict"), [(0.087, "within noise"), (0.089, "worse")])
def test_by_the_old_rule_two_comparisons_are_corrected_after_holm(loss, verdict):
    rows = [*rows_of(FINE, 0.8), *rows_of(MIDDLE, 0.8), *rows_of(COARSE, 0.8 - loss)]
    assert old_rule(rows).verdicts == (verdict, "within noise")


@pytest.mark.parametrize(("loss", "verdict"), [(0.046, "within noise"), (0.0463, "worse")])
def test_by_the_old_rule_the_variance_over_clips_is_added_as_if_it_were_known(loss, verdict):
    """Two draws 2 % apart add 2e-4: an error of 0.02, 8 degrees of freedom, and t is 2.306."""
    rows = [*rows_of(FINE, 0.8, clips=(0.01, -0.01)), *rows_of(COARSE, 0.8 - loss)]
    assert old_rule(rows).verdicts == (verdict,)


def test_the_old_rule_takes_the_cheapest_within_noise_though_it_lost_the_more():
    rows = [*rows_of(FINE, 0.8), *rows_of(MIDDLE, 0.79), *rows_of(COARSE, 0.75)]
    found = old_rule(rows)
    assert (found.specs, found.within_noise) == ((COARSE, MIDDLE), (True, True))
    assert found.recommended == COARSE
    worse = old_rule([*rows[:4], *rows_of(COARSE, 0.6)])
    assert (worse.within_noise, worse.recommended) == ((False, True), MIDDLE)
    assert old_rule([*rows[:2], *rows_of(COARSE, 0.6)]).recommended == FINE


def test_the_old_rules_interval_is_of_the_draws_about_the_loss_and_covers_0_or_not():
    draws = np.linspace(-0.02, 0.02, 401)
    rows = [
        *rows_of(FINE, 0.8, clips=draws),
        *rows_of(MIDDLE, 0.81, clips=0 * draws),
        *rows_of(COARSE, 0.77, clips=0 * draws),
    ]
    found = old_rule(rows)
    # 95 % of what is uniform from -0.02 to 0.02.
    assert np.ravel(found.intervals) == pytest.approx([0.011, 0.049, -0.029, 0.009])
    assert found.covered == (False, True)


# Halves.


def said(verdict, loss=0.0, reach=0.01, recommended=False):
    return Said(
        verdict=verdict, loss=loss, low=loss - reach, high=loss + reach, recommended=recommended
    )


def shares(*pairs):
    names = ("points", "draws", "predicted", "chosen", "worse", "no worse", "better", "not told")
    return dict(zip(names, shares_of(pairs), strict=True))


def test_halves_contradict_where_one_says_worse_and_the_other_no_worse_or_better():
    verdicts = [
        ({"a": "worse", "b": "worse"}, {"a": "no worse", "b": "worse"}),  # a contradicts
        ({"a": "better", "b": "not told"}, {"a": "worse", "b": "worse"}),  # a again, b does not
        ({"a": "no worse", "b": "not told"}, {"a": "better", "b": "no worse"}),
        ({"a": "not told", "b": "worse"}, {"a": "not told", "b": "not told"}),
    ]
    pairs = [tuple({k: said(v) for k, v in half.items()} for half in both) for both in verdicts]
    found = shares(*pairs)
    assert found["points"] == "25.0"  # 2 of 8
    assert found["draws"] == "50.0"  # 2 of 4
    # Of 16: 6 worse, 3 no worse, 2 better, 5 not told.
    told = [found[verdict] for verdict in ("worse", "no worse", "better", "not told")]
    assert told == ["37.5", "18.8", "12.5", "31.2"]
    assert found["chosen"] == "none"


def test_a_drawing_in_which_two_points_contradict_counts_once():
    both = ({"a": said("worse"), "b": said("no worse")}, {"a": said("better"), "b": said("worse")})
    found = shares(both)
    assert (found["points"], found["draws"]) == ("100.0", "100.0")


def test_a_loss_is_predicted_within_the_root_of_two_of_the_other_halfs_interval():
    here = said("not told", 0.02, reach=0.01)  # predicts 0.02 ± 0.01414
    assert here.predicts(said("not told", 0.034))
    assert not here.predicts(said("not told", 0.0343))
    assert here.predicts(said("not told", 0.006))
    assert not here.predicts(said("not told", 0.0057))
    skewed = Said(verdict="not told", loss=0.0, low=-0.01, high=0.03, recommended=False)
    assert skewed.predicts(said("not told", 0.042))
    assert not skewed.predicts(said("not told", -0.015))


def test_predictions_are_counted_in_both_directions():
    """The wide interval predicts the other's loss, the narrow one does not."""
    wide, narrow = said("not told", 0.0, reach=0.05), said("not told", 0.03, reach=0.001)
    assert shares(({"a": wide}, {"a": narrow}))["predicted"] == "50.0"


def test_what_is_not_known_predicts_nothing():
    unknown = said("not told", 0.0, reach=math.nan)
    assert shares(({"a": unknown}, {"a": unknown}))["predicted"] == "0.0"


def test_a_recommended_point_that_is_worse_in_the_other_half_is_counted():
    one = {"a": said("no worse", recommended=True), "b": said("worse")}
    other = {"a": said("worse"), "b": said("better", recommended=True)}
    fine = {"a": said("no worse", recommended=True), "b": said("worse")}
    assert shares((one, other))["chosen"] == "100.0"  # a of the one, b of the other
    assert shares((one, other), (fine, fine))["chosen"] == "50.0"


def of_study(make, losses):
    names = [spec.name for spec in SPECS]
    return [row for i, (n, loss) in enumerate(zip(names, losses, strict=True))
            for row in make(n, 0.8 - loss, cost=4.0 - i)]  # fmt: skip


def test_the_old_rules_within_noise_stands_under_no_worse():
    found = said_before(of_study(rows_of, [0.0, -0.2, 0.2, 0.01]), 0)
    assert list(found) == [spec.name for spec in reversed(SPECS[1:])]
    assert [one.verdict for one in found.values()] == ["no worse", "worse", "better"]
    assert [one.recommended for one in found.values()] == [False, False, True]


def test_the_new_rule_says_what_compare_says_and_not_of_the_baseline():
    full = {
        "data": "0", "encoding": "float16", "model": "vgg", "width": 1, "recipe": "modern",
        "augment": "none", "epochs": 1, "batch_size": 1, "learning_rate": 0.1, "amp": "off",
        "pr_auc": 0.5, "bootstrap_pr_auc": [], "parameters": 1, "train_seconds": 1.0,
        "inference_seconds_per_clip": 1.0, "roc_auc_per_tag": {}, "pr_auc_per_tag": {},
        "n_test": 100, "n_train": 300,
    }  # fmt: skip
    clips = np.random.default_rng(0).normal(0, 0.01, 50)

    def make(*args, **cost):
        return [full | row for row in rows_of(*args, clips=clips, **cost)]

    rows = of_study(make, [0.0, 0.0, 0.2, 0.1])
    found = said_now(rows, 0.01)
    comparison = compare(rows, baseline=SPECS[0].name, margin=0.01)
    assert set(found) == {spec.name for spec in SPECS[1:]}
    for point in comparison.points:
        if point is not comparison.baseline:
            one = found[point.spec.name]
            assert (one.verdict, one.loss) == (point.verdict, point.loss)
            assert (one.low, one.high) == point.loss_interval
            assert one.recommended == (point is comparison.recommended)


# What is planted.


def ripples(audio):
    """Strongest echo's delay [samples] and strength: the spectrum's ripples are ``SR / delay``."""
    power = np.abs(np.fft.rfft(audio, 2 * len(audio))) ** 2
    echoes = np.fft.irfft(power)[: planted.SR // 50]
    lag = 50 + int(np.argmax(np.abs(echoes[50:])))
    return lag, abs(echoes[lag] / echoes[0])


def swing(audio):
    """Strongest rate of the loudness from 3 to 20 Hz, and how far it stands out of the others."""
    loudness = np.square(audio, dtype=float)
    spectrum = np.abs(np.fft.rfft(loudness - loudness.mean()))
    rates = np.fft.rfftfreq(len(audio), 1 / planted.SR)
    heard = (rates >= 3) & (rates <= 20)
    peak = np.argmax(spectrum[heard])
    return rates[heard][peak], spectrum[heard][peak] / np.median(spectrum[heard])


def clips(tags, *, is_planted=True, n=12):
    return [
        planted.compose(frozenset(tags), np.random.default_rng((9, i)), planted=is_planted)
        for i in range(n)
    ]


RESOLUTION = 1 / planted.SECONDS  # of rates [Hz]


@pytest.mark.parametrize("others", [(), ("tremble", "dull", "loud")])
def test_comb_is_ripples_160_hz_apart_rather_than_80(others):
    for tags, low, high in ((("comb", *others), 150, 170), (others, 75, 85)):
        for audio in clips(tags):
            lag, strength = ripples(audio)
            assert low - 2 < planted.SR / lag < high + 2
            assert strength > 0.3  # of 0.9 / (1 + 0.9²) = 0.5, less where it trembles


@pytest.mark.parametrize("others", [(), ("comb", "dull", "loud")])
def test_tremble_is_a_tremolo_of_12_to_16_hz_rather_than_4_to_8(others):
    for tags, low, high in ((("tremble", *others), 11.8, 15.7), (others, 4.0, 7.9)):
        for audio in clips(tags):
            rate, prominence = swing(audio)
            assert low - RESOLUTION < rate < high + RESOLUTION
            assert prominence > 5


def test_every_16th_frame_shows_both_rates_alike():
    """Frames come at 3.9 Hz, and either span of rates is one turn of what such frames can tell."""
    frames = planted.SR / planted.LONG_HOP.hop_length
    for low, high in ((4.0, 7.9), (11.8, 15.7)):
        assert high - low == pytest.approx(frames, rel=0.01)


def test_the_controls_have_neither_ripples_nor_tremolo():
    for tags in ((), planted.CONTROLS):
        for audio in clips(tags, is_planted=False):
            assert ripples(audio)[1] < 0.05
            assert swing(audio)[1] < 5


@pytest.mark.parametrize("is_planted", [True, False])
def test_dull_and_loud_shift_levels_that_overlap(is_planted):
    def share_of_highs(audio):
        power = np.abs(np.fft.rfft(audio)) ** 2
        return power[len(power) // 2 :].sum() / power.sum()

    def level(audio):
        return 20 * math.log10(np.sqrt(np.mean(np.square(audio, dtype=float))))

    of = {tags: clips(tags, is_planted=is_planted, n=40) for tags in ((), ("dull",), ("loud",))}
    plain, dull = (np.array([share_of_highs(a) for a in of[tags]]) for tags in ((), ("dull",)))
    assert dull.mean() < plain.mean() - 0.05
    assert dull.max() > plain.min()
    quiet, loud = (np.array([level(a) for a in of[tags]]) for tags in ((), ("loud",)))
    assert loud.mean() - quiet.mean() == pytest.approx(4, abs=1.5)  # dB
    assert quiet.max() > loud.min()


@pytest.fixture(scope="module", params=[planted.TAGS, planted.CONTROLS], ids=["tags", "controls"])
def corpus(request, tmp_path_factory):
    """The tags, the labels' path and their rows, of a corpus as the benchmark makes it."""
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    labels = planted.make_corpus(folder, 3, request.param)
    with labels.open(encoding="utf-8") as file:
        return request.param, labels, list(csv.DictReader(file))


def test_half_of_a_corpus_has_each_tag_and_its_labels_say_which(corpus):
    tags, labels, rows = corpus
    assert [row["path"] for row in rows] == sorted(p.name for p in labels.parent.glob("*.flac"))
    assert len(rows) == planted.N_CLIPS
    for tag in tags:
        assert sum(int(row[tag]) for row in rows) == planted.N_CLIPS // 2
    before = labels.stat().st_mtime_ns
    assert planted.make_corpus(labels.parent, 3, tags) == labels  # is there: not made again
    assert labels.stat().st_mtime_ns == before


def test_a_corpus_sounds_as_its_labels_say(corpus):
    tags, labels, rows = corpus
    for row in rows[:40]:
        audio, sr = soundfile.read(labels.parent / row["path"])
        assert (sr, len(audio)) == (planted.SR, planted.SECONDS * planted.SR)
        delay, strength = ripples(audio)
        if tags == planted.TAGS:
            assert (planted.SR / delay > 120) == (row["comb"] == "1")
            assert (swing(audio)[0] > 10) == (row["tremble"] == "1")
        else:
            assert strength < 0.05


def told(verdict, **of_tags):
    """A point of 8 bands with that verdict, and its tags'."""
    row = {
        "data": "0", "encoding": "float16", "model": "vgg", "width": 1, "recipe": "modern",
        "augment": "none", "epochs": 1, "batch_size": 1, "learning_rate": 0.1, "amp": "off",
        "pr_auc": 0.5, "bootstrap_pr_auc": [], "parameters": 1, "train_seconds": 1.0,
        "inference_seconds_per_clip": 1.0, "roc_auc_per_tag": {}, "pr_auc_per_tag": {},
    }  # fmt: skip
    (point,) = compare([row | rows_of(FINE, 0.8)[0]]).points
    losses = {
        tag: TagLoss(loss=0.1, interval=(0.0, 0.2), rate=0.01, verdict=said)
        for tag, said in of_tags.items()
    }
    return dataclasses.replace(
        point, spec=FeatureSpec(sr=planted.SR, n_mels=8), verdict=verdict, tag_losses=losses
    )


@pytest.mark.parametrize(
    ("point", "of_planted", "of_controls"),
    [
        (told("worse", comb="worse", dull="not told"), True, False),
        (told("not told", comb="worse", dull="not told"), False, False),  # found of the tag alone
        (told("worse", comb="not told", dull="not told"), False, False),
        (told("worse", comb="worse", dull="worse"), False, False),  # and of another
        (told("worse", tremble="worse"), False, False),  # which hop x16 must lose
        (told("no worse", comb="not told"), False, True),
        (told("not told", comb="not told", dull="better"), False, False),
    ],
)
def test_a_study_finds_what_is_planted_and_nothing_else(point, of_planted, of_controls):
    assert planted.is_as_planted(point, planted=True) == of_planted
    assert planted.is_as_planted(point, planted=False) == of_controls
