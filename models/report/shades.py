"""Shades: how strongly a loss is coloured, by doublings; a gain is of another colour.

Orange and blue of Okabe and Ito (*Color Universal Design*, 2008), which the colour-blind can tell
apart, mixed into the ground so that words on them stay readable.
"""

import math

LOST = "#d55e00"
WON = "#0072b2"

SHARE = 0.11
"""Of the colour in the weakest shade; each that follows has as much more."""

_LIMITS = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Where a stronger shade begins."""

STRONGEST = len(_LIMITS) + 1


def shade_of(loss: float) -> int:
    """From 1 for a loss below 1 % to `STRONGEST` from 16 % on; negative for a gain.

    0 for none, and where it is not known.
    """
    if math.isnan(loss) or loss == 0:
        return 0
    strength = 1 + sum(abs(loss) >= limit for limit in _LIMITS)
    return strength if loss > 0 else -strength


def class_of(shade: int) -> str:
    """What the page's style sheet calls it: ``lost-2``, ``won-1``; nothing for 0."""
    return f"{'lost' if shade > 0 else 'won'}-{abs(shade)}" if shade else ""


def colour_of(shade: int) -> str:
    """The colour on white, such as ``#fbeee5``."""
    share = SHARE * abs(shade)
    colour = LOST if shade > 0 else WON
    mixed = (255 + share * (int(colour[i : i + 2], 16) - 255) for i in (1, 3, 5))
    return "#" + "".join(f"{round(value):02x}" for value in mixed)


def words_of(shade: int) -> str:
    """What it stands for: ``1 to 2 %``, ``gain below 1 %``."""
    bounds = [f"{100 * limit:g}" for limit in _LIMITS]
    strength = abs(shade)
    if strength == 1:
        words = f"below {bounds[0]} %"
    elif strength == STRONGEST:
        words = f"{bounds[-1]} % or more"
    else:
        words = f"{bounds[strength - 2]} to {bounds[strength - 1]} %"
    return words if shade > 0 else f"gain {words}"
