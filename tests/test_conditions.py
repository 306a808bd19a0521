"""Representations and conditions through a whole run: one decode, the same bits in any order."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import xarray

from benchmarks.kills import contents_of
from featurestore.errors import SpecError, StoreMismatchError
from featurestore.export import export
from featurestore.export.selection import Selection
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import under
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import CLEAN, CONDITIONS, Condition
from featurestore.store import FeatureStore
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SR = 8000
CLEAN_SPECS = tuple(
    parse_spec(f"sr{SR}-{name}")
    for name in ("mel16-x1-db", "mel16-x1-db-htk-nonorm", "wave", "stft512-x1-db", "fbank16-hop80")
)
CHOSEN = (
    *CONDITIONS["smc2020"],
    *(Condition.parse(name) for name in ("mp3-16", "echo0.8_0.9_50_0.3", "lowpass1000~gain-6")),
)
SPECS = under(CLEAN_SPECS, CHOSEN)
SETTINGS = RunSettings(window=Excerpt(duration=1.0, take="first"), workers=1)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Seven sounds at odd rates: one short, one silent, one at full scale, and one no sound."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for number, sr in enumerate((8000, 22050, 44100, 48000, 16000)):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.5, 0.5, 2 * sr), sr)
    soundfile.write(folder / "5-short.wav", rng.uniform(-0.5, 0.5, 3000), SR)
    soundfile.write(folder / "6-silent.wav", np.zeros(2 * SR), SR)
    soundfile.write(folder / "7-loud.wav", np.sign(rng.uniform(-1, 1, 2 * SR)), SR)
    (folder / "8-text.mp3").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def whole(music, tmp_path_factory):
    """Everything by one run."""
    path = str(tmp_path_factory.mktemp("stores") / "whole.zarr")
    return run(open_catalog(str(music)), path, SPECS, SETTINGS, quiet=True).store


def values_of(store):
    return {spec.name: store[spec].read(np.flatnonzero(store[spec].ready)) for spec in store.specs}


def test_all_is_there_finite_and_healthy(whole):
    assert set(whole.specs) == set(SPECS)
    for spec in whole.specs:
        array = whole[spec]
        assert array.ready.tolist() == [True] * 8 + [False]
        assert np.isfinite(array.read(np.arange(8))).all()
        assert array.n_valid_frames[:8].min() >= 1
    assert whole.verify().is_healthy


def test_conditions_of_a_clip_differ_and_silence_stays_silent(whole):
    for clean in CLEAN_SPECS:
        arrays = [whole[clean.under(condition)] for condition in (CLEAN, *CHOSEN)]
        # The two compressions are the same until their level has fallen below -31 dB.
        assert len({array[0].tobytes() for array in arrays}) >= len(arrays) - 1
        silence = [array[6] for array in arrays]
        for values in silence:
            np.testing.assert_array_equal(values, silence[0])


def test_the_same_bits_whatever_else_is_computed_and_by_how_many(music, whole, tmp_path):
    catalog, path = open_catalog(str(music)), str(tmp_path / "store.zarr")
    settings = RunSettings(window=SETTINGS.window, workers=2)
    last = under(CLEAN_SPECS[:1], CHOSEN[:2])
    run(catalog, path, last, settings, quiet=True)
    run(catalog, path, CLEAN_SPECS[2:], settings, quiet=True)
    store = run(catalog, path, SPECS, settings, quiet=True).store
    expected, found = values_of(whole), values_of(store)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_nothing_is_computed_again(music, whole):
    before = contents_of(Path(whole.path))
    again = run(open_catalog(str(music)), whole.path, SPECS, SETTINGS, quiet=True)
    assert again.n_computed == 0
    assert contents_of(Path(whole.path)) == before


def test_another_seed_draws_other_noise_and_does_not_mix_with_this_one(music, whole, tmp_path):
    spec = CLEAN_SPECS[0].under(Condition.parse("noise0.4"))
    catalog = open_catalog(str(music))
    other = RunSettings(window=SETTINGS.window, workers=1, seed=1)
    store = run(catalog, str(tmp_path / "other.zarr"), [spec], other, quiet=True).store
    assert not np.array_equal(store[spec][0], whole[spec][0])
    with pytest.raises(StoreMismatchError, match="seed is 0 there, not 1"):
        run(catalog, whole.path, [spec], other, quiet=True)


def test_a_waveform_is_the_audio_rounded(music, whole):
    audio, _ = soundfile.read(music / "0.wav", dtype="float32")
    found = whole[f"sr{SR}-wave"][0][0]
    np.testing.assert_array_equal(found, audio[:SR])


def test_other_programs_read_them(whole, tmp_path):
    for name in (f"sr{SR}-wave~noise0.4", f"sr{SR}-fbank16-hop80", f"sr{SR}-stft512-x1-db~pitch1"):
        dataset = xarray.open_zarr(whole.path, group=name, consolidated=False, chunks=None)
        found = dataset["values"][:8].astype("float32").to_numpy()
        np.testing.assert_allclose(found, whole[name].read(np.arange(8)), atol=1e-6)
    selection = Selection.of(whole, [f"sr{SR}-wave~noise0.4"])
    export(selection, str(tmp_path / "x.h5"), "hdf5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file[f"sr{SR}-wave~noise0.4"]["values"].shape == (9, 1, SR)
    assert FeatureStore.open(whole.path).specs == whole.specs


def test_a_view_is_never_served_from_what_was_drawn_otherwise(music, tmp_path):
    catalog, path = open_catalog(str(music)), str(tmp_path / "views.zarr")
    noisy = [
        parse_spec(f"sr{SR}-mel16-x{hop}-db").under(Condition.parse("noise0.1")) for hop in (1, 2)
    ]
    first, other = (
        RunSettings(window=SETTINGS.window, workers=1, views=True, seed=seed) for seed in (0, 1)
    )
    run(catalog, path, noisy, first, quiet=True)
    with pytest.raises(StoreMismatchError, match=r"whose seed is 0, not 1; give that one"):
        run(catalog, path, noisy[1:], other, quiet=True)


def test_what_no_clip_can_be_is_refused_before_there_is_a_store(music, tmp_path):
    short = RunSettings(window=Excerpt(duration=0.05), workers=1)
    with pytest.raises(SpecError, match="shorter than a frame"):
        run(
            open_catalog(str(music)),
            str(tmp_path / "no.zarr"),
            [parse_spec("sr1000-fbank16-hop80")],
            short,
        )
    assert not (tmp_path / "no.zarr").exists()
