import math

import pytest

from featurestore import FeatureSpec
from featurestore.specs.grid import ferraro2020
from models.report.published import beside_published, published
from models.study.comparison import compare


def test_the_headline_of_the_study_is_in_its_scores():
    """REFERENCE 1.1 and 1.5: VGG, 16 kHz, dB, on MagnaTagATune."""
    scores = {(s.catalog, s.model, s.metric, s.spec): s for s in published()}
    assert len(scores) == 118
    fine, half = (FeatureSpec(sr=16000, n_mels=n) for n in (96, 48))
    assert scores["mtat", "vgg", "roc_auc", fine].mean == pytest.approx(0.8912)
    assert scores["mtat", "vgg", "roc_auc", fine].std == pytest.approx(0.0023)
    assert scores["mtat", "vgg", "roc_auc", half].mean == pytest.approx(0.8932)
    assert math.isnan(scores["msd", "musicnn", "pr_auc", half].std)
    assert {s.spec for s in published()} <= set(ferraro2020())
    assert all(0.2 < s.mean < 0.95 for s in published())


def test_points_stand_beside_the_scores_of_their_own_data_set(few):
    comparison = compare(few)
    pairs = beside_published(comparison, "mtat")
    assert [str(pair.point.label) for pair in pairs] == [
        "mel48 x2",
        "mel48 x1",
        "mel96 x2",
        "mel96 x1",
    ]
    assert pairs[-1].roc_auc.mean == pytest.approx(0.8912)
    assert pairs[-1].pr_auc.mean == pytest.approx(0.3597)
    assert beside_published(comparison, "msd")[-1].roc_auc.mean == pytest.approx(0.8671)


@pytest.mark.parametrize("catalog", [None, "gtzan", "mtat-clean", "mtat-all"])
def test_other_data_sets_stand_alone(few, catalog):
    assert beside_published(compare(few), catalog) == []


def test_the_studys_own_window_is_compared_too(make_rows):
    spec = FeatureSpec(sr=16000, n_mels=96, window="hann-symmetric")
    assert len(beside_published(compare(make_rows([spec])), "mtat")) == 1
    other = FeatureSpec(sr=16000, n_mels=96, n_fft=1024)
    assert beside_published(compare(make_rows([other])), "mtat") == []
