"""Names of perturbations: what is done to a clip's audio before a spec is computed from it.

What each one does is in the file of its name in `pipeline/perturb`; a store is read without them.
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import SpecError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Amount:
    """A number that a perturbation takes: how much of it.

    Parameters
    ----------
    meaning : str
    unit : str
        Empty where it has none.
    low, high : float
        Smallest and largest.
    is_continuous : bool
        Whether all numbers between may be, so that one can be drawn from a range.
    """

    meaning: str
    unit: str = ""
    low: float
    high: float
    is_continuous: bool = True

    @property
    def text(self) -> str:
        """The meaning, with the unit if there is one."""
        return f"{self.meaning} [{self.unit}]" if self.unit else self.meaning


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a perturbation without computing it.

    Parameters
    ----------
    meaning : str
        In a line.
    amounts : tuple of Amount
        In the order of the name.
    speed : int, optional
        Place of the amount that audio is made faster by; None where the speed stays.
    """

    meaning: str
    amounts: tuple[Amount, ...] = ()
    speed: int | None = None


_RATE = Amount(meaning="how many times faster", low=0.25, high=4)
_CUTOFF = Amount(meaning="cut-off frequency", unit="Hz", low=10, high=384_000)

# A line a perturbation; the file in `pipeline/perturb` is called by its word.
PERTURBATIONS: dict[str, Kind] = {
    "gauss": Kind(
        meaning="Gaussian noise is added",
        amounts=(Amount(meaning="standard deviation", low=0, high=1),),
    ),
    "noise": Kind(
        meaning="Gaussian noise, as loud as the clip's largest sample, is mixed in",
        amounts=(Amount(meaning="share of the noise", low=0, high=1),),
    ),
    "stretch": Kind(
        meaning="faster at the same pitch, by phase vocoder", amounts=(_RATE,), speed=0
    ),
    "tempo": Kind(meaning="faster at the same pitch, by overlap-add", amounts=(_RATE,), speed=0),
    "pitch": Kind(
        meaning="higher at the same speed",
        amounts=(Amount(meaning="how much", unit="semitones", low=-24, high=24),),
    ),
    "drc-music": Kind(meaning="dynamic range compression, Dolby E's music standard"),
    "drc-speech": Kind(meaning="dynamic range compression, Dolby E's speech"),
    "lowpass": Kind(meaning="a low-pass filter of two poles", amounts=(_CUTOFF,)),
    "highpass": Kind(meaning="a high-pass filter of two poles", amounts=(_CUTOFF,)),
    "echo": Kind(
        meaning="an echo",
        amounts=(
            Amount(meaning="gain before", low=0, high=1),
            Amount(meaning="gain after", low=0, high=1),
            Amount(meaning="delay", unit="ms", low=1, high=5000),
            Amount(meaning="decay", low=0, high=1),
        ),
    ),
    "bundle": Kind(
        meaning="a low-pass filter of one pole, another tempo, and two echoes",
        amounts=(_CUTOFF, _RATE),
        speed=1,
    ),
    "gain": Kind(
        meaning="louder",
        amounts=(Amount(meaning="how much", unit="dB", low=-100, high=40),),
    ),
    "mp3": Kind(
        meaning="encoded as MP3, and decoded",
        amounts=(Amount(meaning="bit rate", unit="kbit/s", low=8, high=320, is_continuous=False),),
    ),
}
"""By the word that a perturbation's name begins with."""

_WORD = re.compile(
    "(?P<word>" + "|".join(sorted(PERTURBATIONS, key=len, reverse=True)) + ")(?P<rest>.*)", re.ASCII
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_DRAW = re.compile(r"draw(0|[1-9]\d{0,3})", re.ASCII)

_LONGEST = 150
"""Characters of a condition's name: with its spec's it is a folder's, which may have 255."""

MAX_DRAWS = 10_000
"""Most draws of a clip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturbation:
    """A perturbation and how much of it: ``noise0.1``, ``pitch-1``, ``drc-music``.

    Parameters
    ----------
    word : str
        One of `PERTURBATIONS`.
    amounts : tuple of float

    Raises
    ------
    SpecError
        If there is none of that word, or if an amount is out of range.
    """

    word: str
    amounts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.word not in PERTURBATIONS:
            raise SpecError(
                f"there is no perturbation {self.word!r}; there are {', '.join(PERTURBATIONS)}"
            )
        wanted = PERTURBATIONS[self.word].amounts
        if len(self.amounts) != len(wanted):
            needs = ", ".join(amount.text for amount in wanted) or "no number"
            raise SpecError(f"{self.name!r}: {self.word} takes {needs}")
        for value, amount in zip(self.amounts, wanted, strict=True):
            if not amount.low <= value <= amount.high:
                raise SpecError(
                    f"{self.name!r}: the {amount.text} is {value:g}; "
                    f"it must be from {amount.low:g} to {amount.high:g}"
                )
        object.__setattr__(self, "amounts", tuple(round(float(v), 6) for v in self.amounts))

    @property
    def name(self) -> str:
        """The word, then the amounts: see `perturbation_name`."""
        return perturbation_name(self.word, [number_text(value) for value in self.amounts])

    @property
    def speed(self) -> float:
        """How many times faster the audio becomes."""
        place = PERTURBATIONS[self.word].speed
        return 1.0 if place is None else self.amounts[place]

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a perturbation from its `name`.

        Raises
        ------
        SpecError
            If there is none of that name.
        """
        match = _WORD.fullmatch(name)
        if match is None:
            raise SpecError(
                f"{name!r} is no perturbation; there are {', '.join(PERTURBATIONS)}, "
                "with their amounts: noise0.1, pitch-1"
            )
        word, rest = match["word"], match["rest"]
        if rest and word[-1].isdigit():
            rest = rest.removeprefix("-")
        numbers = rest.split("_") if rest else []
        if not all(_NUMBER.fullmatch(number) for number in numbers):
            if ":" in rest:
                raise SpecError(
                    f"{name!r} has a range to draw from: give a number, or --draws N for N random "
                    "draws of each training clip"
                )
            raise SpecError(f"{name!r} is no perturbation: {rest!r} is no number, such as 0.1")
        return cls(word=word, amounts=tuple(map(float, numbers)))

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Condition:
    """Perturbations, one after the other; none is the clean condition.

    Or a draw: perturbations that are other ones for each clip, drawn as an
    `featurestore.specs.augmentation.Augmentation` says. Draws are for training; only clips that
    may train have them.

    Parameters
    ----------
    perturbations : tuple of Perturbation
    draw : int, optional
        Which of a clip's draws it is, from 0; None where it is none.

    Raises
    ------
    SpecError
        If it is a draw and perturbations, if there are not so many draws, or if the name would be
        too long for that of a folder.
    """

    perturbations: tuple[Perturbation, ...] = ()
    draw: int | None = None

    def __post_init__(self) -> None:
        if self.draw is None:
            if len(self.suffix) > _LONGEST:
                raise SpecError(
                    f"a condition of {len(self.perturbations)} perturbations has a name of "
                    f"{len(self.suffix)} characters; it may have {_LONGEST}"
                )
            return
        if self.perturbations:
            raise SpecError(
                f"draw{self.draw} is a condition of its own; leave out "
                + "~".join(p.name for p in self.perturbations)
            )
        if not 0 <= self.draw < MAX_DRAWS:
            raise SpecError(f"there is no draw {self.draw}; there may be {MAX_DRAWS:,}, from 0")

    @property
    def is_draw(self) -> bool:
        """Return whether it is a draw."""
        return self.draw is not None

    @property
    def name(self) -> str:
        """``clean``, the perturbations' names with a tilde between, or ``draw0`` and so on."""
        if self.is_draw:
            return f"draw{self.draw}"
        return "~".join(p.name for p in self.perturbations) or "clean"

    @property
    def suffix(self) -> str:
        """What a spec's name ends with: ``~noise0.1``; nothing where it is clean."""
        return f"~{self.name}" if self else ""

    @property
    def speed(self) -> float:
        """How many times faster the audio becomes; a draw keeps its clip's length."""
        return math.prod(p.speed for p in self.perturbations)

    def n_valid(
        self, n_valid: npt.NDArray[np.int64], n_following: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Samples that are audio after the perturbations.

        Parameters
        ----------
        n_valid : np.ndarray of int
            Samples of each clip that are audio.
        n_following : np.ndarray of int
            Those of its track that follow the clip: what makes a clip faster takes them.
        """
        if not self:
            return n_valid + n_following  # frames may reach into what follows
        if self.speed == 1:
            return n_valid
        faster = np.floor((n_valid + n_following) / self.speed).astype(np.int64)
        return np.where(n_valid > 0, np.maximum(faster, 1), 0)

    def generator(self, clip_seed: int) -> np.random.Generator:
        """What the perturbations draw from, of a clip: its own for each condition."""
        words = f"{clip_seed}~{self.name}".encode()
        digest = hashlib.blake2b(words, digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(digest, "little"))

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a condition from its `name`.

        Raises
        ------
        SpecError
            If there is none of that name.
        """
        if name == "clean":
            return cls()
        if match := _DRAW.fullmatch(name):
            return cls(draw=int(match[1]))
        return cls(tuple(Perturbation.parse(part) for part in name.split("~")))

    def __bool__(self) -> bool:
        return bool(self.perturbations) or self.is_draw

    def __str__(self) -> str:
        return self.name


CLEAN = Condition()
"""No perturbation."""


def by_condition(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of conditions by the name of the clean spec, of specs' names."""
    found: dict[str, list[str]] = {}
    for name in names:
        clean, _, condition = name.partition("~")
        found.setdefault(clean, []).append(condition or "clean")
    return found


def split_name(name: str) -> tuple[str, Condition]:
    """A spec's name without its condition, and the condition.

    Raises
    ------
    SpecError
        If what follows the first tilde is no condition.
    """
    own, tilde, condition = name.partition("~")
    if not tilde:
        return own, CLEAN
    parsed = Condition.parse(condition)
    if not parsed or parsed.suffix != tilde + condition:
        raise SpecError(f"{name!r} is not a spec's name; {own + parsed.suffix!r} is")
    return own, parsed


def perturbation_name(word: str, numbers: Sequence[str]) -> str:
    """The word, then the numbers; a word that ends in a digit is set off by a hyphen."""
    hyphen = "-" if numbers and word[-1].isdigit() else ""
    return f"{word}{hyphen}{'_'.join(numbers)}"


def number_text(value: float) -> str:
    """The shortest decimal that reads back, without an exponent."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def _conditions(*names: str) -> tuple[Condition, ...]:
    return tuple(Condition.parse(name) for name in names)


CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "smc2020": _conditions(
        "stretch0.707", "stretch1.414", "pitch-1", "pitch1", "drc-music", "drc-speech",
        "noise0.1", "noise0.4",
    ),
    "mtat": _conditions(
        "noise0.1", "noise0.4", "pitch1", "pitch-1", "stretch1.414", "stretch0.707"
    ),
}  # fmt: skip
"""Named sets of test conditions: those of Won et al., *Evaluation of CNN-based automatic music
tagging models* (SMC 2020), whose stretches are by the root of 2, and the part of them that a later
report on MagnaTagATune took.
"""


def conditions_named(name: str) -> tuple[Condition, ...]:
    """Conditions of a set's name, or the one of a condition's.

    Raises
    ------
    SpecError
        If it is neither.
    """
    return CONDITIONS.get(name) or (Condition.parse(name),)
