from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import AudioError
from featurestore.format.statistics import statistics_of
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import ferraro2020, grid
from featurestore.specs.mel import VALUE_RANGE, FeatureSpec
from pipeline.audio.clip import Cropper
from pipeline.features.plan import arrange
from pipeline.features.spectra import arrange as arrange_spectra
from pipeline.features.spectra import encoded

WINDOW = Excerpt(duration=1.5)
FLOAT32 = defaultdict(lambda: Encoding(name="float32"))
SHORT = grid(sr=[16000], n_mels=[24, 48], hop=[1, 4], log=["db", "log"])


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    t = np.arange(2 * 16000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 300 * t * (1 + 0.1 * t))
    samples = (tone + 0.01 * rng.standard_normal(len(t))).astype(np.float32)
    return Cropper(samples, 16000, WINDOW).clip()


def computed(plan, clip):
    return {spec: values for spec, values, _ in plan.compute(clip, "native", FLOAT32)}


def test_the_studys_grid_takes_one_spectrum_a_rate():
    analyses = [a for _, _, some in arrange(ferraro2020()).analyses for a in some]
    assert [(a.stft.sr, a.stft.hop_length, len(a.stft.banks)) for a in analyses] == [
        (12000, 256, 7),
        (16000, 256, 7),
    ]
    assert sum(len(a.specs) for a in analyses) == 88


def test_a_single_spec_computes_only_its_own_frames():
    spec = FeatureSpec(sr=16000, n_mels=48, hop=4)
    (analysis,) = arrange_spectra([spec])
    assert analysis.stft.hop_length == spec.hop_length == 1024
    assert analysis.specs == (spec,)


def test_hops_share_a_spectrum_only_where_that_means_fewer_frames():
    specs = [
        FeatureSpec(sr=16000, n_mels=48, hop=1),
        FeatureSpec(sr=16000, n_mels=48, hop=Fraction(160, 256)),
        FeatureSpec(sr=16000, n_mels=48, hop=Fraction(320, 256)),
    ]
    assert sorted(a.stft.hop_length for a in arrange_spectra(specs)) == [160, 256]


def test_a_grid_gives_each_spec_what_it_gets_alone(clip):
    together = computed(arrange(ferraro2020()), clip)
    assert len(together) == 88
    for spec, values in together.items():
        ((_, alone, _),) = arrange([spec]).compute(clip, "native", FLOAT32)
        assert values.shape == (spec.n_mels, spec.n_frames(WINDOW.n_samples(spec.sr)))
        np.testing.assert_array_equal(values, alone)


def test_hop_multiples_within_a_grid_are_slices_bit_for_bit(clip):
    together = computed(arrange(ferraro2020()), clip)
    for spec, values in together.items():
        if spec.hop != 1:
            first = FeatureSpec(sr=spec.sr, n_mels=spec.n_mels, hop=1, log=spec.log)
            np.testing.assert_array_equal(values, together[first][:, :: spec.hop])


def test_the_same_plan_gives_the_same_bits(clip):
    plan = arrange(ferraro2020())
    first, second = (computed(plan, clip) for _ in range(2))
    assert all(np.array_equal(first[spec], second[spec]) for spec in first)


def test_statistics_are_of_the_specs_own_values_and_the_same_alone(clip):
    for spec, values, statistics in arrange(ferraro2020()).compute(clip, "native", FLOAT32):
        ((_, _, alone),) = arrange([spec]).compute(clip, "native", FLOAT32)
        np.testing.assert_array_equal(statistics, alone)
        expected = statistics_of(values)
        np.testing.assert_allclose(statistics[0], expected[0], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(statistics[1], expected[1], rtol=1e-6, atol=1e-7)


def test_statistics_are_of_what_is_audio_alone():
    rng = np.random.default_rng(1)
    short = Cropper(rng.standard_normal(8000).astype(np.float32), 16000, WINDOW).clip()
    for spec, values, statistics in arrange(SHORT).compute(short, "native", FLOAT32):
        valid = values[:, : 1 + 8000 // spec.hop_length]
        np.testing.assert_allclose(statistics[0], valid.mean(axis=1), rtol=1e-5)
        np.testing.assert_allclose(statistics[1], valid.std(axis=1), rtol=2e-3)


@pytest.mark.parametrize(("encoding", "expected"), [("uint8", 1), ("float16", 0)])
def test_what_an_encoding_clips_is_counted(encoding, expected):
    loud = Cropper(np.full(24000, 1e6, np.float32), 16000, WINDOW).clip()
    spec = FeatureSpec(sr=16000, n_mels=8)
    ((_, values, statistics),) = arrange([spec]).compute(
        loud, "native", {spec: Encoding(name=encoding)}
    )
    # a constant's power lies in the lowest band, but for the frames that begin and end in silence
    assert statistics[2, 0] == expected
    if encoding == "uint8":
        np.testing.assert_array_equal(statistics[2], (values == 254).mean(axis=1, dtype="f4"))


def test_samples_whose_power_overflows_are_not_finite():
    loud = Cropper(np.full(24000, 1e30, np.float32), 16000, WINDOW).clip()
    with pytest.raises(AudioError, match="NonFinite: the samples' power overflows"):
        list(arrange([FeatureSpec(sr=16000, n_mels=48)]).compute(loud, "native", FLOAT32))


@given(
    sr=st.sets(st.sampled_from([8000, 12000, 16000]), min_size=1),
    n_mels=st.sets(st.sampled_from([8, 16, 24, 48]), min_size=1),
    hop=st.sets(st.sampled_from([1, 2, 3, 5, Fraction(5, 8), Fraction(160, 256)]), min_size=1),
    log=st.sets(st.sampled_from(["db", "log"]), min_size=1),
)
def test_every_spec_of_any_grid_is_computed_once_with_the_right_shape(clip, sr, n_mels, hop, log):
    specs = grid(sr=sr, n_mels=n_mels, hop=hop, log=log)
    made = list(arrange(specs).compute(clip, "native", FLOAT32))
    assert sorted(spec.name for spec, _, _ in made) == sorted(spec.name for spec in specs)
    for spec, values, statistics in made:
        assert statistics.shape == (3, spec.n_mels)
        assert values.shape == (spec.n_mels, spec.n_frames(WINDOW.n_samples(spec.sr)))


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_the_plan_encodes_to_the_same_bits_as_the_encoding_beyond_its_limits_too(name):
    beyond = [1e5, -1e5, 65504, 65519.9, 65520, np.inf, -np.inf, np.nan, -0.0, 2**-24, 2**-25, 1e-9]
    rng = np.random.default_rng(0)
    values = np.concatenate([beyond, rng.uniform(-100, 40, 4084)]).astype(np.float32)[None]
    encoding = Encoding(name=name)
    stored = encoded(values, encoding, VALUE_RANGE["db"])
    assert stored.tobytes() == encoding.encode(values, VALUE_RANGE["db"]).tobytes()
    if name == "float16":
        np.testing.assert_array_equal(
            stored[0, :8], [65504, -65504, 65504, 65504, 65504, 65504, -65504, np.nan]
        )
