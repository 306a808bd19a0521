"""Waveforms through the store: clips of several chunks, of which those wanted are read."""

import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import CorruptDataError
from featurestore.export import export
from featurestore.export.selection import Selection
from featurestore.format.commits import ClipRecord, read_commit
from featurestore.format.division import Division
from featurestore.format.shard import pack, tail_nbytes, unpack
from featurestore.format.statistics import statistics_of
from featurestore.inspect.diff import diff
from featurestore.maintenance.garbage import collect, find_garbage
from featurestore.maintenance.repair import repair
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.waveform import WaveformSpec
from featurestore.storage.local import LocalFile
from featurestore.writer import StoreWriter
from pipeline.run.task import Job, ShardTask, compute_shard

READY = [row for row in range(20) if row not in (5, 13)]
INT16 = Encoding(name="int16")
WINDOW = Excerpt(duration=0.5)
WAVE = WaveformSpec(sr=44100)
"""Of 22050 samples: three chunks a clip."""


@pytest.fixture
def store(wave_store, tmp_path):
    """A copy of `wave_store`, to be injured."""
    return FeatureStore.open(shutil.copytree(wave_store.path, tmp_path / "store.zarr"))


@pytest.fixture
def shard(store):
    """The second shard's file: rows 8 to 15."""
    return Path(store.path, store.layouts[WAVE].shard_key(1))


def shards_of(store):
    return {key: store.files.read(key) for key in map(store.layouts[WAVE].shard_key, range(3))}


@pytest.fixture(scope="module")
def whole(wave_store):
    """All codes, by zarr-python."""
    import zarr

    return zarr.open_array(f"{wave_store.path}/{WAVE.name}/values")[...]


@given(drawn=st.data())
def test_windows_across_chunks_are_slices_of_the_whole(wave_store, whole, drawn):
    array = wave_store[WAVE]
    assert array.shape == whole.shape == (20, 1, 22050)
    rows = drawn.draw(st.lists(st.sampled_from(READY), max_size=5))
    length = drawn.draw(st.integers(1, 22050) | st.sampled_from([1, 2, 8192, 8193, 16385]))
    starts = st.integers(0, 22050 - length) | st.sampled_from(
        [s for s in (0, 8191, 8192, 16384, 22049) if s + length <= 22050] or [0]
    )
    start = drawn.draw(st.lists(starts, min_size=len(rows), max_size=len(rows)))
    values = array.read(rows, start=start, length=length)
    assert values.shape == (len(rows), 1, length)
    for got, row, first in zip(values, rows, start, strict=True):
        wanted = whole[row, :, first : first + length].astype(np.float32) / 32768
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("encoding", WAVE.encodings)
def test_waveforms_of_every_encoding_and_codec_are_read_back(make_store, codec, encoding):
    store = make_store(specs=[WAVE], codec=Codec(name=codec), encoding=Encoding(name=encoding))
    array = pickle.loads(pickle.dumps(store[WAVE]))
    expected = [make_store.expected(store.table.clip_id[row], array.layout) for row in (0, 19)]
    np.testing.assert_array_equal(array.read([0, 19]), expected)
    assert store.verify().is_healthy


@pytest.mark.parametrize("step", [2, 3, 7])
def test_every_kth_frame_is_cut_from_several_chunks(make_store, monkeypatch, step):
    """Of mel-spectrograms that were divided, too: chunks of five frames, of 16."""
    monkeypatch.setattr(FeatureSpec, "chunk_frames", lambda self, n: min(n, 5))
    stored, view = (FeatureSpec(sr=8000, n_mels=8, hop=hop) for hop in (1, step))
    store = make_store(specs=[stored])
    there, derived = store[stored][3], store[view]
    assert store.layouts[stored].chunks_per_clip == 4
    for start in range(derived.shape[2]):
        for length in range(1, derived.shape[2] - start + 1):
            wanted = there[:, ::step][:, start : start + length]
            np.testing.assert_array_equal(derived.read([3], start, length)[0], wanted)


@pytest.mark.parametrize(
    ("start", "length", "n_chunks"),
    [(0, 1, 1), (0, 8192, 1), (0, 8193, 2), (8191, 2, 2), (8192, 8192, 1), (0, 22050, 3)],
)
def test_only_chunks_that_are_wanted_are_read(wave_store, monkeypatch, start, length, n_chunks):
    array, reads = wave_store[WAVE], []
    array.read([0], length=1)  # the index
    read_at = LocalFile.read_at
    monkeypatch.setattr(
        LocalFile, "read_at", lambda self, *place: reads.append(place) or read_at(self, *place)
    )
    array.read([2], start=start, length=length)
    assert len(reads) == n_chunks
    layout = array.layout
    most = n_chunks * layout.frames_per_chunk * 2 + n_chunks * 20
    assert sum(nbytes for _, nbytes in reads) <= most


def test_a_window_of_some_seconds_reads_at_most_half_more_than_itself():
    """Of 29.1 s at 16 kHz, wherever the window of 59049 samples begins."""
    in_chunk = WaveformSpec(sr=16000).chunk_frames(465_600)
    first = np.arange(465_600 - 59_049 + 1)
    n_chunks = (first + 59_048) // in_chunk - first // in_chunk + 1
    assert n_chunks.max() * in_chunk <= 1.5 * 59_049
    assert n_chunks.mean() * in_chunk <= 1.15 * 59_049


def test_every_damaged_byte_is_found_before_its_values_are_given(store, shard):
    """Each row reads as it was, or not at all, whichever byte of its shard is changed."""
    rows = [8, 9, 10, 11, 12, 14, 15]
    before = store[WAVE].read(rows)
    data = shard.read_bytes()
    tail = len(data) - tail_nbytes(8, 3)
    for place in [*range(0, tail, tail // 20), *range(tail, len(data), 7)]:
        shard.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        array, intact = FeatureStore.open(store.path)[WAVE], 0
        for row, values in zip(rows, before, strict=True):
            try:
                np.testing.assert_array_equal(array[row], values)
                intact += 1
            except CorruptDataError:
                continue
        assert intact == (len(rows) - 1 if place < tail else 0)
        assert not FeatureStore.open(store.path).verify(quick=place >= tail).is_healthy


def test_damage_of_one_chunk_leaves_the_others_of_the_clip(store, shard):
    layout = store.layouts[WAVE]
    clips = unpack(shard.read_bytes(), *layout.rows_and_chunks, "")
    first, second, third = clips[1]
    clips[1] = first, second[:9] + bytes([second[9] ^ 1]) + second[10:], third
    shard.write_bytes(b"".join(pack(clips, *layout.rows_and_chunks)))
    array = FeatureStore.open(store.path)[WAVE]
    array.read([9], start=0, length=8192)
    array.read([9], start=16384, length=100)
    with pytest.raises(CorruptDataError, match=r"clip 1: the checksum does not match"):
        array.read([9], start=8000, length=200)
    [damage] = store.verify().damage
    assert (damage.rows, damage.spec) == ((9,), WAVE.name)


def test_undamaged_chunks_in_the_place_of_others_are_told_in_any_window(store, shard):
    layout = store.layouts[WAVE]
    clips = unpack(shard.read_bytes(), *layout.rows_and_chunks, "")
    a, b, c = clips[1]
    for other in ((b, a, c), (a, b, clips[2][2]), clips[2]):
        shard.write_bytes(b"".join(pack([clips[0], other], *layout.rows_and_chunks)))
        array = FeatureStore.open(store.path)[WAVE]
        for start in (0, 8192, 16384):
            with pytest.raises(CorruptDataError, match="clip 1: other values than those committed"):
                array.read([9], start=start, length=10)
        found = {d.detail: d.rows for d in FeatureStore.open(store.path).verify().damage}
        assert found["other values than those committed"] == (9,)


def test_what_is_repaired_and_made_again_is_as_before(store, shard, make_store):
    before = shards_of(store)
    data = shard.read_bytes()
    shard.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    assert repair(store).is_repaired
    assert np.flatnonzero(~FeatureStore.open(store.path)[WAVE].ready).tolist() == [5, 8, 13]
    assert compute(store, 1, make_store) == [store.table.clip_id[8]]
    again = FeatureStore.open(store.path)
    assert again[WAVE].ready[8]
    assert shards_of(again) == before
    assert again.verify().is_healthy


def compute(store, shard, make_store, stop_before=None):
    """One task, from the values that `make_store` makes; which clips it made."""
    made = []

    def source(clip_id, path, tile, layouts):
        if len(made) == stop_before:
            raise KeyboardInterrupt
        made.append(clip_id)
        rows = {layout.spec: make_store.row(clip_id, layout) for layout in layouts}
        return make_store.record(clip_id), rows

    with StoreWriter(store.path, WINDOW) as writer:
        now = writer.store()
        division = now.metadata.division
        job = Job(
            store=store.path,
            run_id=writer.run_id,
            division=division,
            layouts=tuple(now.layouts.values()),
            window=WINDOW,
            backend="native",
            seed=0,
            timeout=60,
            software={"melgrid": "test"},
        )
        rows = range(now.n_clips)[8 * shard : 8 * shard + 8]
        paths = tuple(now.table.path[row] if row not in (5, 13) else None for row in rows)
        before = read_commit(now.files, division, shard)
        compute_shard(
            job,
            ShardTask(
                shard=shard,
                clip_ids=tuple(now.table.clip_id[row] for row in rows),
                paths=paths,
                tiles=(0,) * len(paths),
                may_train=(True,) * len(paths),
                before=before,
            ),
            source,
        )
        writer.publish()
    return made


def test_a_task_keeps_rows_that_are_there_byte_for_byte(store, shard, make_store):
    before = shards_of(store)
    assert compute(store, 1, make_store) == []
    clips = unpack(shard.read_bytes(), 8, 3, "")
    clips[2] = None
    shard.write_bytes(b"".join(pack(clips, 8, 3)))
    assert compute(store, 1, make_store) == [store.table.clip_id[10]]
    assert shards_of(FeatureStore.open(store.path)) == before


def test_a_task_that_dies_leaves_what_the_next_one_completes(store, shard, make_store):
    before = shards_of(store)
    shard.unlink()
    with pytest.raises(KeyboardInterrupt):
        compute(store, 1, make_store, stop_before=3)
    assert not shard.exists()
    assert len(compute(store, 1, make_store)) == 7
    assert shards_of(FeatureStore.open(store.path)) == before
    assert FeatureStore.open(store.path).verify().is_healthy


def test_a_stored_waveform_is_the_decoded_one_rounded(make_store, tmp_path, rng):
    """Bit for bit: of 16-bit audio at its own rate nothing is lost, of other rates the rounding."""
    noise = rng.normal(0, 0.2, 44100).clip(-0.99, 0.99)
    soundfile.write(tmp_path / "it.wav", noise, 44100, "PCM_16")
    audio, sr = soundfile.read(tmp_path / "it.wav", dtype="float32")
    for spec in (WaveformSpec(sr=44100), WaveformSpec(sr=16000)):
        samples = audio if spec.sr == sr else soxr.resample(audio, sr, spec.sr, "HQ")
        samples = samples[: WINDOW.n_samples(spec.sr)]
        [layout] = make_store.layouts([spec], INT16)
        codes = INT16.encode(samples[None], spec.value_range)
        row = layout.chunks_of(codes), statistics_of(samples[None])
        with StoreWriter(make_store.folder / f"{spec.sr}.zarr", WINDOW, Division.of(8)) as writer:
            now = writer.prepare(make_store.table(["a"]), [layout])
            job = Job(
                store=now.path, run_id=writer.run_id, division=now.metadata.division,
                layouts=(layout,), window=WINDOW, backend="native", seed=0, timeout=60, software={},
            )  # fmt: skip
            task = ShardTask(
                shard=0,
                clip_ids=("a",),
                paths=("a",),
                tiles=(0,),
                may_train=(True,),
                before=read_commit(now.files, job.division, 0),
            )  # fmt: skip
            record = ClipRecord(status="ready", sr=sr, n_valid=len(audio) // 2, digest="a", size=1)
            compute_shard(job, task, lambda *_, r=record, s=spec, row=row: (r, {s: row}))
            array = writer.publish()[spec]
        rounded = np.rint(samples * 32768).clip(-32767, 32767) / 32768
        np.testing.assert_array_equal(array[0][0], rounded.astype(np.float32))
        if spec.sr == sr:
            np.testing.assert_array_equal(array[0][0], samples)
        assert array.n_valid_frames[0] == array.shape[2]
        assert abs(array.statistics().std[0] - samples.std()) < 1e-6


def test_waveforms_are_exported(wave_store, whole, tmp_path):
    for encoding, scale in (("stored", 1), ("float32", 32768)):
        selection = Selection.of(wave_store, encoding=encoding)
        export(selection, f"{tmp_path}/{encoding}.h5", "hdf5")
        with h5py.File(f"{tmp_path}/{encoding}.h5") as file:
            values = file[WAVE.name]["values"]
            assert values.chunks == (1, 1, 8192)
            np.testing.assert_array_equal(values[READY], whole[READY].astype("f4") / scale)
            assert [dimension.label for dimension in values.dims] == ["clip", "channel", "time"]
        export(selection, f"{tmp_path}/{encoding}", "memmap")
        values = np.load(tmp_path / encoding / WAVE.name / "values.npy", mmap_mode="r")
        np.testing.assert_array_equal(values[READY], whole[READY].astype("f4") / scale)


def test_a_store_of_waveforms_is_compared_and_tidied_as_any(store, make_store):
    assert find_garbage(store) == ()
    other = make_store("other.zarr", specs=[WAVE], encoding=Encoding(name="float32"))
    [found] = diff(store, other).specs
    assert (found.n_compared, 0 < found.max <= INT16.max_error((-1, 1))) == (18, True)
    keys = make_store.layouts([WAVE], INT16)[0].shard_key(0)
    ids = [f"clip {i:02}" for i in range(20)]
    make_store("store.zarr", ids=ids[2:], specs=[WAVE], encoding=INT16, failed=(), pending=(),
               prune=True)  # fmt: skip
    pruned = FeatureStore.open(store.path)
    size = pruned.files.size(keys)
    collect(pruned)
    assert pruned.files.size(keys) < size
    assert FeatureStore.open(store.path).verify().is_healthy
