import dataclasses

import numpy as np
import pytest

from featurestore.errors import SettingsError, SpecError, UnknownSpecError
from featurestore.inspect.choice import MOST, choose, parse_conditions, spread
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CLEAN, CONDITIONS, Condition

GAINS = [Condition.parse(f"gain{-n}") for n in range(1, 9)]


@pytest.fixture
def stored(make_store):
    """Make a store of one clip with so many specs, finest first, under so many conditions."""

    def make(n_specs, n_conditions):
        conditions = [CLEAN, *GAINS][:n_conditions]
        specs = [FeatureSpec(sr=8000, n_mels=20 - n, hop=4) for n in range(n_specs)]
        every = [spec.under(c) for c in conditions for spec in reversed(specs)]
        return make_store(ids=["a"], specs=every, failed=(), pending=()), specs, conditions

    return make


@pytest.mark.parametrize(
    ("n_specs", "n_conditions", "n_rows", "n_columns"),
    [(1, 9, 1, 9), (3, 3, 3, 3), (2, 9, 2, 4), (5, 3, 3, 3), (12, 1, 9, 1), (6, 2, 4, 2)],
)
def test_specs_and_conditions_are_thinned_until_they_fit(
    stored, n_specs, n_conditions, n_rows, n_columns
):
    store, specs, conditions = stored(n_specs, n_conditions)
    chosen = choose(store)
    assert len(chosen) == n_rows * n_columns <= MOST
    rows = list(dict.fromkeys(spec.under(CLEAN) for spec in chosen))
    columns = list(dict.fromkeys(spec.condition for spec in chosen))
    assert chosen == tuple(spec.under(c) for spec in rows for c in columns)
    assert (rows[0], rows[-1]) == (specs[0], specs[-1])
    assert (columns[0], columns[-1]) == (CLEAN, conditions[-1])


def test_conditions_asked_for_are_all_taken_and_fewer_specs(stored):
    store, specs, conditions = stored(4, 9)
    assert choose(store, conditions="all") == tuple(specs[0].under(c) for c in conditions)
    wanted = [GAINS[2], "clean"]
    assert choose(store, conditions=wanted) == tuple(
        spec.under(c) for spec in specs for c in (GAINS[2], CLEAN)
    )


def test_specs_named_are_taken_as_they_are_and_with_conditions_under_each(stored):
    store, specs, conditions = stored(2, 3)
    names = [specs[1].name, specs[0].under(GAINS[0]).name]
    assert [spec.name for spec in choose(store, names)] == names
    view = FeatureSpec(sr=8000, n_mels=20, hop=8, log="log")
    assert choose(store, [view], "all") == tuple(view.under(c) for c in conditions)
    assert choose(store, [view.name], ["gain-2"]) == (view.under(GAINS[1]),)


def test_draws_are_shown_where_they_are_named_and_only_of_clips_that_have_them(make_store):
    spec = FeatureSpec(sr=8000, n_mels=8, hop=4)
    draws = [spec.under(Condition(draw=n)) for n in range(2)]
    specs = [spec, *draws, spec.under(GAINS[0])]

    class WithoutFolds(type(make_store)):
        """The split alone says which clips train: row 0, and not row 3."""

        def table(self, *arguments, **named):
            table = super().table(*arguments, **named)
            return dataclasses.replace(table, fold=np.full_like(table.fold, -1))

    store = WithoutFolds(folder=make_store.folder)(
        ids=list("abcd"), specs=specs, failed=(), pending=()
    )
    assert choose(store, row=0) == choose(store) == (specs[0], specs[3])
    assert choose(store, conditions="all", row=0) == tuple(specs)
    assert choose(store, conditions="all", row=3) == (specs[0], specs[3])
    assert choose(store, [spec], "all", row=3) == (specs[0], specs[3])
    assert choose(store, conditions=["draw1"]) == (draws[1],)


def test_a_spec_that_lacks_a_condition_is_shown_without(make_store):
    fine, coarse = (FeatureSpec(sr=8000, n_mels=n, hop=4) for n in (12, 8))
    specs = [fine, coarse, coarse.under(GAINS[0])]
    store = make_store(ids=["a"], specs=specs, failed=(), pending=())
    assert choose(store) == tuple(specs)
    assert choose(store, [fine, coarse], "all") == tuple(specs)
    assert choose(store, conditions=["gain-1"]) == (specs[2],)
    with pytest.raises(UnknownSpecError, match="holds no sr8000-mel12-x4-db~gain-1"):
        choose(store, [fine], ["gain-1"])


def test_what_cannot_be_shown_is_refused(stored, make_store):
    store, specs, _ = stored(1, 2)
    with pytest.raises(UnknownSpecError, match=r"under noise0.1; its conditions are clean, gain-1"):
        choose(store, conditions=["noise0.1"])
    with pytest.raises(UnknownSpecError, match="holds no sr8000-mel9-x4-db"):
        choose(store, ["sr8000-mel9-x4-db"], "all")
    with pytest.raises(SettingsError, match=f"name {specs[0].name}, or leave conditions out"):
        choose(store, [specs[0].under(GAINS[0])], "all")
    with pytest.raises(SpecError, match="'loud' is no perturbation"):
        choose(store, conditions=["loud"])
    with pytest.raises(SettingsError, match="conditions is empty"):
        choose(store, conditions=[])
    empty = make_store("empty.zarr", ids=["a"], specs=[], failed=(), pending=())
    with pytest.raises(UnknownSpecError, match="holds no specs; featurize adds some"):
        choose(empty)


def test_a_set_of_conditions_has_a_name():
    assert parse_conditions(["clean", "mtat", "noise0.1"]) == [CLEAN, *CONDITIONS["mtat"]]


@pytest.mark.parametrize(
    ("limit", "kept"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (12, list(range(10)))]
)
def test_the_first_the_last_and_some_between_are_kept(limit, kept):
    assert spread(range(10), limit) == kept
