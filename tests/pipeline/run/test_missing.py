"""Random draws of training clips, from audio to a store."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore import FeatureSpec, FeatureStore
from featurestore.errors import RowNotReadyError, SpecError, StoreMismatchError
from featurestore.inspect.info import list_specs
from featurestore.maintenance.repair import repair
from featurestore.specs.augmentation import Augmentation
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.perturbation import Condition
from featurestore.specs.waveform import WaveformSpec
from pipeline.catalogs import Catalog
from pipeline.run.run import preview, run
from pipeline.run.settings import RunSettings
from pipeline.run.task import seed_of

SR = 8000
SPEC = FeatureSpec(sr=SR, n_mels=16)
DRAWS = tuple(SPEC.under(Condition(draw=number)) for number in range(3))
AUGMENTATION = Augmentation.parse("gauss0.005,stretch0.8:1.2,pitch-5:5", 0.7)
N = 20
TRAIN = np.arange(N) % 3 == 0


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for number in range(N):
        seconds = np.arange(2 * SR) / SR
        tone = 0.3 * np.sin(2 * np.pi * 100 * (number + 1) * seconds)
        soundfile.write(folder / f"{number:02}.wav", tone + rng.uniform(-0.1, 0.1, 2 * SR), SR)
    return folder


def catalog_of(folder, **columns):
    names = [f"{number:02}" for number in range(N)]
    split = [("train", "validation", "test")[i % 3] for i in range(N)]
    columns = {"split": split} | columns
    return Catalog(
        name="music",
        root=str(folder),
        track_id=names,
        path=[f"{name}.wav" for name in names],
        tags=("even",),
        labels=np.array([[1 - i % 2] for i in range(N)], np.uint8),
        **columns,
    )


@pytest.fixture
def featurize(tmp_path, music, scheduler):
    def featurize(specs=(SPEC, *DRAWS), store="store.zarr", catalog=None, **settings):
        how = {"augmentation": AUGMENTATION, "window": Excerpt(duration=1.0)} | settings
        return run(
            catalog or catalog_of(music),
            str(tmp_path / store),
            specs,
            RunSettings(scheduler=scheduler, **how),
        )

    return featurize


def test_draws_are_stored_of_training_clips_and_a_second_run_has_nothing_to_do(featurize):
    first = featurize()
    assert (first.n_ready, first.n_computed, first.failures) == (N, N, ())
    store = first.store
    assert store[SPEC].ready.all()
    for draw in DRAWS:
        np.testing.assert_array_equal(store[draw].ready, TRAIN)
        np.testing.assert_array_equal(store[draw].wanted, TRAIN)
        layout = store.layouts[draw]
        assert layout.settings["seed"] == "0"
        assert layout.settings["augmentation"] == "gauss0.005,stretch0.8:1.2,pitch-5:5 p0.7"
        np.testing.assert_array_equal(store[draw].n_valid_frames[TRAIN], SPEC.n_frames(SR))
    assert set(store.clips["status"]) == {"ready"}
    with pytest.raises(RowNotReadyError, match="random draws are of clips that may train"):
        store[DRAWS[0]][1]
    report = FeatureStore.open(store.path).verify()
    assert report.is_healthy
    assert report.unfinished == ()
    assert featurize().n_computed == 0
    assert any(" 20 " in line for line in list_specs(store).lines())


def test_the_draws_of_a_clip_differ_from_it_and_from_each_other(featurize):
    store = featurize().store
    clips = [store[spec].read(np.flatnonzero(TRAIN)) for spec in (SPEC, *DRAWS)]
    for one, other in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        # at 0.7 each, all three are left out of one in 37: few pairs can be alike
        differ = np.abs(clips[one] - clips[other]).max(axis=(1, 2)) > 1
        assert differ.sum() >= TRAIN.sum() - 2


def test_the_same_bits_whatever_else_is_computed_and_in_however_many_runs(featurize):
    together = featurize().store
    featurize((SPEC,), store="apart.zarr")
    featurize(DRAWS[2:], store="apart.zarr")
    waves = tuple(WaveformSpec(sr=SR).under(draw.condition) for draw in DRAWS)
    apart = featurize((SPEC, *DRAWS, *waves), store="apart.zarr").store
    rows = np.flatnonzero(TRAIN)
    for draw in DRAWS:
        np.testing.assert_array_equal(together[draw].read(rows), apart[draw].read(rows))


def test_a_specs_draw_is_the_same_audio_as_anothers(featurize):
    wave = WaveformSpec(sr=SR)
    heard = wave.under(Condition(draw=0))
    store = featurize((SPEC, wave, DRAWS[0], heard)).store
    rows = np.flatnonzero(TRAIN)
    loud = np.abs(store[heard].read(rows)).max(axis=(1, 2))
    for spec, drawn in ((SPEC, DRAWS[0]), (wave, heard)):
        same = (store[spec].read(rows) == store[drawn].read(rows)).all(axis=(1, 2))
        # what nothing was drawn for is the clean clip, at both
        np.testing.assert_array_equal(same, [_draws_nothing(store, row) for row in rows])
    assert (loud > 0.1).all()


def _draws_nothing(store, row):
    return not AUGMENTATION.draw(DRAWS[0].condition.generator(seed_of(0, store.table.clip_id[row])))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"augmentation": Augmentation.parse("pitch-5:5")}, r"augmentation is .* not pitch-5:5"),
        ({"augmentation": dataclasses.replace(AUGMENTATION, probability=0.1)}, r"not .* p0\.1"),
        ({"seed": 1}, "seed is 0 there, not 1"),
    ],
)
def test_draws_of_another_augmentation_do_not_go_into_the_same_arrays(featurize, other, message):
    featurize()
    with pytest.raises(StoreMismatchError, match=f"~draw0 made otherwise: .*{message}"):
        featurize(**other)
    assert featurize((SPEC,), **other).n_computed == 0  # the clean ones have nothing to do with it


def test_draws_without_an_augmentation_are_refused(featurize):
    with pytest.raises(SpecError, match="'draw0' is a random draw: --draws N makes"):
        featurize(augmentation=None)


def test_an_augmentation_that_the_rate_cannot_have_is_refused(featurize):
    with pytest.raises(SpecError, match="lowpass"):
        featurize(augmentation=Augmentation.parse("lowpass1000:7000"))


@pytest.mark.parametrize(
    "columns",
    [{"split": [""] * N}, {"fold": np.arange(N, dtype=np.int16) % 4}],
)
def test_without_splits_and_with_folds_all_clips_have_draws(featurize, music, columns):
    store = featurize(catalog=catalog_of(music, **columns)).store
    assert store[DRAWS[0]].ready.all()


def test_a_clip_that_comes_into_the_training_split_is_made_by_the_next_run(featurize, music):
    before = featurize().store
    made = before[DRAWS[0]].read(np.flatnonzero(TRAIN))
    moved = catalog_of(music, split=["train" if i in (1, 2) or t else "test" for i, t in
                                     enumerate(TRAIN)])  # fmt: skip
    after = featurize(catalog=moved)
    assert (after.n_computed, after.n_ready) == (2, N)
    store = after.store
    for draw in DRAWS:
        np.testing.assert_array_equal(np.flatnonzero(store[draw].ready & ~TRAIN), [1, 2])
    np.testing.assert_array_equal(store[DRAWS[0]].read(np.flatnonzero(TRAIN)), made)
    np.testing.assert_array_equal(store[SPEC].read(range(N)), before[SPEC].read(range(N)))
    assert store.verify().is_healthy
    # and as if it had been there from the first
    anew = featurize(catalog=moved, store="anew.zarr").store
    rows = np.flatnonzero(store[DRAWS[0]].ready)
    np.testing.assert_array_equal(store[DRAWS[1]].read(rows), anew[DRAWS[1]].read(rows))
    # one that leaves it keeps what it has
    back = featurize()
    assert (back.n_computed, back.n_ready) == (0, N)
    assert back.store.verify().unfinished == ()


def test_what_a_run_lacks_is_pending_until_the_next(featurize):
    store = featurize((SPEC,)).store
    assert store.verify().unfinished == ()
    with_one = featurize((SPEC, DRAWS[0])).store
    assert with_one[DRAWS[0]].ready.sum() == TRAIN.sum()
    Path(with_one.path, DRAWS[0].name, "values/c/0/0/0").unlink()
    repair(FeatureStore.open(store.path))
    left = FeatureStore.open(store.path)
    lost = int(TRAIN[:8].sum())
    assert left.verify().unfinished == (f"{lost} of {N + TRAIN.sum()} rows are pending",)
    assert (left.clips["status"] == "pending").sum() == lost
    assert featurize((SPEC, DRAWS[0])).n_computed == lost


def test_a_bad_training_clip_fails_once(featurize, music, tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for path in music.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("00.wav", "01.wav"):  # one that trains, and one that does not
        (folder / name).write_bytes(b"")
    catalog = catalog_of(folder)
    featurize((SPEC,), catalog=catalog)
    added = featurize(catalog=catalog)
    assert len(added.failures) == 2
    again = featurize(catalog=catalog)
    assert (again.n_computed, again.n_ready, len(again.failures)) == (0, N - 2, 2)


def test_a_preview_counts_draws_for_the_clips_that_have_them(music):
    settings = RunSettings(window=Excerpt(duration=1.0), augmentation=AUGMENTATION)
    alone, drawn = (
        preview(catalog_of(music), specs, settings).bytes_per_clip
        for specs in ((SPEC,), (SPEC, *DRAWS))
    )
    assert drawn == alone + round(3 * alone * TRAIN.mean())
