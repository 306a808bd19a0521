import numpy as np
import pytest

from featurestore.errors import SpecError
from featurestore.specs.augmentation import MTAT, Augmentation, Step
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CLEAN, Condition, Perturbation


@pytest.mark.parametrize(
    "name",
    ["gauss0.005", "stretch0.8:1.2", "pitch-5:5", "pitch-5:-1", "bundle600_0.8:1.2", "mp3-32",
     "drc-music", "echo0.8_0.88_60:200_0.1:0.4"],
)  # fmt: skip
def test_a_step_reads_back_from_its_name(name):
    assert Step.parse(name).name == name


def test_a_range_of_one_number_is_the_number():
    assert Step.parse("gain3:3").name == "gain3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stretch1.2:0.8", r"'stretch1\.2:0\.8'.* from 1\.2 to 0\.8; give the smaller one first"),
        ("stretch0.8:5", r"'stretch5'.* is 5; it must be from 0\.25 to 4"),
        ("mp3-32:64", r"'mp3-32:64': the bit rate \[kbit/s\] is not drawn; give one number"),
        ("gauss0:", r"'gauss0:' has a range"),
        ("loud", "'loud' is no perturbation"),
        ("draw0", "'draw0' is no perturbation"),
        ("gauss0.1,,pitch1", "'' is no perturbation"),
    ],
)
def test_what_is_no_step_is_refused(text, message):
    with pytest.raises(SpecError, match=message):
        Augmentation.parse(text)


@pytest.mark.parametrize("probability", [0, -0.1, 1.01, float("nan")])
def test_a_probability_that_is_none_is_refused(probability):
    with pytest.raises(SpecError, match="must be above 0 and at most 1"):
        Augmentation.parse("pitch1", probability)


def test_an_augmentation_without_steps_is_refused():
    with pytest.raises(SpecError, match="give some, such as gauss"):
        Augmentation(steps=())


def test_it_is_called_by_its_steps_and_their_probability():
    assert str(Augmentation.parse(MTAT)) == "gauss0.005,stretch0.8:1.2,pitch-5:5 p0.5"
    assert Augmentation.parse("pitch1, gain3", 1).name == "pitch1,gain3 p1"


def drawn(augmentation, n=4000):
    generator = np.random.default_rng(0)
    return [augmentation.draw(generator) for _ in range(n)]


def test_each_step_is_taken_with_the_probability_and_independently():
    draws = drawn(Augmentation.parse(MTAT, 0.3))
    words = [tuple(p.word for p in draw.perturbations) for draw in draws]
    assert set(words) >= {(), ("gauss", "stretch", "pitch"), ("gauss", "pitch"), ("stretch",)}
    # five standard deviations of the mean of 4000 draws: 0.036
    taken = np.array([[word in w for word in ("gauss", "stretch", "pitch")] for w in words])
    np.testing.assert_allclose(taken.mean(axis=0), 0.3, atol=0.037)
    np.testing.assert_allclose(taken.all(axis=1).mean(), 0.3**3, atol=0.037)
    assert all(draw != CLEAN for draw in drawn(Augmentation.parse("pitch-5:5", 1), 100))


def test_amounts_are_drawn_uniformly_from_their_ranges():
    draws = drawn(Augmentation.parse("gauss0.005,pitch-5:5", 1))
    assert {draw.perturbations[0] for draw in draws} == {Perturbation.parse("gauss0.005")}
    semitones = np.array([draw.perturbations[1].amounts[0] for draw in draws])
    assert semitones.min() >= -5
    assert semitones.max() <= 5
    # a quarter of them in each quarter of the range, within five standard deviations
    counts, _ = np.histogram(semitones, bins=4, range=(-5, 5))
    np.testing.assert_allclose(counts / len(draws), 0.25, atol=0.035)


def test_the_fastest_draw_has_all_steps_that_make_it_faster():
    assert Augmentation.parse(MTAT).speed == 1.2
    assert Augmentation.parse("stretch0.5:0.9,tempo1:2,bundle600_1.5").speed == 3
    assert Augmentation.parse("stretch0.5:0.9,gauss0.1").speed == 1


def test_a_draw_is_a_condition_of_a_spec():
    spec = FeatureSpec(sr=16000, n_mels=48)
    draw = spec.under(Condition(draw=3))
    assert draw.name == "sr16000-mel48-x1-db~draw3"
    assert FeatureSpec.parse(draw.name) == draw
    assert draw.condition.is_draw
    assert draw.condition
    assert draw.condition.speed == 1
    assert draw.derivation(spec) is None
    assert not Condition.parse("noise0.1").is_draw
    assert not CLEAN.is_draw


@pytest.mark.parametrize(
    "name", ["draw0~noise0.1", "noise0.1~draw0", "draw", "draw-1", "draw01", "draw0.5", "draw10000"]
)
def test_a_draw_is_alone_and_numbered(name):
    with pytest.raises(SpecError, match=r"is no perturbation"):
        Condition.parse(name)


def test_a_draw_of_further_perturbations_is_refused():
    with pytest.raises(SpecError, match="draw0 is a condition of its own; leave out pitch1"):
        Condition((Perturbation.parse("pitch1"),), draw=0)
    with pytest.raises(SpecError, match="there is no draw 10000"):
        Condition(draw=10_000)


def test_a_range_without_draws_is_refused_with_the_remedy():
    with pytest.raises(SpecError, match=r"'stretch0\.8:1\.2' has a range .*--draws N"):
        Condition.parse("stretch0.8:1.2")
