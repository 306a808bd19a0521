import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureSpec
from featurestore.errors import SettingsError
from featurestore.specs.excerpt import Excerpt


def test_a_clip_is_the_central_29_1_s_unless_told_otherwise():
    window = Excerpt()
    assert (window.duration, window.take, window.short) == (29.1, "center", "pad")
    assert [window.n_samples(sr) for sr in (12000, 16000, 44100)] == [349200, 465600, 1283310]


def test_a_window_is_read_back_from_what_was_written():
    window = Excerpt(duration=3, take="first", short="skip")
    assert Excerpt.from_json(dataclasses.asdict(window)) == window


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration": 0}, "duration is 0 s; it must be from 0.05 to 3600 s"),
        ({"duration": -3.0}, "duration is -3 s"),
        ({"duration": float("nan")}, "duration is nan s"),
        ({"duration": float("inf")}, "duration is inf s"),
        ({"take": "last"}, "take is 'last'; it must be one of center, first, all"),
        ({"short": "loop"}, "short is 'loop'; it must be one of pad, skip"),
        ({"length": 3}, "unknown window settings: length"),
    ],
)
def test_a_window_that_cannot_be_is_refused(fields, message):
    with pytest.raises(SettingsError, match=message):
        Excerpt.from_json(fields)


@pytest.mark.parametrize("take", ["center", "first"])
def test_a_track_is_one_clip_unless_all_of_it_is_taken(take):
    window = Excerpt(duration=3, take=take)
    assert [window.n_tiles(n, 8000) for n in (0, 1, 24000, 240000)] == [1, 1, 1, 1]
    assert window.n_samples(8000) == window.stride(8000) == 24000
    assert window.fitted([FeatureSpec(sr=8000, n_mels=8)]) == window


@pytest.mark.parametrize(
    ("short", "n_tiles"), [("pad", [1, 1, 1, 2, 2, 3]), ("skip", [1, 1, 1, 1, 2, 2])]
)
def test_a_last_tile_that_is_short_is_padded_or_left_out(short, n_tiles):
    window = Excerpt(duration=1, take="all", short=short)
    assert [window.n_tiles(n, 8000) for n in (0, 1, 8000, 8001, 16000, 16001)] == n_tiles


SPECS = st.builds(
    FeatureSpec, sr=st.sampled_from([8000, 12000, 16000]), n_mels=st.just(8), hop=st.integers(1, 5)
)


@given(st.lists(SPECS, min_size=1, max_size=3), st.floats(3, 30))
def test_tiles_are_whole_numbers_of_hops_and_no_longer_than_asked(specs, duration):
    window = Excerpt(duration=duration, take="all")
    fitted = window.fitted(specs)
    assert fitted.fitted(specs) == fitted
    # to a microsecond
    assert fitted.duration <= duration + 1e-6
    for spec in specs:
        stride = fitted.stride(spec.sr)
        assert fitted.duration * spec.sr == pytest.approx(stride, abs=1e-6)
        assert stride % spec.hop_length == 0
        # so that frames of tiles, put side by side, are those of the whole
        assert spec.n_frames(fitted.n_samples(spec.sr)) == stride // spec.hop_length


def test_a_duration_too_short_for_a_whole_number_of_hops_is_refused():
    specs = [FeatureSpec(sr=8000, n_mels=8, hop=10)]
    with pytest.raises(SettingsError, match=r"duration is 0\.1 s; .* at least 0\.32 s"):
        Excerpt(duration=0.1, take="all").fitted(specs)
