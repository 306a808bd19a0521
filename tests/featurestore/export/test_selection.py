import numpy as np
import pytest

from featurestore.errors import SettingsError, UnknownSpecError
from featurestore.export.selection import Selection
from featurestore.specs.encoding import Encoding

X1, X2, LOG = "sr8000-mel16-x1-db", "sr8000-mel8-x2-db", "sr8000-mel8-x2-log"


def names(selection):
    return [array.spec.name for array in selection.arrays]


def test_everything_stored_is_selected_unless_told_otherwise(shared_store):
    selection = Selection.of(shared_store)
    assert names(selection) == [X1, X2, LOG]
    assert selection.rows.tolist() == list(range(20))


def test_specs_go_by_name_by_pattern_and_by_view(shared_store):
    selection = Selection.of(shared_store, ["*-mel8-*", X1, LOG, "sr8000-mel16-x4-db"])
    assert names(selection) == [X2, LOG, X1, "sr8000-mel16-x4-db"]


def test_a_pattern_that_fits_nothing_is_refused_with_what_there_is(shared_store):
    with pytest.raises(UnknownSpecError, match=rf"holds no sr16000-\*; it holds {X1}"):
        Selection.of(shared_store, ["sr16000-*"])


def test_splits_choose_rows_and_an_unknown_one_is_refused(shared_store):
    selection = Selection.of(shared_store, splits=["validation", "test"])
    assert selection.rows.tolist() == [2, 3, 6, 7, 10, 11, 14, 15, 18, 19]
    assert selection.clips["row"].tolist() == selection.rows.tolist()
    with pytest.raises(SettingsError, match="no clip in dev; its splits are: test, train, valid"):
        Selection.of(shared_store, splits=["dev"])


@pytest.mark.parametrize("n_batches", [20, 3])
def test_batches_are_all_rows_with_nan_where_there_are_no_values(
    shared_store, monkeypatch, n_batches
):
    selection = Selection.of(shared_store, [X1])
    [array] = selection.arrays
    per_batch = -(-20 // n_batches)
    monkeypatch.setattr("featurestore.export.selection.BATCH_NBYTES", per_batch * 4 * 16 * 16)
    batches = list(selection.batches(array))
    assert [first for first, _ in batches] == list(range(0, 20, per_batch))
    values = np.concatenate([batch for _, batch in batches])
    ready = np.flatnonzero(array.ready)
    assert values[ready].tobytes() == array.read(ready).tobytes()
    assert np.isnan(values[[5, 13]]).all()


@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8"])
def test_stored_values_are_those_of_the_chunks(make_store, encoding):
    store = make_store(encoding=Encoding(name=encoding))
    selection = Selection.of(store, encoding="stored")
    for array in selection.arrays:
        values = np.concatenate([batch for _, batch in selection.batches(array)])
        assert values.dtype == encoding
        for row in np.flatnonzero(array.ready):
            clip = make_store.values(store.table.clip_id[row], array.layout)
            there = array.layout.encoding.encode(clip, array.spec.value_range)
            assert values[row].tobytes() == there.tobytes()
        fill = array.layout.encoding.fill_value
        np.testing.assert_array_equal(values[[5, 13]], np.full_like(values[:2], fill))


def test_what_is_computed_from_another_law_is_not_stored(shared_store):
    with pytest.raises(SettingsError, match="is computed from sr8000-mel16-x1-db"):
        Selection.of(shared_store, ["sr8000-mel16-x1-log"], encoding="stored")


def test_facts_tell_the_spec_its_error_and_where_it_comes_from(shared_store):
    selection = Selection.of(shared_store, ["sr8000-mel16-x2-log"])
    facts = selection.facts(selection.arrays[0])
    assert facts["spec"] == "sr8000-mel16-x2-log"
    assert (facts["hop_length"], facts["n_frames"], facts["log"]) == (512, 8, "log")
    assert (facts["view_of"], facts["encoding"], facts["dtype"]) == (X1, "float16", "float32")
    assert facts["max_error"] == selection.arrays[0].max_error > 0
    assert facts["settings"] == {"backend": "noise"}
    assert facts["software"] == [{"melgrid": "test"}]
