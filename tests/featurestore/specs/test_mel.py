import pickle
import re
import warnings
from fractions import Fraction

import librosa
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featurestore import FeatureSpec
from featurestore.errors import MelgridError, SpecError
from featurestore.specs.mel import mel_edges

FREQUENCIES = st.integers(0, 24_000_000).map(lambda millihertz: millihertz / 1000)


@st.composite
def specs(draw):
    """Any spec whose filters are not empty."""
    fields = {
        "sr": draw(st.integers(1000, 48000) | st.sampled_from([12000, 16000, 44100])),
        "n_mels": draw(st.integers(1, 128)),
        "hop": draw(
            st.integers(1, 20) | st.integers(1, 4000).map(lambda length: Fraction(length, 256))
        ),
        "log": draw(st.sampled_from(["db", "log"])),
        "n_fft": draw(st.sampled_from([512, 1024, 2048]) | st.integers(64, 4096)),
        "fmin": draw(st.just(0.0) | FREQUENCIES),
        "fmax": draw(st.none() | FREQUENCIES),
        "window": draw(st.sampled_from(["hann", "hann-symmetric"])),
        "htk": draw(st.booleans()),
        "norm": draw(st.sampled_from(["slaney", None])),
    }
    fields["win_length"] = draw(st.none() | st.integers(16, fields["n_fft"]))
    try:
        return FeatureSpec(**fields)
    except SpecError:
        assume(False)


@given(specs())
def test_a_name_parses_back_to_its_spec(spec):
    assert FeatureSpec.parse(spec.name) == spec


@given(specs(), specs())
def test_specs_have_the_same_name_only_if_they_are_equal(one, other):
    assert (one.name == other.name) == (one == other)
    assert hash(one) == hash(other) or one != other


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "sr16000-mel48-x2-db"),
        ({"sr": 12000}, "sr12000-mel48-x2-db"),
        ({"n_mels": 32}, "sr16000-mel32-x2-db"),
        ({"hop": Fraction(160, 256)}, "sr16000-mel48-hop160-db"),
        ({"hop": Fraction(512, 256)}, "sr16000-mel48-x2-db"),
        ({"log": "log"}, "sr16000-mel48-x2-log"),
        ({"n_fft": 1024}, "sr16000-mel48-x2-db-fft1024"),
        ({"fmin": 30}, "sr16000-mel48-x2-db-fmin30"),
        ({"fmin": 27.5, "fmax": 7999.999}, "sr16000-mel48-x2-db-fmin27.5-fmax7999.999"),
        ({"fmax": 8000}, "sr16000-mel48-x2-db"),
        ({"window": "hann-symmetric"}, "sr16000-mel48-x2-db-symmetric"),
        ({"win_length": 400}, "sr16000-mel48-x2-db-win400"),
        ({"win_length": 512}, "sr16000-mel48-x2-db"),
        ({"htk": True}, "sr16000-mel48-x2-db-htk"),
        ({"norm": None}, "sr16000-mel48-x2-db-nonorm"),
        (
            {
                "n_fft": 1024,
                "window": "hann-symmetric",
                "win_length": 400,
                "htk": True,
                "norm": None,
            },
            "sr16000-mel48-x2-db-fft1024-symmetric-win400-htk-nonorm",
        ),
    ],
)
def test_a_name_shows_what_is_off_its_default(changed, name):
    spec = FeatureSpec(**{"sr": 16000, "n_mels": 48, "hop": 2, **changed})
    assert spec.name == str(spec) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sr16000-mel48-x2",
        "sr16000-mel48-x2-db-",
        "sr016000-mel48-x2-db",
        "sr16000-mel48-hop512-db",
        "sr16000-mel48-x2-db-fft512",
        "sr16000-mel48-x2-db-fmin0",
        "sr16000-mel48-x2-db-fmin30.0",
        "sr16000-mel48-x2-db-fmin1.2.3",
        "sr16000-mel48-x2-db-fmax8000",
        "sr16000-mel48-x2-db-fmin30-fft1024",
        "sr16000-mel48-x2-db-win512",
        "sr16000-mel48-x2-db-win0400",
        "sr16000-mel48-x2-db-nonorm-htk",
        "sr16000-mel48-x2-db\n",
        "sr٣٢٠٠٠-mel48-x2-db",
        "../sr16000-mel48-x2-db",
        "sr16000-mel48-x" + "9" * 5000 + "-db",
    ],
)
def test_what_is_no_specs_name_does_not_parse(name):
    with pytest.raises(SpecError, match="is not a spec's name"):
        FeatureSpec.parse(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sr0-mel48-x2-db", "sr is 0 Hz; it must be from 1000 to 768000 Hz"),
        ("sr16000-mel48-x0-db", "hop is 0, a hop_length of 0 samples"),
        ("sr16000-mel48-x2-ln", "log is 'ln'; it must be one of db, log"),
    ],
)
def test_a_name_of_a_spec_that_cannot_be_says_why(name, message):
    with pytest.raises(SpecError, match=message):
        FeatureSpec.parse(name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sr": 0}, "sr is 0 Hz; it must be from 1000 to 768000 Hz"),
        ({"sr": 16000.0}, r"sr is 16000\.0; it must be a whole number"),
        ({"sr": True}, "sr is True; it must be a whole number"),
        ({"n_mels": 0}, "n_mels is 0; it must be from 1 to 4096"),
        ({"n_mels": "48"}, "n_mels is '48'; it must be a whole number"),
        ({"n_fft": 8}, "n_fft is 8 samples; it must be from 16 to 65536 samples"),
        ({"hop": 0}, "hop is 0, a hop_length of 0 samples"),
        ({"hop": -1}, "hop is -1"),
        ({"hop": Fraction(1, 3)}, "hop_length must be a whole number of samples"),
        ({"hop": float("nan")}, "hop is nan; it must be a multiple of 256 samples"),
        ({"hop": float("inf")}, "hop is inf; it must be a multiple of 256 samples"),
        ({"hop": "x2"}, "hop is 'x2'; it must be a multiple of 256 samples"),
        ({"hop": None}, "hop is None; it must be a multiple of 256 samples"),
        ({"hop": 2**20}, "from 1 to 1048576"),
        ({"log": "ln"}, "log is 'ln'; it must be one of db, log"),
        ({"window": "hamming"}, "window is 'hamming'; it must be one of hann, hann-symmetric"),
        ({"fmin": -1}, "they must satisfy 0 <= fmin < fmax <= sr / 2 = 8000 Hz"),
        ({"fmin": 4000, "fmax": 4000}, "fmin is 4000 Hz and fmax 4000 Hz"),
        ({"fmax": 8000.5}, "fmax 8000.5 Hz"),
        ({"fmin": 0.0001}, "fmin is 0.0001 Hz; it must be a multiple of 0.001 Hz"),
        ({"fmin": float("nan")}, "fmin is nan Hz"),
        ({"fmax": float("inf")}, "fmax inf Hz"),
        ({"fmin": "30"}, "fmin is '30'; it must be a frequency in Hz"),
        ({"win_length": 513}, "win_length is 513 samples; it must be from 16 to 512 samples"),
        ({"win_length": 0}, "win_length is 0 samples; it must be from 16 to 512 samples"),
        ({"win_length": 400.0}, r"win_length is 400\.0; it must be a whole number"),
        ({"htk": "yes"}, "htk is 'yes'; it must be True or False"),
        ({"htk": 1}, "htk is 1; it must be True or False"),
        ({"norm": "none"}, "norm is 'none'; it must be 'slaney' or None"),
        ({"norm": 1}, "norm is 1; it must be 'slaney' or None"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_field_value_and_bound(changed, message):
    with pytest.raises(SpecError, match=message):
        FeatureSpec(**{"sr": 16000, "n_mels": 48, **changed})


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(TypeError, match="hop_length"):
        FeatureSpec(sr=16000, n_mels=48, hop_length=512)


def test_errors_about_specs_are_value_errors_of_one_root():
    with pytest.raises(ValueError, match="sr is 0 Hz") as caught:
        FeatureSpec(sr=0, n_mels=48)
    assert isinstance(caught.value, MelgridError)


@pytest.mark.parametrize(("n_mels", "n_fft"), [(128, 512), (200, 1024), (2000, 2048)])
def test_empty_filters_are_refused_with_the_bands_and_the_remedy(n_mels, n_fft):
    bands = _empty_by_librosa(sr=44100, n_mels=n_mels, n_fft=n_fft)
    which = ", ".join(map(str, bands[:8])) + (", …" if len(bands) > 8 else "")
    message = (
        f"n_mels is {n_mels}: {len(bands)} mel filters hold no FFT bin (bands {which} at sr 44100 "
        f"Hz, n_fft {n_fft}); use fewer bands or a larger n_fft"
    )
    with pytest.raises(SpecError, match=re.escape(message)):
        FeatureSpec(sr=44100, n_mels=n_mels, n_fft=n_fft)


@given(
    st.sampled_from([8000, 12000, 16000, 22050, 44100]),
    st.integers(1, 256),
    st.sampled_from([256, 512, 1024, 2048]),
)
def test_a_spec_is_refused_just_where_librosas_filter_bank_has_an_empty_band(sr, n_mels, n_fft):
    if len(_empty_by_librosa(sr=sr, n_mels=n_mels, n_fft=n_fft)):
        with pytest.raises(SpecError, match="hold no FFT bin"):
            FeatureSpec(sr=sr, n_mels=n_mels, n_fft=n_fft)
    else:
        FeatureSpec(sr=sr, n_mels=n_mels, n_fft=n_fft)


@given(
    st.sampled_from([8000, 12000, 16000, 22050, 44100]),
    st.integers(1, 256),
    st.sampled_from([256, 512, 1024, 2048]),
)
def test_htks_empty_filters_are_accepted_and_told_as_librosa_has_them(sr, n_mels, n_fft):
    spec = FeatureSpec(sr=sr, n_mels=n_mels, n_fft=n_fft, htk=True)
    empty = _empty_by_librosa(sr=sr, n_mels=n_mels, n_fft=n_fft, htk=True)
    assert spec.empty_filters.tolist() == empty.tolist()


def test_the_lowest_of_the_published_128_bands_is_empty():
    empty = FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None).empty_filters
    assert empty.tolist() == [0]
    assert len(FeatureSpec(sr=22050, n_mels=128, n_fft=1024, htk=True).empty_filters) == 0


def _empty_by_librosa(*, sr, n_mels, n_fft, htk=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels, htk=htk, dtype=np.float64)
    return np.flatnonzero(filters.max(axis=1) == 0)


@given(st.integers(1, 128), st.integers(0, 3000), st.integers(3001, 24000), st.booleans())
def test_mel_frequencies_are_librosas(n_mels, fmin, fmax, htk):
    expected = librosa.mel_frequencies(n_mels + 2, fmin=fmin, fmax=fmax, htk=htk)
    # float64 rounding of exp and log
    got = mel_edges(n_mels, fmin, fmax, htk=htk)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-9)


def test_mel_frequencies_are_the_centres_of_the_bands():
    spec = FeatureSpec(sr=16000, n_mels=96, fmin=30, fmax=7600)
    expected = librosa.mel_frequencies(98, fmin=30, fmax=7600)[1:-1]
    np.testing.assert_allclose(spec.mel_frequencies, expected, rtol=1e-12)


@given(st.integers(0, 10_000_000), st.integers(1, 20))
def test_frames_at_a_hop_multiple_are_every_kth_frame(n_samples, k):
    spec, single = (FeatureSpec(sr=16000, n_mels=8, hop=hop) for hop in (k, 1))
    assert spec.hop_length == 256 * k
    assert spec.n_frames(n_samples) == 1 + n_samples // (256 * k)
    assert spec.n_frames(n_samples) == -(-single.n_frames(n_samples) // k)
    assert spec.n_frames(n_samples) == len(range(single.n_frames(n_samples))[::k])


def test_the_studys_clips_have_librosas_frames():
    # REFERENCE §1.2: librosa gives 1365 and 1819, Essentia one more
    for sr, n_frames in ((12000, 1365), (16000, 1819)):
        assert FeatureSpec(sr=sr, n_mels=96).n_frames(round(29.1 * sr)) == n_frames


def test_a_spec_of_numpy_numbers_is_a_spec_of_numbers():
    spec = FeatureSpec(sr=np.int64(16000), n_mels=np.int32(48), fmin=np.float64(30))
    assert spec == FeatureSpec(sr=16000, n_mels=48, fmin=30)
    assert [type(value) for value in (spec.sr, spec.n_mels, spec.fmin)] == [int, int, float]


def test_a_spec_is_frozen_hashable_and_picklable():
    spec = FeatureSpec(sr=16000, n_mels=48, hop=Fraction(160, 256))
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert {spec: 1}[FeatureSpec.parse(spec.name)] == 1
    with pytest.raises(AttributeError, match="cannot assign"):
        spec.sr = 8000


def test_rates_say_how_fine_a_spec_is():
    spec = FeatureSpec(sr=16000, n_mels=48, hop=2, log="db")
    assert (spec.frame_rate, spec.values_per_second) == (31.25, 1500)
    assert (len(spec.edges), spec.edges[0]) == (50, 0)
    assert spec.edges[-1] == pytest.approx(8000)


def test_coordinates_and_fields_of_htk_bands_are_their_own():
    spec = FeatureSpec(sr=16000, n_mels=40, htk=True, norm=None, win_length=400)
    expected = librosa.mel_frequencies(42, fmin=0, fmax=8000, htk=True)[1:-1]
    np.testing.assert_allclose(spec.coordinates(3)[0].values, expected, rtol=1e-12)
    fields = spec.fields()
    assert (fields["win_length"], fields["htk"], fields["norm"]) == (400, True, "none")
    fields = FeatureSpec(sr=16000, n_mels=40).fields()
    assert (fields["win_length"], fields["htk"], fields["norm"]) == (512, False, "slaney")


@pytest.mark.parametrize("changed", [{"htk": True}, {"norm": None}, {"win_length": 400}])
def test_no_spec_is_derived_from_one_of_other_filters_or_window(changed):
    plain, other = FeatureSpec(sr=16000, n_mels=40), FeatureSpec(sr=16000, n_mels=40, **changed)
    assert other.derivation(plain) is None
    assert plain.derivation(other) is None
    assert other.derivation(other) is not None


@pytest.mark.parametrize(
    ("changed", "in_db", "in_log"),
    [
        ({}, 40, 7),
        ({"htk": True}, 40, 7),
        ({"norm": None}, 50, 9),
        ({"norm": None, "n_fft": 1024}, 60, 10),
        ({"norm": None, "n_fft": 1024, "win_length": 256}, 50, 9),
        ({"norm": None, "n_fft": 64}, 40, 7),
    ],
)
def test_filters_without_area_norm_have_a_range_of_their_own(changed, in_db, in_log):
    made = [FeatureSpec(sr=16000, n_mels=8, log=log, **changed) for log in ("db", "log")]
    assert [spec.value_range for spec in made] == [(-100, in_db), (0, in_log)]
