"""Views: specs that are served from stored ones, without being stored themselves.

Two steps lead from what is stored to what is served:

* a hop multiple is every k-th frame, exactly;
* the ``log`` law follows from ``db``: log10(1 + 10000 P) with P = 10**(dB / 10). Its derivative by
  the dB value is at most 0.1, so what the encoding is off by becomes a tenth at most: 0.0031 for
  float16, 0.028 for uint8. The other way is not served: near silence, where 10000 P is far below 1,
  decibels cannot be told from ``log`` values within any useful bound.
"""

import dataclasses
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

from featurestore.specs.encoding import Encoding
from featurestore.specs.mel import FeatureSpec

_ROUNDING = 2e-6
"""What float32 adds to a converted value, at most, up to 60 dB."""


def serves(stored: FeatureSpec, wanted: FeatureSpec) -> bool:
    """Whether `wanted` is `stored`, or can be derived from it."""
    return (
        wanted.hop_length % stored.hop_length == 0
        and (stored.log == wanted.log or (stored.log, wanted.log) == ("db", "log"))
        and dataclasses.replace(stored, hop=wanted.hop, log=wanted.log) == wanted
    )


def source_of(wanted: FeatureSpec, stored: Iterable[FeatureSpec]) -> FeatureSpec | None:
    """What `wanted` is best served from: of its own law if there is one, and the fewest bytes."""
    sources = [spec for spec in stored if serves(spec, wanted)]
    return max(sources, key=lambda spec: (spec.log == wanted.log, spec.hop_length), default=None)


def needed(
    wanted: Iterable[FeatureSpec], there: Collection[FeatureSpec] = ()
) -> tuple[FeatureSpec, ...]:
    """The fewest of the specs `wanted` that serve them all, with those that are `there` already.

    The study's 88 from 14: x1 in decibels, for 7 numbers of bands and 2 sample rates.
    """
    wanted = tuple(dict.fromkeys(wanted))
    return tuple(
        spec
        for spec in wanted
        if not any(serves(other, spec) for other in (*wanted, *there) if other != spec)
    )


def max_error(encoding: Encoding, stored: FeatureSpec, served: FeatureSpec) -> float:
    """How far a value read is from the one computed, at most, in the unit of `served`.

    Of values within `featurestore.specs.encoding.UINT8_RANGE`.
    """
    if stored.log == served.log:
        return encoding.max_error(stored.log)
    return 0.1 * encoding.max_error(stored.log) + _ROUNDING


def to_log(decibels: npt.NDArray[np.float32]) -> None:
    """Turn values of the ``db`` law into those of the ``log`` law, in place."""
    decibels *= np.float32(0.1)
    np.power(np.float32(10), decibels, out=decibels)
    decibels *= np.float32(1e4)
    decibels += 1
    np.log10(decibels, out=decibels)
