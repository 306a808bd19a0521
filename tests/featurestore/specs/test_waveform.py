import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureSpec
from featurestore.errors import SpecError
from featurestore.specs.fields import SAMPLE_RATES
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import Condition
from featurestore.specs.views import derivable
from featurestore.specs.waveform import CHUNK_SAMPLES, WaveformSpec

WAVE = WaveformSpec(sr=16000)
CONDITIONS = ["clean", "noise0.1", "stretch1.414~mp3-64"]


@given(st.integers(*SAMPLE_RATES), st.sampled_from(CONDITIONS))
def test_a_name_is_read_back(sr, condition):
    spec = WaveformSpec(sr=sr, condition=Condition.parse(condition))
    assert parse_spec(spec.name) == spec
    assert spec.under(Condition()).name == str(spec.under(Condition())) == f"sr{sr}-wave"


@pytest.mark.parametrize("name", ["sr16000-wave1", "sr016000-wave", "sr16000-wave-int16", "wave"])
def test_what_is_no_waveforms_name_is_refused(name):
    with pytest.raises(SpecError, match=f"'{name}' is not a"):
        WaveformSpec.parse(name)


@pytest.mark.parametrize(
    ("sr", "message"),
    [
        (999, "sr is 999 Hz; it must be from 1000 to 768000 Hz"),
        (768_001, "sr is 768001 Hz; it must be from 1000 to 768000 Hz"),
        (16e3, "sr is 16000.0; it must be a whole number"),
        (True, "sr is True; it must be a whole number"),
    ],
)
def test_a_sample_rate_out_of_range_is_refused(sr, message):
    with pytest.raises(SpecError, match=message):
        WaveformSpec(sr=sr)


def test_a_sample_is_a_frame():
    assert WAVE.shape(465_600) == (1, 465_600)
    assert WAVE.frame_step * 16000 == 1
    channel, time = WAVE.coordinates(3)
    assert (channel.name, time.name) == WAVE.axes
    assert channel.values.tolist() == [0]
    np.testing.assert_array_equal(time.values, np.array([0, 1, 2]) / 16000)
    assert WAVE.fields() == {"sr": 16000}


@given(st.integers(1, 2**33), st.sampled_from([8000, 16000, 22050, 44100, 48000]))
def test_valid_are_the_samples_before_the_end_of_the_tracks_valid_ones(n_valid, sr):
    n = WAVE.n_valid_frames(n_valid, sr)
    assert (n - 1) * sr < n_valid * 16000 <= n * sr
    several = WAVE.n_valid_frames(np.array([n_valid, 1]), np.array([sr, sr]))
    assert several.tolist() == [n, WAVE.n_valid_frames(1, sr)]
    assert several[1] >= 1


def test_a_chunk_is_a_stretch_of_a_clip_or_the_whole_short_one():
    assert WAVE.chunk_frames(465_600) == CHUNK_SAMPLES
    assert WAVE.chunk_frames(100) == 100


def test_a_waveform_follows_from_itself_alone():
    assert derivable(WAVE, WAVE)
    for other in (
        WaveformSpec(sr=8000),
        WAVE.under(Condition.parse("noise0.1")),
        FeatureSpec(sr=16000, n_mels=8),
    ):
        assert not derivable(other, WAVE)
        assert not derivable(WAVE, other)
