import os
import subprocess
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore import FeatureSpec
from featurestore.errors import (
    RowNotReadyError,
    RunError,
    SettingsError,
    StoreFormatError,
    StoreLockedError,
    StoreMismatchError,
)
from featurestore.inspect.data_quality import check
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import grid
from featurestore.specs.kinds import parse_spec
from featurestore.storage.local import LocalFiles
from featurestore.writer import StoreWriter
from pipeline.audio import ffmpeg, libsndfile
from pipeline.audio.clip import Cropper
from pipeline.audio.decode import DECODERS, read_track
from pipeline.catalogs import Catalog
from pipeline.features.plan import arrange
from pipeline.run.run import preview, run
from pipeline.run.settings import FailureLimit, RunSettings

SR = 8000
FLOAT32 = defaultdict(lambda: Encoding(name="float32"))
SPECS = grid(sr=[SR], n_mels=[16, 8], hop=[1, 2], log=["db"])


@pytest.fixture
def music(tmp_path):
    """A folder of 20 short WAV files, each of another sound, and its catalog."""
    folder = tmp_path / "music"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        samples = rng.uniform(-0.5, 0.5, SR + 100 * number).astype(np.float32)
        soundfile.write(folder / f"{number:02}.wav", samples, SR)
    return folder


def catalog_of(folder):
    paths = sorted(path.name for path in folder.iterdir())
    return Catalog(
        name="music",
        root=str(folder),
        track_id=[path.rsplit(".", 1)[0] for path in paths],
        path=paths,
        split=[("train", "validation", "test")[i % 3] for i in range(len(paths))],
        tags=("even",),
        labels=np.array([[1 - i % 2] for i in range(len(paths))], np.uint8),
    )


@pytest.fixture
def featurize(tmp_path, music, scheduler):
    """Run on the folder as it is now; the store is ``store.zarr`` unless told otherwise."""

    def featurize(specs=SPECS, store="store.zarr", folder=music, **settings):
        window = settings.pop("window", Excerpt(duration=1.0))
        return run(
            catalog_of(folder),
            str(tmp_path / store),
            specs,
            RunSettings(window=window, scheduler=scheduler, **settings),
        )

    return featurize


def contents(store):
    """Everything a store holds: all files' bytes by path."""
    root = Path(store.path)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_run_writes_every_clip_at_every_spec(featurize):
    summary = featurize()
    assert (summary.n_clips, summary.n_ready, summary.n_computed) == (20, 20, 20)
    assert summary.failures == ()
    store = summary.store
    assert store.specs == list(SPECS)
    for spec in SPECS:
        assert store[spec].shape == (20, spec.n_mels, spec.n_frames(SR))
        assert store[spec].ready.all()


def test_values_are_those_of_the_clip_rounded_to_the_encoding(featurize, music):
    store = featurize().store
    for row in (0, 7, 19):
        track = read_track(str(music / f"{row:02}.wav"), Excerpt(take="all"))
        clip = Cropper(track.samples, track.sr, Excerpt(duration=1.0)).clip()
        for spec, values, _ in arrange(SPECS).compute(clip, "native", FLOAT32):
            np.testing.assert_array_equal(store[spec][row], values.astype("f2").astype("f4"))


def test_with_views_only_what_cannot_be_derived_is_stored(featurize):
    specs = grid(sr=[SR], n_mels=[16], hop=[1, 2, 3], log=["db", "log"])
    whole, lean = featurize(specs), featurize(specs, store="views.zarr", views=True)
    (stored,) = lean.store.specs
    assert (stored.hop, stored.log) == (1, "db")
    assert lean.store.views == [spec for spec in specs if spec != stored]
    assert (lean.n_ready, lean.n_computed) == (20, 20)
    for spec in specs:
        served, expected = (run.store[spec].read(range(20)) for run in (lean, whole))
        if spec.log == "db":
            np.testing.assert_array_equal(served, expected)
        else:
            bound = lean.store[spec].max_error + whole.store[spec].max_error
            assert np.abs(served - expected).max() <= bound
    again = featurize(specs, store="views.zarr", views=True)
    assert again.n_computed == 0
    assert again.store.views == lean.store.views


def test_views_are_served_from_what_a_store_holds_already(featurize):
    x1, x2 = grid(sr=[SR], n_mels=[16], hop=[1, 2], log=["db"])
    featurize([x1])
    added = featurize([x2], views=True)
    assert (added.store.specs, added.store.views, added.n_computed) == ([x1], [x2], 0)
    stored = featurize([x2])  # asked for without --views, it is stored all the same
    assert (stored.store.specs, stored.store.views, stored.n_computed) == ([x1, x2], [], 20)


@pytest.mark.parametrize("other", [{"encoding": Encoding(name="uint8")}, {"backend": "librosa"}])
def test_a_view_is_not_served_from_what_was_made_otherwise(featurize, music, other):
    x1, x2, x4 = grid(sr=[SR], n_mels=[16], hop=[1, 2, 4], log=["db"])
    featurize([x1])
    featurize([x2], **other)
    soundfile.write(music / "99.wav", np.zeros(SR), SR)
    summary = featurize([x1, x4], views=True)
    assert (summary.store.specs, summary.n_ready) == ([x1, x2, x4], 21)
    assert summary.store[x4].encoding == "float16"
    # The new track has no row where it would be of another making.
    assert [int(summary.store[spec].ready.sum()) for spec in (x1, x2, x4)] == [21, 20, 21]
    np.testing.assert_array_equal(summary.store[x4][20], summary.store[x1][20][:, ::4])


def test_new_tracks_are_computed_for_what_views_are_served_from(featurize, music):
    x1, x2 = grid(sr=[SR], n_mels=[16], hop=[1, 2], log=["db"])
    featurize([x1, x2], views=True)
    soundfile.write(music / "99.wav", np.zeros(SR), SR)
    summary = featurize([x2], views=True)
    assert summary.n_computed == 1
    assert summary.store[x1].ready.sum() == summary.store[x2].ready.sum() == 21


def test_the_clip_table_says_what_was_taken_from_where(featurize, music):
    clips = featurize(window=Excerpt(duration=1.1)).store.clips
    assert list(clips["clip_id"]) == [f"{n:02}" for n in range(20)]
    assert list(clips["path"]) == [f"{n:02}.wav" for n in range(20)]
    assert list(clips["even"]) == [1, 0] * 10
    assert set(clips["status"]) == {"ready"}
    assert set(clips["sr"]) == {SR}
    # 1.1 s are 8800 samples; clip n has 8000 + 100 n
    assert list(clips["n_valid"]) == [min(8800, 8000 + 100 * n) for n in range(20)]
    assert list(clips["start"]) == [max(0, 100 * n - 800) // 2 for n in range(20)]
    assert clips["digest"].nunique() == 20


def test_the_padding_of_a_short_clip_is_told_from_audio(featurize, music):
    store = featurize(window=Excerpt(duration=1.1)).store
    for spec in SPECS:
        array = store[spec]
        for row, n_frames in enumerate(array.n_valid_frames):
            assert n_frames == -(-min(8800, 8000 + 100 * row) // spec.hop_length)
            assert (array[row][:, :n_frames] > -60).all()
            # half a window beyond, the noise is heard no more
            assert (array[row][:, n_frames + 1 :] == -100).all()


def test_the_same_audio_in_two_splits_is_reported(featurize, music):
    (music / "07.wav").write_bytes((music / "00.wav").read_bytes())  # validation, as 00 is train
    soundfile.write(music / "99.wav", np.zeros(SR), SR)
    checks = check(featurize().store)
    (leak,) = checks.leaks
    assert (leak.what, leak.n_clips, leak.examples) == ("audio", 2, ("00",))
    assert (checks.n_duplicates, checks.n_silent) == (1, 1)


def test_running_again_does_nothing_and_changes_no_byte(featurize):
    before = contents(featurize().store)
    again = featurize()
    assert (again.n_ready, again.n_computed) == (20, 0)
    assert contents(again.store) == before


def test_new_specs_are_added_from_one_decode_and_equal_a_fresh_run(featurize):
    featurize(SPECS[:1])
    added = featurize(SPECS)
    assert added.n_computed == 20
    fresh = featurize(SPECS, store="fresh.zarr").store
    rows = np.arange(20)
    for spec in SPECS:
        np.testing.assert_array_equal(added.store[spec].read(rows), fresh[spec].read(rows))


def test_new_tracks_are_appended_and_only_they_are_decoded(featurize, music):
    first = featurize().store
    kept = first[SPECS[0]].read(range(20))
    for name in ("zz1", "zz2"):
        samples = np.random.default_rng(9).uniform(-1, 1, SR).astype(np.float32)
        soundfile.write(music / f"{name}.wav", samples, SR)
    summary = featurize()
    assert (summary.n_clips, summary.n_ready, summary.n_computed) == (22, 22, 2)
    np.testing.assert_array_equal(summary.store[SPECS[0]].read(range(20)), kept)
    fresh = featurize(store="fresh.zarr").store
    np.testing.assert_array_equal(
        summary.store[SPECS[0]].read(range(22)), fresh[SPECS[0]].read(range(22))
    )


def test_changed_audio_is_computed_again_and_touched_audio_is_not(featurize, music):
    before = featurize().store[SPECS[0]]
    soundfile.write(music / "03.wav", np.zeros(SR, np.float32), SR)
    os.utime(music / "05.wav", ns=(1, 1))
    summary = featurize()
    assert (summary.n_computed, summary.n_ready) == (1, 20)
    after = summary.store[SPECS[0]]
    assert (after[3] == -100).all()
    others = [row for row in range(20) if row != 3]
    np.testing.assert_array_equal(after.read(others), before.read(others))


def test_what_failed_is_tried_again_when_other_decoders_are_there(featurize, music, monkeypatch):
    (music / "03.wav").write_bytes(b"no audio" * 100)
    assert featurize().n_computed == 20
    again = featurize()
    assert (again.n_computed, len(again.failures)) == (0, 1)
    assert again.store.clips["decoder"][3] == DECODERS
    monkeypatch.setattr("pipeline.run.missing.DECODERS", "libsndfile 9")
    again = featurize()
    assert (again.n_computed, len(again.failures)) == (1, 1)


def test_the_table_names_what_decoded_each_clip(featurize, music):
    av = pytest.importorskip("av")
    with av.open(str(music / "99.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=SR, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, SR), 0.5, np.float32), "fltp", "mono")
        frame.sample_rate = SR
        for packet in (stream.encode(frame), stream.encode(None)):
            file.mux(packet)
    clips = featurize().store.clips
    assert set(clips["decoder"][:20]) == {libsndfile.DECODER}
    assert clips["decoder"][20] == ffmpeg.decoder()


def test_changed_audio_is_pending_for_specs_not_asked_for(featurize, music):
    featurize(SPECS)
    soundfile.write(music / "03.wav", np.zeros(SR, np.float32), SR)
    store = featurize(SPECS[:1]).store
    assert (store[SPECS[0]][3] == -100).all()
    with pytest.raises(RowNotReadyError, match=r"row 3 of .* \(03\) holds no values yet"):
        store[SPECS[-1]][3]
    assert store.clips["status"][3] == "pending"
    assert (featurize(SPECS).store[SPECS[-1]][3] == -100).all()


def test_more_specs_than_memory_holds_are_computed_one_batch_after_the_other(
    featurize, music, monkeypatch
):
    whole = contents(featurize().store)
    monkeypatch.setattr("pipeline.run.layouts._TASK_NBYTES", 1)
    summary = featurize(store="batches.zarr")
    assert contents(summary.store) == whole
    assert summary.n_computed == len(SPECS) * len(summary.store.clips)
    soundfile.write(music / "03.wav", np.zeros(SR, np.float32), SR)
    store = featurize(SPECS[:1], store="batches.zarr").store
    assert store[SPECS[0]].ready[3]
    assert not store[SPECS[1]].ready[3]


def test_a_run_with_nothing_to_do_reads_each_record_once_and_writes_nothing(featurize, monkeypatch):
    before = contents(featurize().store)
    keys = []
    opened = LocalFiles.open

    def counted(self, key):
        keys.append(key)
        return opened(self, key)

    monkeypatch.setattr(LocalFiles, "open", counted)
    summary = featurize()
    assert summary.n_computed == 0
    records = [key for key in keys if key.startswith("commits/c/")]
    assert (
        len(records)
        == len(set(records))
        == summary.store.metadata.division.n_shards(summary.n_clips)
    )
    assert [summary.store[spec].ready.sum() for spec in SPECS] == [summary.n_ready] * len(SPECS)
    assert keys.count("clips/path/c/0") == 1
    assert contents(summary.store) == before


def test_audio_that_changed_unseen_is_found_out_when_it_is_decoded_again(featurize, music):
    """Same size and time of change, other bytes: only reading it tells."""
    featurize(SPECS[:1])
    times = os.stat(music / "03.wav")
    sr_samples = (times.st_size - 44) // 2
    soundfile.write(music / "03.wav", np.zeros(sr_samples, np.float32), SR)
    assert os.path.getsize(music / "03.wav") == times.st_size
    os.utime(music / "03.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    store = featurize(SPECS[1:2]).store  # adds a spec
    assert (store[SPECS[1]][3] == -100).all()
    assert not store[SPECS[0]].ready[3]  # made of the old bytes
    both = featurize(SPECS[:2])
    assert both.n_computed == 1
    assert (both.store[SPECS[0]][3] == -100).all()


def test_audio_that_changed_unseen_takes_back_specs_of_the_same_run(featurize, music):
    featurize(SPECS[:1])
    times = os.stat(music / "03.wav")
    soundfile.write(music / "03.wav", np.zeros((times.st_size - 44) // 2, np.float32), SR)
    os.utime(music / "03.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    store = featurize(SPECS[:2]).store  # the first one's row is kept, as far as one sees
    assert (store[SPECS[1]][3] == -100).all()
    assert not store[SPECS[0]].ready[3]
    assert (featurize(SPECS[:2]).store[SPECS[0]][3] == -100).all()


def test_audio_that_cannot_be_read_any_more_leaves_what_was_made_of_it(featurize, music):
    made = featurize(SPECS[:1]).store[SPECS[0]][3]
    (music / "03.wav").unlink()
    (music / "03.wav").mkdir()
    summary = featurize(SPECS)
    assert [(f.clip_id, f.reason) for f in summary.failures] == [("03", "Unreadable")]
    np.testing.assert_array_equal(summary.store[SPECS[0]][3], made)
    assert not summary.store[SPECS[1]].ready[3]


def test_audio_that_was_replaced_by_something_bad_fails(featurize, music):
    featurize(SPECS)
    (music / "03.wav").write_bytes(b"")
    assert [f.reason for f in featurize(SPECS).failures] == ["EmptyFile"]
    again = featurize(SPECS)
    assert again.n_computed == 0
    assert again.store.clips["status"][3] == "failed"


def test_removed_tracks_are_kept(featurize, music):
    made = featurize().store[SPECS[0]][3]
    (music / "03.wav").unlink()
    summary = featurize()
    assert (summary.n_clips, summary.n_ready, summary.n_computed) == (19, 19, 0)
    assert summary.store.n_clips == 20
    np.testing.assert_array_equal(summary.store[SPECS[0]][3], made)


def test_bad_tracks_become_rows_with_a_reason_and_their_neighbours_are_done(featurize, music):
    (music / "02.wav").write_bytes(b"")
    (music / "04.wav").write_text("not music" * 100)
    whole = (music / "06.wav").read_bytes()
    (music / "06.wav").write_bytes(whole[:4000])
    soundfile.write(music / "08.wav", np.full(SR, np.nan, np.float32), SR, subtype="FLOAT")
    (music / "10.wav").unlink()
    (music / "10.wav").mkdir()
    soundfile.write(music / "12.wav", np.ones(SR // 10, np.float32), SR)
    summary = featurize(window=Excerpt(duration=1.0, short="skip"))
    assert {failure.clip_id: failure.reason for failure in summary.failures} == {
        "02": "EmptyFile",
        "04": "DecodeError",
        "06": "TruncatedAudio",
        "08": "NonFinite",
        "10": "Unreadable",
        "12": "TooShort",
    }
    assert summary.n_ready == 14
    bad = [2, 4, 6, 8, 10, 12]
    store = summary.store
    assert list(np.flatnonzero(~store[SPECS[0]].ready)) == bad
    assert list(store.clips["status"][bad]) == ["failed"] * 6
    with pytest.raises(RowNotReadyError, match=r"row 2 of .* \(02\) .* EmptyFile: 0 bytes"):
        store[SPECS[0]][2]
    store[SPECS[0]].read([row for row in range(20) if row not in bad])


def test_a_failed_track_is_tried_again_only_once_its_file_has_changed(featurize, music):
    (music / "02.wav").write_bytes(b"")
    assert featurize().n_computed == 20
    assert featurize().n_computed == 0
    soundfile.write(music / "02.wav", np.zeros(SR, np.float32), SR)
    summary = featurize()
    assert (summary.n_computed, summary.n_ready, summary.failures) == (1, 20, ())


def test_other_settings_for_a_stored_spec_are_refused(featurize):
    before = contents(featurize().store)
    with pytest.raises(StoreMismatchError, match="encoding is float16 there, not float32"):
        featurize(encoding=Encoding(name="float32"))
    with pytest.raises(StoreMismatchError, match="backend is native there, not librosa"):
        featurize(backend="librosa")
    with pytest.raises(StoreMismatchError, match=r"duration is 1\.0 there, not 2\.0"):
        featurize(window=Excerpt(duration=2.0))
    assert contents(featurize().store) == before


def test_a_folder_that_is_no_store_is_left_alone(featurize, tmp_path, music):
    names = sorted(os.listdir(music))
    with pytest.raises(StoreFormatError, match="is not a melgrid store and not empty"):
        featurize(store="music")
    assert sorted(os.listdir(music)) == names
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreFormatError, match="is not a melgrid store"):
        featurize(store="file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_run_is_refused_while_the_first_goes_on(featurize, tmp_path):
    with (
        StoreWriter(tmp_path / "store.zarr", Excerpt(duration=1.0)),
        pytest.raises(StoreLockedError, match=rf"process {os.getpid()} on "),
    ):
        featurize()
    assert featurize().n_ready == 20


def test_backends_give_the_same_store_within_rounding(featurize):
    native = featurize().store
    other = featurize(store="librosa.zarr", backend="librosa").store
    for spec in SPECS:
        np.testing.assert_allclose(
            other[spec].read(range(20)), native[spec].read(range(20)), atol=0.04
        )  # half a unit of float16 at 64 dB


def test_a_store_that_cannot_be_written_to_is_said_so(tmp_path, music, scheduler):
    """A real full disk: a file system of 1 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(mount)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    try:
        settings = RunSettings(
            window=Excerpt(duration=1.0),
            encoding=Encoding(name="float32"),
            scheduler=scheduler,
        )
        specs = [FeatureSpec.parse("sr8000-mel24-hop32-db")]
        with pytest.raises(RunError, match="No space left on device"):
            run(catalog_of(music), str(mount / "store.zarr"), specs, settings)
    finally:
        # Lazily: a task of the run that failed may still be at its last write.
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("5%", 1), ("0%", 0), ("100%", 20), ("0", 0), ("3", 3)],
)
def test_a_failure_limit_is_a_share_or_a_number(text, allowed):
    limit = FailureLimit.parse(text)
    for n_failed in range(21):
        assert limit.allows(n_failed, n_clips=20) == (n_failed <= allowed)


@pytest.mark.parametrize("text", ["", "many", "-1", "101%", "nan%", "1.5"])
def test_what_is_no_failure_limit_is_refused(text):
    with pytest.raises(SettingsError, match="max-failures is"):
        FailureLimit.parse(text)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="workers is 0; it must be at least 1"):
        RunSettings(workers=0)
    with pytest.raises(SettingsError, match="timeout is 0 s"):
        RunSettings(timeout=0)


def test_a_preview_says_shapes_bytes_and_tasks(music):
    settings = RunSettings(window=Excerpt(duration=1.0))
    planned = preview(catalog_of(music), SPECS, settings).json()
    assert (planned["clips"], planned["tasks"], planned["clips_per_task"]) == (20, 3, 8)
    # 8000 samples are 32 frames at x1 and 16 at x2; two bytes a value
    assert [spec["bytes_per_clip"] for spec in planned["specs"]] == [
        16 * 32 * 2, 16 * 16 * 2, 8 * 32 * 2, 8 * 16 * 2,
    ]  # fmt: skip
    assert planned["specs"][0]["shape"] == [20, 16, 32]


def test_all_cuts_a_track_into_consecutive_clips(featurize, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 2.5), ("b", 0.5), ("c", 3.0)):
        samples = rng.uniform(-0.5, 0.5, round(seconds * SR)).astype(np.float32)
        soundfile.write(folder / f"{name}.wav", samples, SR)
    (folder / "d.wav").write_bytes(b"")
    window = Excerpt(duration=1.0, take="all")
    others = ("wave", "stft512-x1-db", "fbank16-hop80-win200")
    specs = (*SPECS, *(parse_spec(f"sr{SR}-{name}") for name in others))
    summary = featurize(specs, folder=folder, window=window)
    clips = summary.store.clips
    assert summary.store.window.duration == 0.96  # a whole number of x2 hops
    ids = ["a#000", "a#001", "a#002", "b#000", "c#000", "c#001", "c#002", "c#003", "d#000"]
    assert list(clips["clip_id"]) == ids
    assert list(clips["start"][:3]) == [0, 7680, 15360]
    assert list(clips["n_valid"][:4]) == [7680, 7680, 20000 - 15360, 4000]
    assert [failure.clip_id for failure in summary.failures] == ["d#000"]
    for spec in specs:
        array = summary.store[spec]
        tiles = array.read([0, 1, 2])
        assert tiles.shape[2] == Fraction(7680, SR) / spec.frame_step
        track = read_track(str(folder / "a.wav"), Excerpt(take="all"))
        whole = Cropper(track.samples, SR, Excerpt(duration=2.5)).clip()
        ((_, expected, _),) = arrange([spec]).compute(whole, "native", FLOAT32)
        joined = np.concatenate(list(tiles), axis=1)[:, : expected.shape[1]]
        encoding, rounded = array.layout.encoding, np.empty_like(expected)
        encoding.decode(encoding.encode(expected, spec.value_range), rounded, spec.value_range)
        np.testing.assert_array_equal(joined, rounded)
    assert featurize(specs, folder=folder, window=window).n_computed == 0
    soundfile.write(folder / "b.wav", np.zeros(SR, np.float32), SR)
    grown = featurize(specs, folder=folder, window=window)
    assert grown.n_computed == 2
    assert list(grown.store.clips["clip_id"][9:]) == ["b#001"]
    assert (grown.store[SPECS[0]][9] == -100).all()


def test_pruned_clips_are_no_longer_read_and_come_back_without_work(featurize, music):
    made = featurize().store[SPECS[0]][3]
    audio = (music / "03.wav").read_bytes()
    times = os.stat(music / "03.wav")
    (music / "03.wav").unlink()
    assert featurize().n_left == 1
    pruned = featurize(prune=True)
    assert (pruned.n_left, pruned.n_clips, pruned.store.n_clips) == (0, 19, 20)
    assert not pruned.store[SPECS[0]].ready[3]
    with pytest.raises(RowNotReadyError, match=r"\(03\) was pruned"):
        pruned.store[SPECS[0]][3]
    assert pruned.store.clips["active"][3] == 0
    (music / "03.wav").write_bytes(audio)
    os.utime(music / "03.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    back = featurize()
    assert (back.n_computed, back.n_ready) == (0, 20)
    np.testing.assert_array_equal(back.store[SPECS[0]][3], made)


def test_a_damaged_row_is_made_anew_when_its_shard_is_written_again(featurize, music):
    made = featurize().store[SPECS[0]].read(range(20))
    shard = Path(featurize().store.path, SPECS[0].name, "values/c/2/0/0")
    data = bytearray(shard.read_bytes())
    data[10] ^= 1  # in the first row of the last shard
    shard.write_bytes(data)
    soundfile.write(music / "zz.wav", np.zeros(SR, np.float32), SR)
    summary = featurize()
    assert summary.n_computed == 2
    np.testing.assert_array_equal(summary.store[SPECS[0]].read(range(20)), made)
