import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from featurestore import FeatureSpec
from featurestore.errors import UnknownSpecError
from featurestore.specs.encoding import Encoding
from featurestore.specs.grid import ferraro2020, grid
from featurestore.specs.mel import VALUE_RANGE, to_log
from featurestore.specs.views import best_source, derivable, max_error, minimal_basis

DB = VALUE_RANGE["db"]
X1 = FeatureSpec(sr=16000, n_mels=8)
DECIBELS = npst.arrays(
    np.float32, (2, 20), elements=st.floats(*VALUE_RANGE["db"], width=32), unique=True
)
HOPS = st.sampled_from([1, 2, 3, 4, 5, 6, 10, Fraction(5, 8), Fraction(5, 4)])


def exact_log(decibels):
    return np.log10(1 + 1e4 * 10 ** (np.asarray(decibels, np.float64) / 10))


@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8"])
@given(decibels=DECIBELS)
def test_log_from_decibels_is_within_its_stated_bound_at_every_encoding(encoding, decibels):
    kept = Encoding(name=encoding)
    served = np.empty_like(decibels)
    kept.decode(kept.encode(decibels, DB), served, DB)
    to_log(served)
    bound = max_error(kept, X1, dataclasses.replace(X1, log="log"))
    assert np.abs(served - exact_log(decibels)).max() <= bound


def test_the_bounds_are_those_that_the_documentation_states():
    log = dataclasses.replace(X1, log="log")
    assert [round(max_error(Encoding(name=n), X1, log), 4) for n in ("float16", "uint8")] == [
        0.0031,
        0.0276,
    ]
    assert max_error(Encoding(), X1, X1) == Encoding().max_error(DB)


@given(hops=st.sets(HOPS, min_size=1), logs=st.sets(st.sampled_from(["db", "log"]), min_size=1))
def test_what_is_needed_serves_everything_and_nothing_in_it_serves_another(hops, logs):
    specs = grid(sr=[16000], n_mels=[8, 16], hop=hops, log=logs)
    stored = minimal_basis(specs)
    assert all(best_source(spec, stored) is not None for spec in specs)
    assert not any(derivable(a, b) for a in stored for b in stored if a != b)
    assert set(stored) <= set(specs)


def test_the_studys_88_are_served_from_14():
    stored = minimal_basis(ferraro2020())
    assert len(stored) == 14
    assert {(spec.hop, spec.log) for spec in stored} == {(1, "db")}


def test_what_is_there_already_need_not_be_stored_again():
    x2 = dataclasses.replace(X1, hop=2)
    assert minimal_basis([x2], [X1]) == ()
    assert minimal_basis([x2], [x2]) == (x2,)
    assert minimal_basis([X1], [x2]) == (X1,)


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        ({}, {"hop": 3}, True),
        ({"hop": 2}, {"hop": 3}, False),
        ({"hop": 2}, {}, False),
        ({}, {"log": "log", "hop": 3}, True),
        ({"log": "log"}, {}, False),
        ({}, {"n_mels": 16}, False),
        ({}, {"fmin": 30.0}, False),
        ({}, {"window": "hann-symmetric"}, False),
    ],
)
def test_a_spec_serves_hop_multiples_and_log_from_db(stored, wanted, expected):
    pair = (dataclasses.replace(X1, **changes) for changes in (stored, wanted))
    assert derivable(*pair) is expected


def test_a_view_is_cut_from_its_own_scaling_before_the_other():
    log_x1, db_x2 = dataclasses.replace(X1, log="log"), dataclasses.replace(X1, hop=2)
    wanted = dataclasses.replace(X1, log="log", hop=4)
    assert best_source(wanted, [X1, log_x1, db_x2]) == log_x1
    assert best_source(wanted, [X1, db_x2]) == db_x2
    assert best_source(X1, [db_x2]) is None


def test_a_stored_spec_is_found_without_asking_what_others_derive(monkeypatch):
    stored = dict.fromkeys(ferraro2020())
    monkeypatch.setattr(FeatureSpec, "derivation", lambda spec, other: pytest.fail("it was asked"))
    assert [best_source(spec, stored) for spec in stored] == list(stored)


@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8"])
def test_a_store_serves_the_other_scaling_and_hop_multiples_of_it(make_store, encoding):
    store = make_store(specs=[X1], encoding=Encoding(name=encoding))
    rows = [0, 7, 19]
    stored = store[X1].read(rows)
    for hop in (1, 2, 5):
        view = store[dataclasses.replace(X1, log="log", hop=hop)]
        assert view.view_of == X1.name
        expected = exact_log(stored[:, :, ::hop])
        np.testing.assert_allclose(view.read(rows), expected, atol=2e-6)
        np.testing.assert_allclose(
            view.read(rows, start=1, length=2), expected[:, :, 1:3], atol=2e-6
        )
        np.testing.assert_array_equal(view.n_valid_frames, -(-store[X1].n_valid_frames // hop))


def test_decibels_are_not_served_from_log(make_store):
    store = make_store(specs=[dataclasses.replace(X1, log="log")])
    with pytest.raises(UnknownSpecError, match=r"holds no .*-db; it holds .*-log"):
        store[X1]
