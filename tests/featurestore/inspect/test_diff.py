import dataclasses

import numpy as np
import pytest

from featurestore.inspect import diff as module
from featurestore.inspect.diff import diff
from featurestore.specs.encoding import Encoding


def test_a_store_is_the_same_as_itself(shared_store):
    found = diff(shared_store, shared_store)
    assert found.is_same
    assert [(spec.n_compared, spec.n_differ) for spec in found.specs] == [(18, 0)] * 3


def test_clips_are_matched_by_id_whatever_their_order(make_store):
    store = make_store(failed=(), pending=())
    other = make_store("other.zarr", ids=store.table.clip_id[::-1], failed=(), pending=())
    found = diff(store, other)
    assert (found.only_a, found.only_b, found.labels, found.n_clips) == ((), (), {}, 20)
    assert [(spec.n_compared, spec.n_differ) for spec in found.specs] == [(20, 0)] * 3
    assert found.columns.keys() == {"split", "fold", "artist"}  # which follow the row


def test_clips_and_labels_and_specs_of_one_store_alone_are_named(make_store):
    a = make_store("a.zarr", ids=["1", "2", "3"], failed=(), pending=())
    b = make_store(
        "b.zarr", ids=["2", "3", "4"], tags=["loud"], specs=a.specs[:1], failed=(), pending=()
    )
    found = diff(a, b)
    assert (found.only_a, found.only_b, found.n_clips) == (("1",), ("4",), 2)
    assert (found.tags_only_a, found.tags_only_b) == (("drums",), ())
    assert found.specs_only_a == tuple(spec.name for spec in a.specs[1:])
    assert found.specs_only_b == ()
    assert found.columns.keys() == {"split", "fold", "artist"}  # which follow the row
    assert not found.is_same


def test_values_are_compared_decoded_and_told_in_their_unit(make_store, monkeypatch):
    exact = make_store("a.zarr", encoding=Encoding(name="float32"), failed=(), pending=())
    rough = make_store("b.zarr", encoding=Encoding(name="uint8"), failed=(), pending=())
    spec = exact.specs[0]
    expected = np.abs(exact[spec].read(range(20)) - rough[spec].read(range(20)))
    monkeypatch.setattr(module, "BATCH_NBYTES", 3 * 4 * 16 * 16)
    found = diff(exact, rough).specs[0]
    assert (found.spec, found.unit, found.encoding_a, found.encoding_b) == (
        spec.name, spec.unit, "float32", "uint8"
    )  # fmt: skip
    assert (found.n_compared, found.n_differ) == (20, 20)
    assert found.max == expected.max()
    assert found.mean == pytest.approx(expected.mean(), rel=1e-6)


def test_clips_that_are_ready_in_one_store_alone_are_counted(make_store):
    a = make_store("a.zarr", failed=(), pending=())
    b = make_store("b.zarr", failed=(5,), pending=(13,))
    found = diff(a, b)
    assert {spec.only_ready_a for spec in found.specs} == {2}
    assert {spec.only_ready_b for spec in found.specs} == {0}
    assert {spec.n_compared for spec in found.specs} == {18}
    assert (found.columns["status"], found.columns["reason"]) == (2, 1)
    assert found.json()["same"] is False


def test_a_view_is_compared_with_what_is_stored(make_store):
    spec = make_store("a.zarr").specs[0]
    a = make_store("b.zarr", specs=[spec], failed=(), pending=())
    b = make_store("c.zarr", specs=[dataclasses.replace(spec, hop=2)], failed=(), pending=())
    found = diff(a, b)
    assert [one.spec for one in found.specs] == ["sr8000-mel16-x2-db"]
    assert found.specs_only_a == (spec.name,)
