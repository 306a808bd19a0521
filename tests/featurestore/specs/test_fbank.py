import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SpecError
from featurestore.specs.fbank import FbankSpec, from_mel, to_mel
from featurestore.specs.kinds import parse_spec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.views import derivable, minimal_basis

SPEC = FbankSpec(sr=16000)
RATES = (8000, 16000, 22050, 44100, 48000)


@st.composite
def specs(draw):
    sr = draw(st.sampled_from(RATES) | st.integers(1000, 768_000))
    low = draw(st.just(20_000) | st.integers(0, 500 * sr - 1))  # [mHz]
    high = draw(st.integers(low + 1, 500 * sr))
    return FbankSpec(
        sr=sr,
        n_mels=draw(st.integers(1, 4096)),
        hop_length=draw(st.just(160) | st.integers(1, 2**20)),
        win_length=draw(st.just(400) | st.integers(16, 65536)),
        fmin=low / 1000,
        fmax=draw(st.sampled_from([None, high / 1000])),
        condition=draw(st.sampled_from([CLEAN, Condition.parse("noise0.1~pitch-1")])),
    )


@given(specs())
def test_a_name_parses_back_to_its_spec(spec):
    assert FbankSpec.parse(spec.name) == parse_spec(spec.name) == spec


@given(specs(), specs())
def test_specs_have_the_same_name_only_if_they_are_equal(one, other):
    assert (one.name == other.name) == (one == other)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "sr16000-fbank128-hop160"),
        ({"n_mels": 80}, "sr16000-fbank80-hop160"),
        ({"hop_length": 256}, "sr16000-fbank128-hop256"),
        ({"sr": 22050, "win_length": 551}, "sr22050-fbank128-hop160-win551"),
        ({"fmin": 0}, "sr16000-fbank128-hop160-fmin0"),
        ({"fmin": 27.5, "fmax": 7999.999}, "sr16000-fbank128-hop160-fmin27.5-fmax7999.999"),
        ({"fmax": 8000}, "sr16000-fbank128-hop160"),
        ({"condition": Condition.parse("noise0.1")}, "sr16000-fbank128-hop160~noise0.1"),
    ],
)
def test_a_name_shows_what_is_off_its_default(changed, name):
    spec = FbankSpec(**{"sr": 16000, **changed})
    assert spec.name == str(spec) == name


@pytest.mark.parametrize(
    "name",
    [
        "sr16000-fbank128",
        "sr16000-fbank128-x1",
        "sr16000-fbank128-hop160-",
        "sr16000-fbank0128-hop160",
        "sr16000-fbank128-hop160-win400",
        "sr16000-fbank128-hop160-fmin20",
        "sr16000-fbank128-hop160-fmin1.2.3",
        "sr16000-fbank128-hop160-fmax8000",
        "sr16000-fbank128-hop160-fmin30-win200",
        "sr16000-fbank128-hop160~clean",
        "sr16000-fbank128-hop160\n",
        "sr16000-fbank128-hop" + "9" * 5000,
    ],
)
def test_what_is_no_specs_name_does_not_parse(name):
    with pytest.raises(SpecError, match="is not a spec's name"):
        parse_spec(name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sr": 0}, "sr is 0 Hz; it must be from 1000 to 768000 Hz"),
        ({"sr": 16000.0}, r"sr is 16000\.0; it must be a whole number"),
        ({"n_mels": 0}, "n_mels is 0; it must be from 1 to 4096"),
        ({"n_mels": True}, "n_mels is True; it must be a whole number"),
        ({"hop_length": 0}, "hop_length is 0 samples; it must be from 1 to 1048576 samples"),
        ({"hop_length": "160"}, "hop_length is '160'; it must be a whole number"),
        ({"win_length": 15}, "win_length is 15 samples; it must be from 16 to 65536 samples"),
        ({"win_length": None}, "win_length is None; it must be a whole number"),
        ({"fmin": -1}, "they must satisfy 0 <= fmin < fmax <= sr / 2 = 8000 Hz"),
        ({"fmin": 4000, "fmax": 4000}, "fmin is 4000 Hz and fmax 4000 Hz"),
        ({"fmax": 8000.5}, "fmax 8000.5 Hz"),
        ({"fmin": 0.0001}, "fmin is 0.0001 Hz; it must be a multiple of 0.001 Hz"),
        ({"fmin": float("nan")}, "fmin is nan Hz"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_in_one_line_with_field_value_and_bound(changed, message):
    with pytest.raises(SpecError, match=message) as caught:
        FbankSpec(**{"sr": 16000, **changed})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("win_length", "n_fft"), [(400, 512), (512, 512), (513, 1024), (16, 16), (1102, 2048)]
)
def test_the_fft_is_the_least_power_of_two_that_holds_a_frame(win_length, n_fft):
    assert FbankSpec(sr=16000, win_length=win_length).n_fft == n_fft


def test_clips_have_the_frames_that_the_transformers_take():
    # ZOO2 §1.1: 10 s, 10.24 s and 30 s at 16 kHz; 1024 frames need 164,080 samples
    for n_samples, n_frames in ((160000, 998), (163840, 1022), (480000, 2998), (164080, 1024)):
        assert SPEC.n_frames(n_samples) == n_frames
        assert SPEC.shape(n_samples) == (128, n_frames)
    assert SPEC.n_frames(164079) == 1023


def test_a_clip_of_one_frame_has_one_and_a_shorter_one_is_refused_with_the_remedy():
    assert SPEC.n_frames(400) == SPEC.n_frames(559) == 1
    for n_samples in (399, 0):
        with pytest.raises(
            SpecError, match=r"sr16000-fbank128-hop160: a clip of \d+ samples is sho"
        ):
            SPEC.n_frames(n_samples)
    with pytest.raises(SpecError, match="use longer clips or a smaller win_length"):
        SPEC.shape(399)


@given(specs(), st.integers(0, 10_000_000), st.integers(1, 20))
def test_frames_at_a_hop_multiple_are_every_kth_frame(spec, beyond, k):
    n_samples = spec.win_length + beyond
    hop_length = min(spec.hop_length, 2**20 // k)
    single = FbankSpec(sr=spec.sr, hop_length=hop_length, win_length=spec.win_length)
    multiple = FbankSpec(sr=spec.sr, hop_length=hop_length * k, win_length=spec.win_length)
    assert multiple.derivation(single).step == k
    assert multiple.n_frames(n_samples) == len(range(single.n_frames(n_samples))[::k])


@given(
    specs(),
    st.integers(1, 2**31) | st.integers(1, 1000),
    st.sampled_from(RATES),
    st.sampled_from(RATES),
)
def test_valid_frames_lie_within_the_valid_samples_and_are_at_least_one(spec, n_valid, sr, to_sr):
    spec = FbankSpec(sr=to_sr, hop_length=spec.hop_length, win_length=spec.win_length)
    n_frames = spec.n_valid_frames(n_valid, sr)
    there = Fraction(n_valid * to_sr, sr)  # samples at the spec's rate
    ends = [(n_frames - 1 + i) * spec.hop_length + spec.win_length for i in (0, 1)]
    assert type(n_frames) is int
    assert n_frames >= 1
    assert n_frames == 1 or ends[0] <= there
    assert there < ends[1]
    of_arrays = spec.n_valid_frames(np.array([n_valid]), np.array([sr]))
    assert (of_arrays.dtype, of_arrays.tolist()) == (np.int64, [n_frames])


@given(specs(), st.integers(0, 10**7))
def test_all_frames_of_a_full_clip_are_valid(spec, beyond):
    n_samples = spec.win_length + beyond
    assert spec.n_valid_frames(n_samples, spec.sr) == spec.n_frames(n_samples)


def test_coordinates_are_the_centres_of_bands_and_frames():
    mel, time = SPEC.coordinates(3)
    assert (mel.name, time.name) == SPEC.axes
    np.testing.assert_allclose(time.values, [0.0125, 0.0225, 0.0325], rtol=1e-12)
    # Even on the scale, a step from either edge of the bank.
    edges = np.concatenate([[20], mel.values, [8000]])
    np.testing.assert_allclose(np.diff(1127 * np.log(1 + edges / 700)), 21.770, atol=1e-3)
    assert SPEC.frame_step == Fraction(1, 100)
    assert SPEC.n_bands == len(mel.values) == 128


def test_the_mel_scale_and_its_inverse_are_kaldis():
    # 700 Hz are 1127 ln(2), 1 kHz is about 1000
    expected = [0, 1127 * 0.693147180559945, 999.99070]
    assert to_mel(np.array([0.0, 700.0, 1000.0])) == pytest.approx(expected, abs=1e-5)
    hz = np.linspace(0, 24000, 1000)
    np.testing.assert_allclose(from_mel(to_mel(hz)), hz, rtol=1e-12, atol=1e-9)


def test_the_range_begins_at_kaldis_floor():
    low, high = SPEC.value_range
    assert low == pytest.approx(-15.942385, abs=1e-6)
    assert high == pytest.approx(11.9396, abs=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        {"sr": 22050},
        {"n_mels": 64},
        {"win_length": 401},
        {"fmin": 30},
        {"fmax": 7000},
        {"condition": Condition.parse("noise0.1")},
        {"hop_length": 240},
        {"hop_length": 40},
    ],
)
def test_nothing_is_derived_from_a_bank_that_differs_in_more_than_a_dividing_hop(changed):
    stored = FbankSpec(**{"sr": 16000, "hop_length": 80, **changed})
    wanted = FbankSpec(sr=16000, hop_length=80 if "hop_length" in changed else 160)
    expected = changed == {"hop_length": 40}
    assert derivable(stored, wanted) == expected
    assert not derivable(FeatureSpec(sr=16000, n_mels=8), wanted)


def test_a_hop_that_is_a_multiple_need_not_be_stored():
    every = [FbankSpec(sr=16000, hop_length=hop_length) for hop_length in (160, 320, 480, 240)]
    assert minimal_basis(every) == (every[0], every[3])


def test_a_bank_under_a_condition_is_the_same_but_for_that():
    noisy = SPEC.under(Condition.parse("noise0.1"))
    assert noisy.name == f"{SPEC.name}~noise0.1"
    assert noisy.under(CLEAN) == SPEC


def test_fields_say_what_the_name_says_and_what_kaldi_fixes():
    assert FbankSpec(sr=16000, fmin=0, condition=Condition.parse("gain6")).fields() == {
        "sr": 16000, "n_mels": 128, "hop_length": 160, "win_length": 400, "n_fft": 512,
        "fmin": 0.0, "fmax": 8000.0, "window": "hann-symmetric", "preemphasis": 0.97,
        "log": "ln", "floor": 2**-23,
    }  # fmt: skip


def test_a_spec_of_numpy_numbers_is_a_spec_of_numbers_frozen_and_picklable():
    spec = FbankSpec(sr=np.int64(16000), n_mels=np.int32(128), fmin=np.float64(20))
    assert spec == SPEC
    assert [type(value) for value in (spec.sr, spec.n_mels, spec.fmin)] == [int, int, float]
    assert {pickle.loads(pickle.dumps(spec)): 1}[SPEC] == 1
    with pytest.raises(AttributeError, match="cannot assign"):
        spec.sr = 8000
