import io
import struct

import matplotlib.image
import numpy as np
import pytest

from featurestore.errors import RowNotReadyError, SpecError, UnknownSpecError
from featurestore.inspect.choice import MOST
from featurestore.inspect.drawing import Panel
from featurestore.inspect.picture import (
    _arranged,
    draw_clip,
    draw_thumbnails,
    read_panels,
    valid_seconds,
)
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.specs.stft import StftSpec

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
    silence = Panel(spec=spec, values=np.full((8, 1), -100, np.float32), seconds=0.05)
    assert [size_of(png) for png in draw_thumbnails([silence])] == [(720, 300)]


def test_padding_shows_in_the_picture(make_store, tmp_path):
    short = make_store("short.zarr", ids=["a"], failed=(), pending=())
    short.status["n_valid"][0] = short.status["sr"][0] // 10
    assert valid_seconds(short, 0) == pytest.approx(0.1)
    assert valid_seconds(short, 0, Condition.parse("stretch2")) == pytest.approx(0.05, abs=1e-4)
    whole = make_store("whole.zarr", ids=["a"], failed=(), pending=())
    pictures = [
        matplotlib.image.imread(draw_clip(store, 0, tmp_path / f"{number}.png").path)
        for number, store in enumerate((short, whole))
    ]
    assert pictures[0].shape == pictures[1].shape
    differs = abs(pictures[0] - pictures[1]).sum(axis=(0, 2)) > 0
    assert 0.3 < differs.mean() < 0.95  # from the end of the audio on


STFT = StftSpec(sr=8000, n_fft=256)
FBANK = FbankSpec(sr=8000, n_mels=8, hop_length=100, win_length=200)
MEL = FeatureSpec(sr=8000, n_mels=8, hop=2)
GAIN, NOISE = Condition.parse("gain-6"), Condition.parse("noise0.1")


def test_every_kind_is_drawn_under_every_condition(make_store, tmp_path):
    clean = (STFT, FBANK, MEL)
    specs = (*clean, *(spec.under(GAIN) for spec in clean))
    store = make_store(ids=["a"], specs=specs, failed=(), pending=())
    picture = draw_clip(store, 0, tmp_path / "kinds.png")
    assert [spec.name for spec in picture.specs] == [
        "sr8000-stft256-x1-db", "sr8000-stft256-x1-db~gain-6",
        "sr8000-fbank8-hop100-win200", "sr8000-fbank8-hop100-win200~gain-6",
        "sr8000-mel8-x2-db", "sr8000-mel8-x2-db~gain-6",
    ]  # fmt: skip
    width, height = size_of(picture.path.read_bytes())
    assert height > 3 * 290 > width - 300  # three rows of two
    assert picture.lines() == [f"6 spectrograms of a in {picture.path}"]


def test_a_waveform_is_drawn_as_a_line(wave_store, tmp_path):
    picture = draw_clip(wave_store, 3, tmp_path / "wave.png")
    assert picture.lines() == [f"1 waveform of clip 03 in {picture.path}"]
    pixels = matplotlib.image.imread(picture.path)[..., :3]
    purple = abs(pixels - np.array([0x51, 0x12, 0x7C]) / 255).max(axis=2) < 0.02
    assert purple.mean() > 0.3  # noise at full scale fills the axes


def test_rows_are_specs_until_there_are_more_conditions_than_fit_abreast():
    def names(specs):
        panels = [
            Panel(spec=spec, values=np.zeros(spec.shape(4000), np.float32), seconds=1)
            for spec in specs
        ]
        return [[panel.spec.name for panel in row] for row in _arranged(panels)]

    few = [spec.under(c) for spec in (MEL, STFT) for c in (Condition(), GAIN, NOISE)]
    assert names(few) == [[spec.name for spec in few[:3]], [spec.name for spec in few[3:]]]
    gains = [Condition.parse(f"gain{-n}") for n in range(1, 6)]
    many = names([spec.under(c) for spec in (MEL, STFT) for c in gains])
    assert many == [[MEL.under(c).name, STFT.under(c).name] for c in gains]
    one = names([MEL.under(c) for c in gains])
    assert [len(row) for row in one] == [3, 2]


def test_what_is_left_out_is_counted_where_it_is_much(make_store, tmp_path):
    specs = [FeatureSpec(sr=8000, n_mels=n, hop=4, log="db") for n in range(8, 12)]
    conditions = [Condition.parse(f"gain{-n}") for n in range(4)]
    store = make_store(
        ids=["a"], specs=[s.under(c) for s in specs for c in conditions], failed=(), pending=()
    )
    picture = draw_clip(store, 0, tmp_path / "some.png")
    assert (len(picture.specs), len(picture.left_out)) == (MOST, 16 - MOST)
    every = draw_clip(store, 0, tmp_path / "all.png", specs[:1], "all")
    assert [spec.condition for spec in every.specs] == conditions
    assert every.left_out == ()


def test_panels_of_a_page_share_their_scales(make_store):
    """A condition that is softer is darker, beside the clean one and not alone."""
    spec = MEL
    loud = Panel(spec=spec, values=np.full((8, 16), 0, np.float32), seconds=0.5)
    soft = Panel(spec=spec.under(GAIN), values=np.full((8, 16), -60, np.float32), seconds=0.5)

    def brightness(png):
        pixels = matplotlib.image.imread(io.BytesIO(png))[..., :3]
        return pixels[100, 400].sum()

    beside = [brightness(png) for png in draw_thumbnails([loud, soft])]
    assert beside[0] > beside[1] + 1
    alone = brightness(draw_thumbnails([soft])[0])
    assert alone == pytest.approx(beside[0])


def test_panels_are_read_with_their_length(shared_store):
    spec = shared_store.specs[0]
    [panel] = read_panels(shared_store, 3, [spec])
    np.testing.assert_array_equal(panel.values, shared_store[spec][3])
    assert panel.seconds == 0.5
