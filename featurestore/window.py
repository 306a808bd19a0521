"""Which stretch of a track becomes a row."""

import dataclasses
from typing import Any, Literal, Self, get_args

from featurestore.errors import SettingsError

Take = Literal["center", "first"]
Short = Literal["pad", "skip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipWindow:
    """Which stretch of a track becomes a row.

    Parameters
    ----------
    duration : float
        Length of a clip [s].
    take : {'center', 'first'}
        The stretch around the middle of the track, or from its beginning.
    short : {'pad', 'skip'}
        What becomes of a track shorter than `duration`: padded with silence at its end and its
        valid length recorded, or a failed row (``TooShort``).

    Raises
    ------
    SettingsError
        If a value is out of range.
    """

    duration: float = 29.1
    take: Take = "center"
    short: Short = "pad"

    def __post_init__(self) -> None:
        if not 0.05 <= self.duration <= 3600:
            raise SettingsError(f"duration is {self.duration:g} s; it must be from 0.05 to 3600 s")
        for field, choices in (("take", get_args(Take)), ("short", get_args(Short))):
            if getattr(self, field) not in choices:
                raise SettingsError(
                    f"{field} is {getattr(self, field)!r}; it must be {' or '.join(choices)}"
                )

    def n_samples(self, sr: int) -> int:
        """Length of a clip at sample rate `sr` [samples]."""
        return round(self.duration * sr)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; unknown keys are refused by name."""
        unknown = fields.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise SettingsError(f"unknown window settings: {', '.join(sorted(unknown))}")
        return cls(**fields)
