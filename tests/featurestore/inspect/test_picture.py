import struct

import matplotlib.image
import numpy as np
import pytest

from featurestore.errors import RowNotReadyError, SpecError, UnknownSpecError
from featurestore.inspect.picture import (
    MOST,
    _height,
    draw_clip,
    draw_thumbnail,
    file_stem,
    shortened,
    tags_of,
    valid_seconds,
)
from featurestore.specs.mel import FeatureSpec

LAWS = ("db", "log")


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_a_clip_is_drawn_at_all_specs_finest_first(shared_store, tmp_path):
    picture = draw_clip(shared_store, 3, tmp_path / "clip.png")
    assert (picture.row, picture.clip_id) == (3, "clip 03")
    assert [spec.name for spec in picture.specs] == [
        "sr8000-mel16-x1-db", "sr8000-mel8-x2-db", "sr8000-mel8-x2-log",
    ]  # fmt: skip
    assert picture.left_out == ()
    width, height = size_of(picture.path.read_bytes())
    assert width > 3 * 400
    assert height < width


def test_views_are_drawn_and_one_spectrogram_takes_less_room(shared_store, tmp_path):
    one = draw_clip(shared_store, 3, tmp_path / "one.png", ["sr8000-mel8-x4-log"])
    assert [spec.hop for spec in one.specs] == [4]
    assert one.left_out == ()
    assert size_of(one.path.read_bytes())[0] < 800


def test_without_a_path_the_file_is_named_after_the_clip(shared_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(draw_clip(shared_store, 3).path) == "clip-03.png"
    assert (tmp_path / "clip-03.png").exists()


def test_more_specs_than_fit_are_left_out_and_said(make_store, tmp_path):
    specs = [
        FeatureSpec(sr=8000, n_mels=n, hop=1, log=log)
        for n in range(8, 19)
        for log in ("db", "log")
    ]
    store = make_store(specs=specs, ids=["a"], failed=(), pending=())
    picture = draw_clip(store, 0, tmp_path / "many.png")
    assert len(picture.specs) == MOST
    assert [picture.specs[0].n_mels, picture.specs[-1].n_mels] == [18, 8]
    assert {spec.log for spec in picture.specs} == {"db"}  # one of both laws is enough
    assert {*picture.specs, *picture.left_out} == set(specs)


@pytest.mark.parametrize("htk", [False, True])
def test_a_loud_band_is_drawn_at_its_frequency(tmp_path, htk):
    """Found again in the picture, by the ticks that stand beside it."""
    spec = FeatureSpec(sr=16000, n_mels=48, hop=1, log="db", htk=htk)
    values = np.full((48, 100), -60, np.float32)
    band = int(np.argmin(abs(spec.mel_frequencies - 2000)))
    values[band] = 20
    path = tmp_path / "band.png"
    path.write_bytes(draw_thumbnail(spec, values, 1.6))
    pixels = matplotlib.image.imread(path)[..., :3]
    column = pixels[:, pixels.shape[1] // 2]
    inside = np.flatnonzero(abs(column - 1).sum(1) > 0.3)  # between the frame's lines
    bright = np.flatnonzero(column.sum(1) > 2.2)
    bright = bright[(bright > inside[0]) & (bright < inside[-1])]
    bright = bright[abs(bright - np.median(bright)) < 10]
    top, bottom = inside[0], np.flatnonzero(column.sum(1) < 0.3)[-1]
    found = (bottom - bright.mean()) / (bottom - top)
    expected = _height(spec.mel_frequencies[[band]], 8000.0)[0]
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("row", "message"), [(5, "EmptyFile: 0 bytes"), (13, "holds no values yet")]
)
def test_a_clip_that_is_not_ready_is_refused(shared_store, tmp_path, row, message):
    with pytest.raises(RowNotReadyError, match=message):
        draw_clip(shared_store, row, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_specs_that_cannot_be_had_are_refused(shared_store, tmp_path):
    with pytest.raises(UnknownSpecError, match="it holds sr8000-mel16-x1-db"):
        draw_clip(shared_store, 0, tmp_path / "none.png", ["sr8000-mel32-x1-db"])
    with pytest.raises(SpecError, match="'mel' is not a spec's name"):
        draw_clip(shared_store, 0, tmp_path / "none.png", ["mel"])


@pytest.mark.filterwarnings("error")
def test_ids_are_text_and_no_formula_in_any_script(make_store, tmp_path):
    store = make_store(ids=["$\\frac$.mp3"], tags=("$_$", "愛", "愛$\\x$"), failed=(), pending=())
    path = draw_clip(store, 0, tmp_path / "odd.png").path
    assert size_of(path.read_bytes())


def test_silence_and_one_frame_can_be_drawn():
    spec = FeatureSpec(sr=8000, n_mels=8, hop=2, log="db")
    assert size_of(draw_thumbnail(spec, np.full((8, 1), -100, np.float32), 0.05)) == (720, 300)


def test_padding_shows_in_the_picture(make_store, tmp_path):
    short = make_store("short.zarr", ids=["a"], failed=(), pending=())
    short.status["n_valid"][0] = short.status["sr"][0] // 10
    assert valid_seconds(short, 0) == pytest.approx(0.1)
    whole = make_store("whole.zarr", ids=["a"], failed=(), pending=())
    pictures = [
        matplotlib.image.imread(draw_clip(store, 0, tmp_path / f"{number}.png").path)
        for number, store in enumerate((short, whole))
    ]
    assert pictures[0].shape == pictures[1].shape
    differs = abs(pictures[0] - pictures[1]).sum(axis=(0, 2)) > 0
    assert 0.3 < differs.mean() < 0.95  # from the end of the audio on


def test_tags_are_those_the_clip_has(shared_store):
    clips = shared_store.clips
    for row in range(4):
        assert tags_of(shared_store, row) == [t for t in ("drums", "loud") if clips[t][row]]


@pytest.mark.parametrize(
    ("clip_id", "stem"),
    [
        ("audio/rock-001.mp3", "audio-rock-001"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b\n$c.WAV", "a-b-c"),
        ("...", "clip"),
        ("x.mp3#12", "x.mp3-12"),
        ("é愛", "é愛"),
        ("a" * 500, "a" * 100),
    ],
)
def test_a_files_name_holds_nothing_odd(clip_id, stem):
    assert file_stem(clip_id) == stem


def test_long_texts_lose_their_middle():
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert shortened("two\nlines", 20) == "two lines"
