import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import TrainingSettingsError
from models.training.settings import TrainSettings
from models.tuning.presets import PRESETS, searched
from models.tuning.space import Space, require_possible, settings_with


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("learning_rate=log:5e-6:5e-4", {"kind": "log", "low": 5e-6, "high": 5e-4}),
        ("weight-decay=0:0.15", {"kind": "uniform", "low": 0, "high": 0.15}),
        ("epochs=int:7:20", {"kind": "int", "low": 7, "high": 20}),
        ("batch_size=2,4,8", {"kind": "choice", "choices": (2, 4, 8)}),
        ("warm_up=0, 0.1", {"kind": "choice", "choices": (0, 0.1)}),
        ("recipe=modern,ferraro2020", {"kind": "choice", "choices": ("modern", "ferraro2020")}),
        ("model=my_net.py:MyNet,vgg", {"kind": "choice", "choices": ("my_net.py:MyNet", "vgg")}),
        ("adapter.layers=10-11,11-11", {"kind": "choice", "choices": ("10-11", "11-11")}),
        ("nested=true,false", {"kind": "choice", "choices": (True, False)}),
    ],
)
def test_a_space_is_read(text, space):
    found = Space.parse(text)
    name = text.partition("=")[0].replace("-", "_")
    assert found == Space(name=name, **space)
    assert list(map(type, found.choices)) == list(map(type, space.get("choices", ())))


@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3), st.sampled_from(["uniform", "log"]))
def test_what_a_space_says_of_itself_tells_it_from_others(low, high, kind):
    low, high = float(f"{min(low, high):g}"), float(f"{max(low, high):g}")
    if low < high:
        space = Space(name="learning_rate", kind=kind, low=low, high=high)
        assert Space.parse(str(space)) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "is not NAME=VALUES; give values"),
        ("=1:2", "is not NAME=VALUES"),
        ("epochs=", "is not NAME=VALUES"),
        ("weight_decay=0.2:0.1", "is from 0.2 to 0.1; bounds must rise"),
        ("learning_rate=log:0:1", "is from 0 to 1; bounds must rise, from above 0"),
        ("epochs=int:1:2.5", "int is of whole numbers"),
        ("epochs=1,1", "has no values, or one twice"),
        ("epochs=1,,2", "has an empty value"),
        ("weight_decay=0:nan", "bounds must rise"),
    ],
)
def test_a_space_that_is_none_is_refused(text, message):
    with pytest.raises(TrainingSettingsError, match=message):
        Space.parse(text)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "nothing to search for: give --space"),
        (["rate=0:1"], "there is no setting 'rate' to search for; there are model, "),
        (["epochs=2,3", "epochs=int:2:3"], "there are two spaces of epochs"),
        (["seed=1,2"], "seed is the same for all trials"),
        (["task=tagging,classification"], "task is the same for all trials"),
        (["epochs=0,3"], "epochs is 0; it must be a whole number from 1"),
        (["learning_rate=log:0.1:2"], "learning_rate is 2"),
        (["width.deep=1,2"], "width.deep is of width, which is 1.0: give it, or leave"),
    ],
)
def test_spaces_that_settings_cannot_be_of_are_refused_before_a_trial(texts, message):
    with pytest.raises(TrainingSettingsError, match=message):
        require_possible([Space.parse(text) for text in texts], {"width": 1.0})


def test_what_is_not_searched_is_what_is_given_or_the_recipes_of_the_trial():
    settings = settings_with({"width": 0.1, "batch_size": None}, {"recipe": "modern", "epochs": 3})
    assert settings == TrainSettings(width=0.1, recipe="modern", epochs=3)
    assert (settings.weight_decay, settings.warm_up) == (0.05, 0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    rank: int = 1
    layers: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole(TrainSettings):
    """Settings one of which has fields of its own."""

    part: Part | None = None


def test_a_field_of_a_setting_is_searched_too(monkeypatch):
    monkeypatch.setattr("models.tuning.space.TrainSettings", Whole)
    found = settings_with({"part": Part()}, {"part.rank": 3, "part.layers": "10-11"})
    assert found.part == Part(rank=3, layers=(10, 11))
    with pytest.raises(TrainingSettingsError, match="part has no 'alpha'; leave the space out"):
        settings_with({"part": Part()}, {"part.alpha": 3})


def test_a_preset_is_what_settings_can_have_of_it_and_says_what_else_there_is():
    spaces, notes = searched((), "ast-dora", {})
    assert {"learning_rate", "batch_size", "warm_up", "weight_decay", "epochs"} <= {
        space.name for space in spaces
    }
    assert len(spaces) + len(notes) == len(PRESETS["ast-dora"]) == 9
    require_possible(spaces, {})
    others, _ = searched(("epochs=2,3",), "ast-dora", {})
    assert [space for space in others if space.name == "epochs"] == [Space.parse("epochs=2,3")]
    with pytest.raises(TrainingSettingsError, match="no preset 'ast'; there are ast-dora"):
        searched((), "ast", {})
