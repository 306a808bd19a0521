"""Views: specs that are served from stored ones, without being stored themselves.

What follows from what, and within which error, is known by the kinds: `Spec.derivation`.
"""

from collections.abc import Collection, Iterable
from typing import TypeVar

from featurestore.specs.encoding import Encoding
from featurestore.specs.spec import Derivation, Spec

S = TypeVar("S", bound=Spec)


def derivable(stored: Spec, wanted: Spec) -> bool:
    """Return whether `wanted` is `stored`, or can be derived from it."""
    return wanted.derivation(stored) is not None


def best_source(wanted: Spec, stored: Collection[Spec]) -> Spec | None:
    """The stored spec to derive `wanted` from: unconverted if there is one, and the fewest frames.

    None where `wanted` cannot be derived from any.
    """
    # Nothing is nearer than itself. Of a mapping that is found at once, so that to look up all of
    # many hundred stored specs does not take the square of their number.
    if wanted in stored:
        return wanted
    sources = [(how, spec) for spec in stored if (how := wanted.derivation(spec)) is not None]
    if not sources:
        return None
    return min(sources, key=lambda pair: (pair[0].convert is not None, pair[0].step))[1]


def minimal_basis(wanted: Iterable[S], there: Collection[Spec] = ()) -> tuple[S, ...]:
    """Smallest subset of `wanted` from which, with the specs `there`, all can be derived.

    The study's 88 from 14: x1 in decibels, for 7 numbers of bands and 2 sample rates.
    """
    every = tuple(dict.fromkeys(wanted))
    known: tuple[Spec, ...] = (*every, *there)
    return tuple(
        spec
        for spec in every
        if not any(derivable(other, spec) for other in known if other != spec)
    )


def derivation(stored: Spec, wanted: Spec) -> Derivation:
    """Derivation of `wanted` from `stored`.

    Raises
    ------
    ValueError
        If it does not.
    """
    found = wanted.derivation(stored)
    if found is None:
        raise ValueError(f"{wanted.name} does not follow from {stored.name}")
    return found


def max_error(encoding: Encoding, stored: Spec, served: Spec) -> float:
    """Largest difference between a value read and the one computed, in the unit of `served`.

    Of values within `Spec.value_range`.
    """
    return derivation(stored, served).max_error(encoding.max_error(stored.value_range))
