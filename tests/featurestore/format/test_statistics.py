import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import CorruptDataError, RowNotReadyError
from featurestore.format.commits import invalidated, read_commit, write_commit
from featurestore.format.division import Division
from featurestore.format.statistics import pool, row_checksum, statistics_of
from featurestore.writer import write_shard

BANDS = 3


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_statistics_pooled_over_clips_are_those_of_all_their_frames(seed, lengths):
    rng = np.random.default_rng(seed)
    clips = [rng.uniform(-100, 40, (BANDS, n)).astype(np.float32) for n in lengths]
    pooled = pool(np.array([statistics_of(clip) for clip in clips]), np.array(lengths))
    frames = np.concatenate(clips, axis=1).astype(np.float64)
    assert (pooled.n_clips, pooled.n_frames) == (len(lengths), sum(lengths))
    np.testing.assert_allclose(pooled.mean, frames.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(pooled.std, frames.std(axis=1), atol=1e-4)


def test_statistics_of_nothing_are_not_numbers():
    pooled = pool(np.zeros((0, 3, BANDS), np.float32), np.zeros(0, np.int64))
    assert pooled.n_frames == 0
    assert np.isnan([pooled.mean, pooled.std, pooled.saturated]).all()


def frames_of(store, spec, rows):
    array = store[spec]
    return np.concatenate([array[row][:, : array.n_valid_frames[row]] for row in rows], axis=1)


@pytest.mark.parametrize("rows", [[0], [3, 17, 9, 8], None])
def test_a_stored_spec_knows_its_statistics_for_any_rows(shared_store, rows):
    for spec in shared_store.specs:
        array = shared_store[spec]
        ready = np.flatnonzero(array.ready) if rows is None else rows
        found, frames = array.statistics(rows), frames_of(shared_store, spec, ready)
        assert found.n_frames == frames.shape[1]
        # they are of the values before they were encoded
        np.testing.assert_allclose(found.mean, frames.mean(axis=1), atol=0.05)
        np.testing.assert_allclose(found.std, frames.std(axis=1), atol=0.05)


def test_a_view_has_statistics_of_its_own_frames(shared_store):
    wanted = dataclasses.replace(shared_store.specs[0], hop=shared_store.specs[0].hop * 3)
    found, frames = shared_store[wanted].statistics([2, 3]), frames_of(shared_store, wanted, [2, 3])
    np.testing.assert_allclose(found.mean, frames.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(found.std, frames.std(axis=1), atol=1e-4)
    assert found.n_frames == frames.shape[1]


def test_statistics_of_a_row_that_is_not_ready_are_refused(shared_store):
    with pytest.raises(RowNotReadyError, match="EmptyFile"):
        shared_store[shared_store.specs[0]].statistics([4, 5])


def test_damaged_or_missing_statistics_are_found_out(tiny_store):
    spec = tiny_store.specs[0]
    path = Path(tiny_store.path, spec.name, "statistics/c/1/0/0")
    whole = path.read_bytes()
    path.write_bytes(whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    with pytest.raises(CorruptDataError, match="statistics/c/1/0/0: the checksum does not match"):
        FeatureStore.open(tiny_store.path)[spec].statistics()
    path.unlink()
    with pytest.raises(CorruptDataError, match="statistics/c/1/0/0: missing"):
        FeatureStore.open(tiny_store.path)[spec].statistics()
    assert tiny_store[spec].statistics([0, 1]).n_clips == 2


def test_undamaged_statistics_in_the_place_of_others_are_told(tiny_store):
    spec = tiny_store.specs[0]
    one, other = (Path(tiny_store.path, f"{spec.name}/statistics/c/{i}/0/0") for i in (0, 1))
    whole = one.read_bytes(), other.read_bytes()
    one.write_bytes(whole[1])
    with pytest.raises(CorruptDataError, match="c/0/0/0, clip 3: other statistics than those"):
        FeatureStore.open(tiny_store.path)[spec].statistics([9, 3])
    one.write_bytes(whole[0])
    other.write_bytes(whole[0])
    with pytest.raises(CorruptDataError, match="c/1/0/0, clip 1: other statistics than those"):
        FeatureStore.open(tiny_store.path)[spec].statistics([9, 3])


def test_statistics_that_are_no_numbers_are_refused_though_a_record_vouches_for_them(
    make_store, tiny_store
):
    layout = tiny_store.layouts[tiny_store.specs[0]]
    rows = [make_store.row(f"{row}", layout) for row in range(8)]
    rows[2][1][0, 1] = np.inf
    commit = read_commit(tiny_store.files, Division.of(8), 0)
    specs = {**commit.specs, layout.spec.name: write_shard(tiny_store.files, layout, 0, rows)}
    write_commit(tiny_store.files, Division.of(8), 0, dataclasses.replace(commit, specs=specs))
    array = FeatureStore.open(tiny_store.path)[layout.spec]
    assert array.statistics([0, 1]).n_clips == 2
    with pytest.raises(CorruptDataError, match="clip 2: statistics that are no numbers"):
        array.statistics([0, 2])


def test_rows_taken_back_since_the_store_was_opened_have_no_statistics(tiny_store):
    spec = tiny_store.specs[0]
    assert tiny_store[spec].ready[3]
    commit = read_commit(tiny_store.files, Division.of(8), 0)
    specs = {**commit.specs, spec.name: invalidated(commit.specs[spec.name], [3])}
    write_commit(tiny_store.files, Division.of(8), 0, dataclasses.replace(commit, specs=specs))
    with pytest.raises(
        RowNotReadyError, match=r"row 3 of .* is no longer ready: a run has changed"
    ):
        tiny_store[spec].statistics([2, 3])


def test_zarr_reads_the_statistics_with_their_names(shared_store):
    import zarr

    spec = shared_store.specs[0]
    group = zarr.open_group(f"{shared_store.path}/{spec.name}", mode="r")
    assert list(group["statistic"][...]) == ["mean", "std", "saturated"]
    statistics = group["statistics"][...]
    assert statistics.shape == (shared_store.n_clips, 3, spec.n_mels)
    ready = shared_store[spec].ready
    assert np.isfinite(statistics[ready]).all()
    assert np.isnan(statistics[~ready]).all()
    np.testing.assert_array_equal(shared_store[spec].statistics([2]).mean, statistics[2, 0])


def test_a_rows_checksum_hangs_on_its_chunk_and_on_its_statistics(rng):
    chunk, statistics = rng.bytes(40), rng.normal(size=(3, BANDS)).astype(np.float32)
    other = statistics.copy()
    other[1, 1] += 1
    assert len({row_checksum((chunk,), statistics), row_checksum((chunk,), other),
                row_checksum((chunk[:-1] + b"!",), statistics)}) == 3  # fmt: skip
