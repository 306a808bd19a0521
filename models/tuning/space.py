"""A setting that is searched for, and the values that it may take."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from featurestore.errors import TrainingSettingsError
from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = bool | int | float | str
SpaceKind = Literal["uniform", "log", "int", "choice"]

_FIXED = ("task", "draws", "device", "seed")
"""Settings that are the same for all trials: what is learnt, of what, and where."""

_HOW = (
    "give values (2,4,8), a range (0:0.15), one by orders of magnitude (log:5e-6:5e-4), or one of "
    "whole numbers (int:7:20)"
)

_RANGE = re.compile(r"(?:(log|int):)?([^:,]+):([^:,]+)")
_PAIR = re.compile(r"(\d+)-(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """A setting and its values.

    Parameters
    ----------
    name : str
        A field of `models.training.settings.TrainSettings`, or a field of one, ``adapter.rank``.
    kind : {'uniform', 'log', 'int', 'choice'}
        ``log`` is uniform in the logarithm.
    low, high : float
        Bounds, both included; of a choice, nan.
    choices : tuple
        Of a choice.

    Raises
    ------
    TrainingSettingsError
        If there are none, or are not in order.
    """

    name: str
    kind: SpaceKind
    low: float = math.nan
    high: float = math.nan
    choices: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(SpaceKind):
            raise TrainingSettingsError(f"the space of {self.name} is {self.kind!r}; {_HOW}")
        if self.kind == "choice":
            if not self.choices or len(set(map(str, self.choices))) < len(self.choices):
                raise TrainingSettingsError(
                    f"the space of {self.name} has no values, or one twice; {_HOW}"
                )
            return
        least = 0 if self.kind == "log" else -math.inf
        if not least < self.low < self.high < math.inf:
            raise TrainingSettingsError(
                f"the space of {self.name} is from {self.low:g} to {self.high:g}; bounds must rise"
                + (", from above 0" if self.kind == "log" else "")
            )
        if self.kind == "int" and (self.low % 1 or self.high % 1):
            raise TrainingSettingsError(
                f"the space of {self.name} is from {self.low:g} to {self.high:g}; int is of whole "
                "numbers"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``learning_rate=log:5e-6:5e-4``.

        Raises
        ------
        TrainingSettingsError
            If it is no such text.
        """
        name, equals, values = text.partition("=")
        name, values = name.strip().replace("-", "_"), values.strip()
        if not equals or not name or not values:
            raise TrainingSettingsError(f"the space {text!r} is not NAME=VALUES; {_HOW}")
        found = _RANGE.fullmatch(values)
        if found and None not in (bounds := (_number(found[2]), _number(found[3]))):
            kind: Any = found[1] or "uniform"
            return cls(name=name, kind=kind, low=bounds[0], high=bounds[1])
        choices = tuple(_value(part.strip()) for part in values.split(","))
        if "" in choices:
            raise TrainingSettingsError(f"the space {text!r} has an empty value; {_HOW}")
        return cls(name=name, kind="choice", choices=choices)

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"{self.name}={','.join(map(str, self.choices))}"
        kind = "" if self.kind == "uniform" else f"{self.kind}:"
        return f"{self.name}={kind}{self.low:g}:{self.high:g}"

    @property
    def is_log(self) -> bool:
        """Whether values are told apart by their ratios."""
        return self.kind == "log"

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values whose being allowed says that all are."""
        if self.kind == "choice":
            return self.choices
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)

    def distribution(self) -> "BaseDistribution":
        """As Optuna has it."""
        from optuna import distributions

        if self.kind == "choice":
            return distributions.CategoricalDistribution(self.choices)
        if self.kind == "int":
            return distributions.IntDistribution(int(self.low), int(self.high))
        return distributions.FloatDistribution(self.low, self.high, log=self.is_log)


def settings_with(given: Mapping[str, Any], values: Mapping[str, Value]) -> TrainSettings:
    """Settings of a trial: those that are given, and the values of searched ones.

    Parameters
    ----------
    given : mapping of str to object
        Fields of `TrainSettings`. Those that are left out are the recipe's or the usual ones.
    values : mapping of str to value
        By the names of their spaces; ``10-11`` is a pair of numbers.

    Raises
    ------
    TrainingSettingsError
        If there is no such setting, or it cannot be that.
    """
    known = [field.name for field in dataclasses.fields(TrainSettings)]
    fields = dict(given)
    for name, value in values.items():
        outer, dot, inner = name.partition(".")
        if outer not in known:
            raise TrainingSettingsError(
                f"there is no setting {outer!r} to search for; there are "
                f"{', '.join(field for field in known if field not in _FIXED)}"
            )
        if outer in _FIXED:
            raise TrainingSettingsError(f"{outer} is the same for all trials: leave it out")
        meant = _meant(value)
        fields[outer] = meant if not dot else _within(outer, fields.get(outer), inner, meant)
    return TrainSettings(**fields)


def require_possible(spaces: Sequence[Space], given: Mapping[str, Any]) -> None:
    """Refuse spaces that settings cannot be of, before anything is trained.

    Raises
    ------
    TrainingSettingsError
        If there are none, if one is named twice, if there is no such setting, or it cannot have a
        value at an end of its space.
    """
    if not spaces:
        raise TrainingSettingsError(
            "there is nothing to search for: give --space learning_rate=log:1e-5:1e-2, say, or "
            "--preset"
        )
    names = [space.name for space in spaces]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TrainingSettingsError(f"there are two spaces of {twice}; leave one out")
    for space in spaces:
        for value in space.ends:
            settings_with(given, {space.name: value})


def _within(outer: str, whole: object, inner: str, value: object) -> object:
    """The value of a setting with one of its own fields changed."""
    if not dataclasses.is_dataclass(whole) or isinstance(whole, type):
        raise TrainingSettingsError(
            f"{outer}.{inner} is of {outer}, which is {whole!r}: give it, or leave the space out"
        )
    if inner not in {field.name for field in dataclasses.fields(whole)}:
        raise TrainingSettingsError(f"{outer} has no {inner!r}; leave the space out")
    return dataclasses.replace(whole, **{inner: value})


def _meant(value: Value) -> object:
    pair = _PAIR.fullmatch(value) if isinstance(value, str) else None
    return (int(pair[1]), int(pair[2])) if pair else value


def _number(text: str) -> Any:
    """None for what is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return text
