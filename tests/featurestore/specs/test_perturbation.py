import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SpecError
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import (
    CLEAN,
    CONDITIONS,
    PERTURBATIONS,
    Condition,
    Perturbation,
    by_condition,
)


@st.composite
def perturbations(draw):
    word = draw(st.sampled_from(sorted(PERTURBATIONS)))
    amounts = [
        draw(st.floats(amount.low, amount.high).map(lambda value: round(value, 6)))
        for amount in PERTURBATIONS[word].amounts
    ]
    return Perturbation(word=word, amounts=tuple(amounts))


@given(perturbations())
def test_a_name_is_read_back(perturbation):
    assert Perturbation.parse(perturbation.name) == perturbation
    assert "e" not in perturbation.name.removeprefix(perturbation.word)


@given(perturbations(), perturbations())
def test_a_spec_under_a_condition_is_read_back_and_is_another_one(first, second):
    clean = parse_spec("sr16000-mel48-x2-db")
    spec = clean.under(Condition((first, second)))
    assert parse_spec(spec.name) == spec != clean
    assert spec.name == f"sr16000-mel48-x2-db~{first.name}~{second.name}"
    assert spec.under(CLEAN) == clean
    assert spec.condition.speed == pytest.approx(first.speed * second.speed)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("noise", "noise takes share of the noise"),
        ("noise2", "share of the noise is 2; it must be from 0 to 1"),
        ("stretch0", "how many times faster is 0; it must be from 0.25 to 4"),
        ("pitch99", r"how much \[semitones\] is 99; it must be from -24 to 24"),
        ("drc-music1", "drc-music takes no number"),
        ("echo0.5", r"echo takes gain before, gain after, delay \[ms\], decay"),
        ("louder3", "'louder3' is no perturbation; there are gauss, noise, "),
        ("gain1e1", "'1e1' is no number, such as 0.1"),
        ("mp3-1000", r"bit rate \[kbit/s\] is 1000; it must be from 8 to 320"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(name, match):
    with pytest.raises(SpecError, match=match):
        Condition.parse(name)


@pytest.mark.parametrize(
    "name", ["~", "~clean", "~noise0.10", "~noise0.1~", "~noise0.1~~pitch1", "~gain+1"]
)
def test_a_condition_has_one_spelling_in_a_specs_name(name):
    with pytest.raises(SpecError):
        parse_spec(f"sr16000-mel48-x2-db{name}")


def test_a_name_too_long_for_a_folder_is_refused_before_anything_is_written():
    with pytest.raises(SpecError, match=r"13 perturbations has a name of 260 characters; .* 150"):
        Condition.parse("~".join(["echo0.8_0.88_60_0.4"] * 13))


def test_another_condition_is_no_view():
    clean = parse_spec("sr16000-mel48-x1-db")
    noisy = clean.under(Condition.parse("noise0.1"))
    coarse = parse_spec("sr16000-mel48-x2-db~noise0.1")
    assert noisy.derivation(clean) is None
    assert coarse.derivation(clean) is None
    assert coarse.derivation(noisy).step == 2


def test_valid_samples_follow_the_speed():
    n_valid, n_following = np.array([1000, 1000, 0]), np.array([0, 500, 0])
    for name, expected in (("pitch1", [1000, 1000, 0]), ("stretch2", [500, 750, 0])):
        found = Condition.parse(name).n_valid(n_valid, n_following)
        assert found.tolist() == expected
    assert Condition.parse("stretch4").n_valid(np.array([1]), np.array([0])).tolist() == [1]


def test_each_clip_and_condition_draws_for_itself_and_the_same_again():
    first, second = (Condition.parse(name) for name in ("noise0.1", "noise0.4"))
    drawn = [c.generator(seed).integers(2**32) for c in (first, second) for seed in (1, 2)]
    assert len(set(drawn)) == 4
    assert first.generator(1).integers(2**32) == drawn[0]


def test_named_sets_are_those_of_their_studies():
    assert len(CONDITIONS["smc2020"]) == 8
    assert set(CONDITIONS["mtat"]) < set(CONDITIONS["smc2020"])


def test_conditions_are_gathered_by_the_clean_name():
    assert by_condition(["a~x1", "b", "a"]) == {"a": ["x1", "clean"], "b": ["clean"]}
