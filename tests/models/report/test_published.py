import math

import pytest

from featurestore import FeatureSpec
from featurestore.specs.grid import ferraro2020
from featurestore.specs.kinds import parse_spec
from models.networks import parse_architecture
from models.report.published import TABLES, beside_published
from models.study.comparison import compare

MTAT = {"catalog": "mtat", "n_test": 5329, "n_tags_scored": 50}
"""What rows of the study's own splits say."""

CLEAN = MTAT | {"catalog": "mtat-clean", "n_test": 4332}

BY_NAME = {table.name: table for table in TABLES}


def pairs_of(rows, name):
    found = {table.name: pairs for table, pairs in beside_published(compare(rows))}
    return list(found.get(name, ()))


def test_the_headline_of_the_study_is_in_its_scores():
    """REFERENCE 1.1 and 1.5: VGG, 16 kHz, dB, on MagnaTagATune."""
    found = BY_NAME["ferraro2020"].scores
    scores = {(s.catalog, s.model, s.spec): s for s in found}
    assert len(scores) == len(found) == 59
    fine, half = (FeatureSpec(sr=16000, n_mels=n) for n in (96, 48))
    assert scores["mtat", "vgg", fine].roc_auc == pytest.approx(0.8912)
    assert scores["mtat", "vgg", fine].roc_auc_std == pytest.approx(0.0023)
    assert scores["mtat", "vgg", half].roc_auc == pytest.approx(0.8932)
    assert math.isnan(scores["msd", "musicnn", half].pr_auc_std)
    assert {s.spec for s in found} <= set(ferraro2020())


def test_all_scores_are_of_networks_that_are_there_on_specs_that_they_take():
    for table in TABLES:
        assert table.scores
        for score in table.scores:
            architecture = parse_architecture(score.model)
            if score.spec is not None:
                architecture.require(score.spec)
            assert 0.85 < score.roc_auc < 0.93
            assert 0.2 < score.pr_auc < 0.53


def test_the_networks_of_won_2020_are_on_what_they_were_published_with():
    found = BY_NAME["won2020"].scores
    own = [s for s in found if s.spec == parse_architecture(s.model).takes]
    assert len({s.model for s in found}) == len(own) == 9
    scores = {s.model: (s.roc_auc, s.pr_auc) for s in own}
    assert scores["short_res"] == (0.9129, 0.4614)
    assert scores["crnn"] == (0.8722, 0.3625)
    more = {(s.model, s.spec.n_bands) for s in found} - {(s.model, s.spec.n_bands) for s in own}
    assert more == {("fcn", 128), ("musicnn-smc", 128), ("crnn", 128)}


def test_points_stand_beside_the_scores_of_their_own_data_set(few):
    pairs = pairs_of([row | MTAT for row in few], "ferraro2020")
    assert [str(pair.point.label) for pair in pairs] == [
        "mel48 x2", "mel48 x1", "mel96 x2", "mel96 x1"
    ]  # fmt: skip
    assert pairs[-1].score.roc_auc == pytest.approx(0.8912)
    assert pairs[-1].score.pr_auc == pytest.approx(0.3597)
    msd = MTAT | {"catalog": "msd", "n_test": 28300}  # some files are broken
    pairs = pairs_of([row | msd for row in few], "ferraro2020")
    assert pairs[-1].score.roc_auc == pytest.approx(0.8671)


@pytest.mark.parametrize(
    "change",
    [
        {"catalog": None},
        {"catalog": "gtzan"},
        {"catalog": "mtat-all"},
        {"catalog": "mtat-clean", "n_test": 4332},
        {"n_test": 5200},
        {"n_test": 5330},
        {"n_tags_scored": 49},
        {"fold": 0},
        {"partition": 1},
    ],
    ids=str,
)
def test_what_was_tested_on_other_clips_or_tags_stands_alone(few, change):
    rows = [{k: v for k, v in (row | MTAT | change).items() if v is not None} for row in few]
    for row in rows:
        row.setdefault("fold", None)
    assert beside_published(compare(rows)) == []


def test_rows_of_one_point_that_differ_in_their_clips_stand_alone(few):
    rows = [row | MTAT | {"n_test": 5329 - row["seed"]} for row in few]
    assert beside_published(compare(rows)) == []


def test_the_studys_own_window_is_compared_too(make_rows):
    spec = FeatureSpec(sr=16000, n_mels=96, window="hann-symmetric")
    assert len(pairs_of(make_rows([spec], **MTAT), "ferraro2020")) == 1
    other = FeatureSpec(sr=16000, n_mels=96, n_fft=1024)
    assert beside_published(compare(make_rows([other], **MTAT))) == []


def test_networks_stand_beside_their_scores_on_the_clean_split_whatever_kind_they_take(make_rows):
    specs = {"fcn": "sr16000-mel128-x1-db-htk-nonorm", "sample": "sr16000-wave"}
    rows = [
        row
        for model, name in specs.items()
        for row in make_rows([parse_spec(name)], models=(model,), **CLEAN)
    ]
    pairs = pairs_of(rows, "won2020")
    assert {p.point.model: p.score.roc_auc for p in pairs} == {"fcn": 0.8994, "sample": 0.9058}
    assert beside_published(compare([row | MTAT for row in rows])) == []
    noisy = make_rows([parse_spec(f"{specs['fcn']}~noise0.1")], models=("fcn",), **CLEAN)
    assert beside_published(compare(noisy)) == []


def test_a_report_that_does_not_say_its_spec_or_split_is_beside_any_and_no_difference_is_taken(
    make_rows,
):
    specs = [FeatureSpec(sr=16000, n_mels=n, n_fft=1024) for n in (96, 48)]
    ((table, pairs),) = beside_published(compare(make_rows(specs, models=("crnn2d",), **MTAT)))
    assert table.name == "mtat_report_2"
    assert not table.is_comparable
    assert [pair.score.roc_auc for pair in pairs] == [0.9102, 0.9102]
    assert all(table.is_comparable for name, table in BY_NAME.items() if name != "mtat_report_2")
