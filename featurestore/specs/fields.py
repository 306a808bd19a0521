"""Checks of fields that several kinds of specs have, and how names write and read them."""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeVar

import numpy as np

from featurestore.errors import SpecError
from featurestore.specs.perturbation import Condition, split_name
from featurestore.specs.spec import Spec

S = TypeVar("S", bound=Spec)

HOP_UNIT = 256
"""Samples in a hop of ``x1``."""

SAMPLE_RATES = 1000, 768_000
"""Lowest and highest [Hz]."""

MAX_HOP_LENGTH = 2**20
"""Of any kind [samples]."""


def whole_number(field: str, value: object, low: int, high: int, unit: str = "") -> int:
    """A field's value as an int.

    Raises
    ------
    SpecError
        If it is no whole number from `low` to `high`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise SpecError(f"{field} is {value!r}; it must be a whole number")
    if not low <= value <= high:
        raise SpecError(f"{field} is {value}{unit}; it must be from {low} to {high}{unit}")
    return int(value)


def parse_hop(hop: int | Fraction) -> int | Fraction:
    """A hop in multiples of `HOP_UNIT` samples, as an int where it is whole.

    Raises
    ------
    SpecError
        If it is not a whole number of samples, from 1 to `MAX_HOP_LENGTH`.
    """
    try:
        multiple = Fraction(hop)
    except (TypeError, ValueError, OverflowError):
        raise SpecError(
            f"hop is {hop!r}; it must be a multiple of {HOP_UNIT} samples, "
            f"such as 2 (x2), or Fraction(160, {HOP_UNIT})"
        ) from None
    hop_length = multiple * HOP_UNIT
    if hop_length.denominator != 1 or not 1 <= hop_length <= MAX_HOP_LENGTH:
        raise SpecError(
            f"hop is {multiple}, a hop_length of {hop_length} samples; "
            f"hop_length must be a whole number of samples from 1 to {MAX_HOP_LENGTH}"
        )
    return multiple.numerator if multiple.denominator == 1 else multiple


def hop_of(groups: Mapping[str, str | None]) -> int | Fraction:
    """A hop as names give it, by the groups ``hop`` and ``hop_length`` of their patterns."""
    hop = groups["hop"]
    return int(hop) if hop else Fraction(int(groups["hop_length"] or 0), HOP_UNIT)


def parse_edges(fmin: float, fmax: float | None, sr: int) -> tuple[float, float | None]:
    """Lower and upper edge of a filter bank [Hz]; the upper one is None where it is ``sr / 2``.

    Raises
    ------
    SpecError
        If one is no multiple of 0.001 Hz, or unless ``0 <= fmin < fmax <= sr / 2``.
    """
    upper = sr / 2 if fmax is None else fmax
    for field, value in (("fmin", fmin), ("fmax", upper)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise SpecError(f"{field} is {value!r}; it must be a frequency in Hz")
        if round(float(value), 3) != value:
            raise SpecError(f"{field} is {value} Hz; it must be a multiple of 0.001 Hz")
    if not 0 <= fmin < upper <= sr / 2:
        raise SpecError(
            f"fmin is {fmin:g} Hz and fmax {upper:g} Hz; "
            f"they must satisfy 0 <= fmin < fmax <= sr / 2 = {sr / 2:g} Hz"
        )
    return float(fmin), None if upper == sr / 2 else float(upper)


def hertz(value: float) -> str:
    """A frequency as names write it, to 0.001 Hz."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def read_name(
    name: str,
    pattern: re.Pattern[str],
    example: str,
    build: Callable[[Mapping[str, str | None], Condition], S],
) -> S:
    """The spec that has just this name.

    Parameters
    ----------
    name : str
    pattern : re.Pattern
        Of names without their condition.
    example : str
        A name of the kind, for the message.
    build : callable
        From the pattern's groups and the condition to a spec.

    Raises
    ------
    SpecError
        If there is none.
    """
    own, condition = split_name(name)
    match = pattern.fullmatch(own)
    if match is None:
        raise SpecError(f"{name!r} is not a spec's name, such as {example}")
    try:
        spec = build(match.groupdict(), condition)
    except SpecError:
        raise
    except ValueError as error:  # numbers of thousands of digits, or with two points
        raise SpecError(f"{name!r} is not a spec's name: {error}") from None
    if spec.name != name:
        raise SpecError(f"{name!r} is not a spec's name; {spec.name!r} is")
    return spec
