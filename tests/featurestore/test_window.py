import dataclasses

import pytest

from featurestore.errors import SettingsError
from featurestore.window import ClipWindow


def test_a_clip_is_the_central_29_1_s_unless_told_otherwise():
    window = ClipWindow()
    assert (window.duration, window.take, window.short) == (29.1, "center", "pad")
    assert [window.n_samples(sr) for sr in (12000, 16000, 44100)] == [349200, 465600, 1283310]


def test_a_window_is_read_back_from_what_was_written():
    window = ClipWindow(duration=3, take="first", short="skip")
    assert ClipWindow.from_json(dataclasses.asdict(window)) == window


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration": 0}, "duration is 0 s; it must be from 0.05 to 3600 s"),
        ({"duration": -3.0}, "duration is -3 s"),
        ({"duration": float("nan")}, "duration is nan s"),
        ({"duration": float("inf")}, "duration is inf s"),
        ({"take": "last"}, "take is 'last'; it must be center or first"),
        ({"short": "loop"}, "short is 'loop'; it must be pad or skip"),
        ({"length": 3}, "unknown window settings: length"),
    ],
)
def test_a_window_that_cannot_be_is_refused(fields, message):
    with pytest.raises(SettingsError, match=message):
        ClipWindow.from_json(fields)
