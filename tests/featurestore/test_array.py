import contextlib
import dataclasses
import multiprocessing
import pickle
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureSpec, FeatureStore
from featurestore.errors import CorruptDataError, MelgridError, RowNotReadyError
from featurestore.format.commits import invalidated, read_commit, write_commit
from featurestore.format.division import Division
from featurestore.format.statistics import row_checksum
from featurestore.specs.encoding import Codec, Encoding
from featurestore.writer import write_shard

READY = [row for row in range(20) if row not in (5, 13)]


@pytest.fixture
def array(shared_store):
    """The first spec: 16 bands, 16 frames; row 5 failed and row 13 is pending."""
    return shared_store[shared_store.specs[0]]


@pytest.fixture(scope="module")
def whole(shared_store):
    """All of the first spec's values, by zarr-python."""
    import zarr

    return zarr.open_array(f"{shared_store.path}/{shared_store.specs[0].name}/values")[...]


def test_an_array_is_clips_by_bands_by_frames(shared_store):
    for spec in shared_store.specs:
        array = shared_store[spec]
        assert array.spec == spec
        assert array.shape == (len(array), spec.n_mels, spec.n_frames(4000))
        assert array.encoding == "float16"


def test_a_row_is_what_was_written(shared_store, make_store):
    for spec in shared_store.specs:
        array = shared_store[spec]
        for row in READY:
            values = array[row]
            assert values.dtype == np.float32
            expected = make_store.expected(shared_store.table.clip_id[row], array.layout)
            np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("encoding", ["float32", "float16"])
def test_every_encoding_and_codec_is_read_back(make_store, codec, encoding):
    store = make_store(codec=Codec(name=codec), encoding=Encoding(name=encoding))
    array = store[store.specs[1]]
    rows = [0, 19, 7]
    expected = [make_store.expected(store.table.clip_id[row], array.layout) for row in rows]
    np.testing.assert_array_equal(array.read(rows), expected)
    assert (array.encoding, array.layout.codec.name) == (encoding, codec)


@given(drawn=st.data())
def test_segments_of_rows_are_slices_of_the_whole(array, whole, drawn):
    n_frames = array.shape[2]
    rows = drawn.draw(st.lists(st.sampled_from(READY), max_size=8))
    length = drawn.draw(st.integers(1, n_frames))
    start = drawn.draw(
        st.lists(st.integers(0, n_frames - length), min_size=len(rows), max_size=len(rows))
    )
    values = array.read(rows, start=start, length=length)
    assert values.shape == (len(rows), array.shape[1], length)
    assert values.dtype == np.float32
    for got, row, first in zip(values, rows, start, strict=True):
        np.testing.assert_array_equal(got, whole[row, :, first : first + length])


def test_rows_come_in_the_order_asked_and_as_often(array, whole):
    rows = [19, 0, 8, 0, 0, 16, 1]
    np.testing.assert_array_equal(array.read(rows), whole[rows])


def test_no_rows_give_an_empty_array(array):
    assert array.read([]).shape == (0, 16, 16)
    assert array.read([], start=[], length=3).shape == (0, 16, 3)


@pytest.mark.parametrize(
    ("start", "length", "wanted"),
    [
        (0, None, slice(0, 16)),
        (5, None, slice(5, 16)),
        (5, 3, slice(5, 8)),
        ([5, 5], None, slice(5, 16)),
        (np.int64(5), np.int64(3), slice(5, 8)),
        (np.array([5, 5]), 3, slice(5, 8)),
        ((frame for frame in (5, 5)), 3, slice(5, 8)),
        (15, 1, slice(15, 16)),
    ],
)
def test_start_and_length_may_be_given_in_several_ways(array, whole, start, length, wanted):
    np.testing.assert_array_equal(
        array.read(np.array([2, 17]), start=start, length=length), whole[[2, 17], :, wanted]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([20],), r"row 20 of sr8000-mel16-x1-db; there are 20, from 0"),
        (([0, -1],), r"row -1 of sr8000-mel16-x1-db"),
        (([0], 0, 17), r"frames 0 to 17 of sr8000-mel16-x1-db; there are 16, from 0"),
        (([0], 10, 7), r"frames 10 to 17"),
        (([0], -1, 4), r"frames -1 to 3"),
        (([0], 16), r"frames 16 to 16"),
        (([0], 0, 0), r"frames 0 to 0"),
        (([0, 1], [0, 13], 4), r"frames 13 to 17"),
        (([0, 1], [0, 3]), r"starts differ from row to row: give a length"),
        (([0, 1], [0], 3), r"1 starts for 2 rows"),
        (([True, False],), r"rows are booleans; give their numbers"),
        ((np.ones(20, bool),), r"rows are booleans; give their numbers"),
    ],
)
def test_rows_and_frames_that_do_not_exist_are_refused(array, arguments, message):
    with pytest.raises(IndexError, match=message):
        array.read(*arguments)


@pytest.mark.parametrize(("rows", "start"), [([1.5], 0), (["0"], 0), ([0], [0.5])])
def test_what_is_no_number_of_a_row_or_frame_is_refused(array, rows, start):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        array.read(rows, start=start, length=3)


def test_iterating_an_array_ends(make_store):
    whole = make_store("whole", failed=(), pending=())
    assert len(list(whole[whole.specs[0]])) == 20


def test_rows_that_are_not_ready_say_why(array):
    assert list(np.flatnonzero(~array.ready)) == [5, 13]
    with pytest.raises(
        RowNotReadyError,
        match=r"row 5 of sr8000-mel16-x1-db \(clip 05\) holds no values: EmptyFile: 0 bytes",
    ):
        array[5]
    with pytest.raises(
        LookupError, match=r"row 13 of .* \(clip 13\) holds no values yet: run featurize again"
    ):
        array.read([0, 13])


def test_rows_that_are_not_ready_have_no_valid_frames(array):
    assert array.n_valid_frames.tolist() == [0 if row in (5, 13) else 16 for row in range(20)]


def test_readiness_cannot_be_written_to(array):
    assert array.ready.dtype == np.bool_
    with pytest.raises(ValueError, match="read-only"):
        array.ready[5] = True


@pytest.mark.parametrize("hop", [2, 3, 5, 16, 17])
def test_a_view_is_every_kth_frame_of_what_is_stored(shared_store, whole, hop):
    spec = FeatureSpec(sr=8000, n_mels=16, hop=hop)
    view = shared_store[spec.name]
    assert view.spec == spec
    assert view.layout.spec == shared_store.specs[0]
    assert view.shape == (20, 16, spec.n_frames(4000))
    np.testing.assert_array_equal(view.ready, shared_store[shared_store.specs[0]].ready)
    np.testing.assert_array_equal(view.read(READY), whole[READY][:, :, ::hop])


@given(drawn=st.data())
def test_segments_of_a_view_are_slices_of_it(shared_store, whole, drawn):
    hop = drawn.draw(st.integers(1, 17))
    view = shared_store[FeatureSpec(sr=8000, n_mels=16, hop=hop)]
    n_frames = view.shape[2]
    length = drawn.draw(st.integers(1, n_frames))
    start = drawn.draw(st.integers(0, n_frames - length))
    np.testing.assert_array_equal(
        view.read([9, 2], start=start, length=length),
        whole[[9, 2]][:, :, ::hop][:, :, start : start + length],
    )


def test_a_view_ends_where_it_ends(shared_store):
    view = shared_store["sr8000-mel16-x5-db"]
    assert view.shape[2] == 4
    with pytest.raises(IndexError, match="frames 2 to 5 of sr8000-mel16-x5-db; there are 4"):
        view.read([0], start=2, length=3)


def test_a_view_is_cut_from_the_largest_hop_that_divides_its_own(make_store):
    stored = [FeatureSpec(sr=8000, n_mels=8, hop=hop) for hop in (1, 2, 3, Fraction(1, 2))]
    store = make_store(specs=stored)
    from_hop = {
        hop: store[FeatureSpec(sr=8000, n_mels=8, hop=hop)].layout.spec.hop
        for hop in (4, 5, 6, 9, Fraction(3, 2), 1)
    }
    assert from_hop == {4: 2, 5: 1, 6: 3, 9: 3, Fraction(3, 2): Fraction(1, 2), 1: 1}


def test_stored_bytes_are_those_of_the_shards(shared_store):
    for spec in shared_store.specs:
        shards = Path(shared_store.path, spec.name, "values", "c").rglob("*/0/0")
        assert shared_store[spec].nbytes_stored == sum(path.stat().st_size for path in shards) > 0


def test_an_array_is_picklable_before_and_after_reading(shared_store, whole):
    array = shared_store[shared_store.specs[0]]
    for _ in range(2):
        again = pickle.loads(pickle.dumps(array))
        np.testing.assert_array_equal(again.read([3, 12]), whole[[3, 12]])
        array.read([0])


def test_a_process_forked_after_its_parent_has_read_reads_on(array, whole):
    array.read(READY)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def read():
        for _ in range(3):
            sender.send(array.read([1, 17, 9]))

    child = context.Process(target=read)
    child.start()
    try:
        for _ in range(3):
            assert receiver.poll(60), "the forked child hangs"
            np.testing.assert_array_equal(receiver.recv(), whole[[1, 17, 9]])
        array.read(READY)  # and so does the parent
    finally:
        child.join(60)
        child.kill()
    assert child.exitcode == 0


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize(("context", "n_workers"), [(None, 0), ("fork", 2), ("spawn", 1)])
def test_pytorchs_loader_reads_with_and_without_workers(
    shared_store, whole, context, n_workers, read_before
):
    from torch.utils.data import DataLoader

    from models.data import ClipDataset

    array = shared_store[shared_store.specs[0]]
    if read_before:
        array.read(READY)
    rows = np.array(READY)
    dataset = ClipDataset(array, rows, np.zeros((len(rows), 1), np.float32))
    loader = DataLoader(
        dataset, batch_size=4, num_workers=n_workers, multiprocessing_context=context
    )
    values = np.concatenate([batch.numpy() for batch, *_ in loader])
    np.testing.assert_array_equal(values, whole[READY])


def test_threads_may_share_an_array(array, whole):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        for row, values in zip(READY * 10, pool.map(array.__getitem__, READY * 10), strict=True):
            np.testing.assert_array_equal(values, whole[row])


@pytest.fixture
def shard(tiny_store):
    """The file of rows 8 to 15 of the first spec, of which row 13 is pending."""
    return Path(tiny_store.path, tiny_store.specs[0].name, "values/c/1/0/0")


def test_every_damaged_byte_is_found_before_its_values_are_given(tiny_store, shard):
    """Each clip reads as it was, or not at all, whichever byte of its shard is changed."""
    array = tiny_store[tiny_store.specs[0]]
    rows = [8, 9, 10, 11, 12, 14, 15]
    before = {row: array[row] for row in rows}
    whole = shard.read_bytes()
    for place in range(0, len(whole), 37):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        intact = 0
        for row in rows:
            # as a new process would: without the index in memory
            fresh = FeatureStore.open(tiny_store.path)[tiny_store.specs[0]] if place % 2 else array
            with contextlib.suppress(CorruptDataError):
                np.testing.assert_array_equal(fresh[row], before[row])
                intact += 1
        # a byte of one chunk, or of the index
        assert intact in (0, len(rows) - 1)


def test_a_truncated_shard_is_corrupt(tiny_store, shard):
    whole = shard.read_bytes()
    for length in (0, 1, 100, 132, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        array = FeatureStore.open(tiny_store.path)[tiny_store.specs[0]]
        with pytest.raises(CorruptDataError, match="values/c/1/0/0"):
            array.read([8, 15])
        array.read([0, 16])


def test_a_missing_shard_is_corrupt_and_not_silence(tiny_store, shard):
    array = tiny_store[tiny_store.specs[0]]
    array[8]
    shard.unlink()
    with pytest.raises(CorruptDataError, match="values/c/1/0/0: missing") as caught:
        array[8]
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, MelgridError)


def test_a_committed_clip_that_is_not_in_its_shard_is_corrupt(tiny_store, shard):
    from featurestore.format.shard import pack

    shard.write_bytes(b"".join(pack([], 8, 1)))
    with pytest.raises(CorruptDataError, match=r"clip 1: committed, but not in the shard"):
        tiny_store[tiny_store.specs[0]][9]


def test_a_chunk_of_another_size_is_corrupt_and_it_is_said_which(tiny_store, shard):
    from featurestore.format.shard import pack
    from featurestore.storage.checksum import append_crc32c

    chunk = append_crc32c(Codec().compress(np.zeros(3, np.float32)))
    shard.write_bytes(b"".join(pack([(chunk,)] * 8, 8, 1)))
    with pytest.raises(CorruptDataError, match="clip 1: other values than those committed"):
        tiny_store[tiny_store.specs[0]][9]
    layout = tiny_store.layouts[tiny_store.specs[0]]
    commit = read_commit(tiny_store.files, Division.of(8), 1)
    own = struct.pack("<Q", row_checksum((chunk,), np.zeros((3, 16), np.float32))) * 8
    specs = {**commit.specs, layout.spec.name: own}
    write_commit(tiny_store.files, Division.of(8), 1, dataclasses.replace(commit, specs=specs))
    with pytest.raises(CorruptDataError, match=r"values/c/1/0/0, clip 1: a chunk unpacks to 12"):
        tiny_store[tiny_store.specs[0]][9]


def test_undamaged_values_in_the_place_of_others_are_told(tiny_store):
    spec = tiny_store.specs[0]
    one, other = (Path(tiny_store.path, f"{spec.name}/values/c/{shard}/0/0") for shard in (0, 1))
    whole = one.read_bytes(), other.read_bytes()
    one.write_bytes(whole[1])
    other.write_bytes(whole[0])
    with pytest.raises(CorruptDataError, match="clip 2: other values than those committed"):
        FeatureStore.open(tiny_store.path)[spec][2]


def test_a_row_whose_audio_has_changed_since_is_read_once_its_record_is_there(
    make_store, tiny_store
):
    """A run invalidates the row, writes the shard, then commits it; readers may come anywhen."""
    layout = tiny_store.layouts[tiny_store.specs[0]]
    array, name = tiny_store[tiny_store.specs[0]], layout.spec.name
    assert array.ready[1]
    commit = read_commit(tiny_store.files, Division.of(8), 0)
    taken_back = {**commit.specs, name: invalidated(commit.specs[name], [1])}
    write_commit(tiny_store.files, Division.of(8), 0, dataclasses.replace(commit, specs=taken_back))
    ids = tiny_store.table.clip_id
    rows = [make_store.row("changed" if row == 1 else ids[row], layout) for row in range(8)]
    written = write_shard(tiny_store.files, layout, 0, rows)
    with pytest.raises(RowNotReadyError, match="no longer ready: a run has changed"):
        array[1]
    np.testing.assert_array_equal(array[2], make_store.expected(ids[2], layout))
    committed = {**commit.specs, name: written}
    write_commit(tiny_store.files, Division.of(8), 0, dataclasses.replace(commit, specs=committed))
    np.testing.assert_array_equal(array[1], make_store.expected("changed", layout))


def test_a_shard_that_a_run_replaces_is_read_anew(make_store, tiny_store):
    """A reader that has the old index goes on, whichever file is there at the moment."""
    array = tiny_store[tiny_store.specs[0]]
    before = array.read([8, 15])
    make_store(pending=(8, 13))
    make_store(pending=())
    np.testing.assert_array_equal(array.read([8, 15]), before)
    with pytest.raises(RowNotReadyError):
        array[13]  # a store is what it was when it was opened
    FeatureStore.open(tiny_store.path)[tiny_store.specs[0]][13]
