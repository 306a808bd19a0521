import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SpecError
from featurestore.specs.kinds import parse_spec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.stft import StftSpec
from featurestore.specs.views import derivable, minimal_basis

SPEC = StftSpec(sr=16000)

specs = st.builds(
    StftSpec,
    sr=st.sampled_from([8000, 16000, 22050, 44100, 48000]) | st.integers(1000, 768_000),
    n_fft=st.integers(16, 65536),
    hop=st.integers(1, 20) | st.integers(1, 2**20).map(lambda length: Fraction(length, 256)),
    window=st.sampled_from(["hann", "hann-symmetric"]),
    condition=st.sampled_from([CLEAN, Condition.parse("noise0.1~pitch-1")]),
)


@given(specs)
def test_a_name_parses_back_to_its_spec(spec):
    assert StftSpec.parse(spec.name) == parse_spec(spec.name) == spec


@given(specs, specs)
def test_specs_have_the_same_name_only_if_they_are_equal(one, other):
    assert (one.name == other.name) == (one == other)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "sr16000-stft512-x1-db"),
        ({"n_fft": 1024, "hop": 2}, "sr16000-stft1024-x2-db"),
        ({"hop": Fraction(160, 256)}, "sr16000-stft512-hop160-db"),
        ({"hop": Fraction(512, 256)}, "sr16000-stft512-x2-db"),
        ({"window": "hann-symmetric"}, "sr16000-stft512-x1-db-symmetric"),
        ({"condition": Condition.parse("noise0.1")}, "sr16000-stft512-x1-db~noise0.1"),
    ],
)
def test_a_name_shows_what_is_off_its_default(changed, name):
    spec = StftSpec(**{"sr": 16000, **changed})
    assert spec.name == str(spec) == name


@pytest.mark.parametrize(
    "name",
    [
        "sr16000-stft512",
        "sr16000-stft512-x1",
        "sr16000-stft512-x1-log",
        "sr16000-stft512-x1-db-",
        "sr16000-stft0512-x1-db",
        "sr16000-stft512-hop256-db",
        "sr16000-stft512-x1-db~clean",
        "sr16000-stft512-x1-db\n",
        "sr16000-stft512-x" + "9" * 5000 + "-db",
    ],
)
def test_what_is_no_specs_name_does_not_parse(name):
    with pytest.raises(SpecError, match="is not a spec's name"):
        parse_spec(name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sr": 999}, "sr is 999 Hz; it must be from 1000 to 768000 Hz"),
        ({"sr": 16000.0}, r"sr is 16000\.0; it must be a whole number"),
        ({"n_fft": 8}, "n_fft is 8 samples; it must be from 16 to 65536 samples"),
        ({"n_fft": "512"}, "n_fft is '512'; it must be a whole number"),
        ({"hop": 0}, "hop is 0, a hop_length of 0 samples"),
        ({"hop": Fraction(1, 3)}, "hop_length must be a whole number of samples"),
        ({"hop": float("nan")}, "hop is nan; it must be a multiple of 256 samples"),
        ({"hop": 2**20}, "from 1 to 1048576"),
        ({"window": "hamming"}, "window is 'hamming'; it must be one of hann, hann-symmetric"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_in_one_line_with_field_value_and_bound(changed, message):
    with pytest.raises(SpecError, match=message) as caught:
        StftSpec(**{"sr": 16000, **changed})
    assert "\n" not in str(caught.value)


@given(specs, st.integers(0, 10**7), st.integers(1, 10**7), st.sampled_from([16000, 44100]))
def test_frames_are_those_of_a_mel_spectrogram_of_the_same_hop(spec, n_samples, n_valid, sr):
    mel = FeatureSpec(sr=spec.sr, n_mels=1, hop=spec.hop)
    assert spec.hop_length == mel.hop_length
    assert spec.frame_step == mel.frame_step
    assert spec.shape(n_samples) == (1 + spec.n_fft // 2, mel.n_frames(n_samples))
    assert spec.n_valid_frames(n_valid, sr) == mel.n_valid_frames(n_valid, sr)
    np.testing.assert_array_equal(
        spec.coordinates(5)[1].values, mel.coordinates(5)[1].values, strict=True
    )


def test_coordinates_are_the_frequencies_of_the_bins_and_the_centres_of_the_frames():
    frequency, time = SPEC.coordinates(3)
    assert (frequency.name, time.name) == SPEC.axes
    np.testing.assert_array_equal(frequency.values, np.arange(257) * 31.25)
    np.testing.assert_array_equal(time.values, [0, 0.016, 0.032])


def test_nothing_is_derived_from_spectra_that_differ_in_more_than_a_dividing_hop():
    wanted = StftSpec(sr=16000, hop=6)
    assert wanted.derivation(StftSpec(sr=16000, hop=2)).step == 3
    for changed in (
        {"sr": 22050},
        {"n_fft": 1024},
        {"window": "hann-symmetric"},
        {"condition": Condition.parse("noise0.1")},
        {"hop": 4},
        {"hop": 12},
    ):
        assert not derivable(StftSpec(**{"sr": 16000, "hop": 2, **changed}), wanted)
    assert not derivable(FeatureSpec(sr=16000, n_mels=8), wanted)
    assert minimal_basis([SPEC, wanted]) == (SPEC,)


def test_fields_say_what_the_name_says():
    spec = SPEC.under(Condition.parse("gain6"))
    assert spec.fields() == {
        "sr": 16000, "n_fft": 512, "hop_length": 256, "window": "hann", "log": "db",
    }  # fmt: skip
    assert spec.under(CLEAN) == SPEC


def test_a_spec_of_numpy_numbers_is_a_spec_of_numbers_frozen_and_picklable():
    spec = StftSpec(sr=np.int64(16000), n_fft=np.int32(512))
    assert [type(value) for value in (spec.sr, spec.n_fft)] == [int, int]
    assert {pickle.loads(pickle.dumps(spec)): 1}[SPEC] == 1
    with pytest.raises(AttributeError, match="cannot assign"):
        spec.sr = 8000
