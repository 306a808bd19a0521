"""Which stretch of a track becomes a row."""

import bisect
import dataclasses
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Literal, Self, get_args

from featurestore.errors import SettingsError, SpecError
from featurestore.specs.spec import Spec

Take = Literal["center", "first", "all"]
Short = Literal["pad", "skip"]

_SHORTEST, _LONGEST = 0.05, 3600
"""Of a clip [s]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Which stretch of a track becomes a row.

    Parameters
    ----------
    duration : float
        Length of a clip [s].
    take : {'center', 'first', 'all'}
        The stretch around the middle of the track, the one from its beginning, or consecutive
        ones from its beginning to its end: tiles, a row each, whose frames put side by side are
        those of the whole track. A frame centred on the very end of a track that is a whole
        number of clips long is left out.
    short : {'pad', 'skip'}
        What becomes of a track, or a last tile, shorter than `duration`: padded with silence at
        its end and its valid length recorded; or a track becomes a failed row (``TooShort``),
        and a last tile is left out.

    Raises
    ------
    SettingsError
        If a value is out of range.
    """

    duration: float = 29.1
    take: Take = "center"
    short: Short = "pad"

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.duration <= _LONGEST:
            raise SettingsError(
                f"duration is {self.duration:g} s; it must be from {_SHORTEST} to {_LONGEST} s"
            )
        for field, choices in (("take", get_args(Take)), ("short", get_args(Short))):
            if getattr(self, field) not in choices:
                raise SettingsError(
                    f"{field} is {getattr(self, field)!r}; it must be one of {', '.join(choices)}"
                )

    def stride(self, sr: int) -> int:
        """Step from a tile to the next [samples at `sr`]."""
        return round(self.duration * sr)

    def n_samples(self, sr: int) -> int:
        """Length of a clip at sample rate `sr` [samples], which `Spec.n_frames` takes.

        A tile's is one less than its stride: the frame after its last one is the next tile's
        first.
        """
        return self.stride(sr) - (self.take == "all")

    def n_frames(self, spec: Spec) -> int:
        """Frames of a clip at a spec; of a tile, those that begin before the next tile."""
        if self.take != "all":
            return spec.n_frames(self.n_samples(spec.sr))
        return math.ceil(Fraction(self.stride(spec.sr), spec.sr) / spec.frame_step)

    def stretch(self, n_samples: int, sr: int) -> tuple[int, int]:
        """First sample and length of the excerpt of a track of `n_samples` samples at `sr`."""
        if self.take == "all":
            return 0, n_samples
        stride = self.stride(sr)
        surplus = max(0, n_samples - stride)
        return surplus // 2 if self.take == "center" else 0, stride

    def n_tiles(self, n_samples: int, sr: int) -> int:
        """Rows that a track of `n_samples` samples at `sr` becomes; at least one."""
        if self.take != "all":
            return 1
        stride = self.stride(sr)
        whole, rest = divmod(n_samples, stride)
        return max(1, whole + (rest > 0 and self.short == "pad"))

    def fitted(self, specs: Iterable[Spec]) -> Self:
        """This window, with tiles shortened to a whole number of frame steps of every spec.

        Raises
        ------
        SettingsError
            If `duration` is too short for that.
        """
        if self.take != "all":
            return self
        hops = {spec.frame_step for spec in specs}
        unit = Fraction(
            math.lcm(*(hop.numerator for hop in hops)),
            math.gcd(*(hop.denominator for hop in hops)),
        )
        n_units = round(self.duration / float(unit), 6) // 1
        if n_units < 1:
            raise SettingsError(
                f"duration is {self.duration:g} s; to be cut into consecutive clips it must be at "
                f"least {float(unit):g} s, which is a whole number of hops at every spec"
            )
        return dataclasses.replace(self, duration=float(n_units * unit))

    @classmethod
    def of_frames(cls, spec: Spec, n_frames: int) -> Self:
        """The shortest decimal of seconds whose clips have so many frames at a spec.

        Of lengths that people choose, such as 29.1 s, it is the one that was chosen: frames tell a
        length only to within a hop.

        Raises
        ------
        SettingsError
            If no length that may be has so many.
        """
        begin, end = _least_samples(spec, n_frames), _least_samples(spec, n_frames + 1)
        begin = max(begin, math.ceil(_SHORTEST * spec.sr))
        for digits in range(9):
            duration = math.ceil(10**digits * Fraction(2 * begin - 1, 2 * spec.sr)) / 10**digits
            if begin <= round(duration * spec.sr) < end:
                return cls(duration=duration)
        raise SettingsError(f"no clip of {spec.name} has {n_frames} frames")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; unknown keys are refused by name."""
        unknown = fields.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise SettingsError(f"unknown window settings: {', '.join(sorted(unknown))}")
        return cls(**fields)


def _least_samples(spec: Spec, n_frames: int) -> int:
    """Samples that a clip of so many frames has at least."""

    def frames(n_samples: int) -> int:
        try:
            return spec.n_frames(n_samples)
        except SpecError:  # shorter than a frame
            return 0

    return bisect.bisect_left(range(_LONGEST * spec.sr + 2), n_frames, lo=1, key=frames)
