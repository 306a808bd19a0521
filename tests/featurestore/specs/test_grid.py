from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureSpec
from featurestore.errors import SpecError
from featurestore.specs.grid import GRIDS, ferraro2020, grid, subsample


def test_a_grid_is_the_product_of_its_values_in_order():
    assert grid(sr=[16000, 12000], n_mels=[48], hop=[2, 1], log=["db"]) == (
        FeatureSpec(sr=16000, n_mels=48, hop=2),
        FeatureSpec(sr=16000, n_mels=48, hop=1),
        FeatureSpec(sr=12000, n_mels=48, hop=2),
        FeatureSpec(sr=12000, n_mels=48, hop=1),
    )


@given(
    st.lists(st.sampled_from([8000, 16000]), max_size=3),
    st.lists(st.integers(1, 40), max_size=3),
    st.lists(st.integers(1, 4), max_size=3),
    st.lists(st.sampled_from(["db", "log"]), max_size=3),
)
def test_a_grid_has_each_combination_once(sr, n_mels, hop, log):
    specs = grid(sr=sr, n_mels=n_mels, hop=hop, log=log)
    assert len(set(specs)) == len(specs)
    assert {(s.sr, s.n_mels, s.hop, s.log) for s in specs} == {
        (a, b, c, d) for a in sr for b in n_mels for c in hop for d in log
    }


def test_a_grid_passes_on_what_its_specs_share():
    (spec,) = grid(
        sr=[16000],
        n_mels=[48],
        hop=[Fraction(160, 256)],
        log=["log"],
        n_fft=1024,
        fmin=30,
        fmax=7600,
        window="hann-symmetric",
        win_length=400,
        htk=True,
        norm=None,
    )
    assert spec.name == (
        "sr16000-mel48-hop160-log-fft1024-fmin30-fmax7600-symmetric-win400-htk-nonorm"
    )


def test_a_grid_with_a_spec_that_cannot_be_is_refused():
    with pytest.raises(SpecError, match=r"n_mels is 4000: .* mel filters hold no FFT bin"):
        grid(sr=[16000], n_mels=[48, 4000], hop=[1], log=["db"])


def test_the_studys_grid_is_its_table():
    specs = ferraro2020()
    assert len(specs) == len(set(specs)) == 88
    assert Counter((spec.sr, spec.log) for spec in specs) == dict.fromkeys(
        [(12000, "log"), (12000, "db"), (16000, "log"), (16000, "db")], 22
    )
    hops = {}
    for spec in specs:
        hops.setdefault(spec.n_mels, set()).add(spec.hop)
    assert hops == {
        **{n_mels: {1, 2, 3, 4, 5, 10} for n_mels in (128, 96, 48)},
        **{n_mels: {1} for n_mels in (32, 24, 16, 8)},
    }
    assert {(spec.n_fft, spec.fmin, spec.fmax, spec.window) for spec in specs} == {
        (512, 0.0, None, "hann")
    }


def test_the_studys_grid_can_have_its_symmetric_window():
    specs = GRIDS["ferraro2020"]("hann-symmetric")
    assert len(specs) == 88
    assert {spec.window for spec in specs} == {"hann-symmetric"}


def test_thinned_specs_reach_from_the_finest_to_the_coarsest():
    specs = grid(sr=[16000], n_mels=[8, 96, 48, 32], hop=[10, 1], log=["db"])
    assert subsample(specs, 8) == tuple(
        sorted(specs, key=lambda s: s.n_mels / s.hop_length, reverse=True)
    )
    few = subsample(specs, 3)
    assert [(spec.n_mels, spec.hop) for spec in (few[0], few[-1])] == [(96, 1), (8, 10)]
    assert subsample(specs, 1) == few[:1]
    assert subsample([], 3) == ()


def test_thinning_88_specs_leaves_one_law():
    assert len({spec.log for spec in subsample(ferraro2020(), 9)}) == 1
    assert len(set(subsample(ferraro2020(), 9))) == 9
