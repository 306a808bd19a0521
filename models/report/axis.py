"""An axis of a figure: its limits, its ticks, and where on it a value stands."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis, in the units of its values.

    Attributes
    ----------
    title : str
        What it shows, its unit in brackets.
    low, high : float
        Limits.
    ticks : tuple of (float, str)
        Values that are marked, and the words at the mark.
    log : bool
        Equal factors, not equal differences, are equally far apart.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    @classmethod
    def linear(cls, title: str, values: Sequence[float]) -> Self:
        """Hold all `values`, ticks at round numbers."""
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
        return cls(title=title, low=low, high=high, ticks=_round_numbers(low, high))

    @classmethod
    def logarithmic(cls, title: str, values: Sequence[float]) -> Self:
        """Hold all `values`, which are positive, ticks at 1, 2 and 5 times powers of ten."""
        from matplotlib.ticker import LogLocator

        margin = max(1.15, (max(values) / min(values)) ** 0.06)
        low, high = min(values) / margin, max(values) * margin
        for subs in ((1, 2, 5), (1, 3), (1,)):
            ticks = LogLocator(subs=subs).tick_values(low, high)
            inside = tuple((float(t), f"{t:g}") for t in ticks if low <= t <= high)
            if len(inside) <= 7:
                break
        # Within a factor of two or so there may be no such number.
        return cls(
            title=title,
            low=low,
            high=high,
            ticks=inside if inside[1:] else _round_numbers(low, high),
            log=True,
        )

    @classmethod
    def categories(cls, title: str, names: Sequence[str]) -> Self:
        """Names side by side, the i-th at i."""
        return cls(
            title=title,
            low=-0.5,
            high=len(names) - 0.5,
            ticks=tuple(enumerate(names)),
        )

    def place(self, value: float) -> float:
        """Where `value` stands, 0 at the lower end and 1 at the upper."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _round_numbers(low: float, high: float) -> tuple[tuple[float, str], ...]:
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(nbins=7, steps=[1, 2, 5, 10]).tick_values(low, high)
    inside = [float(tick) for tick in ticks if low <= tick <= high]
    # As many decimals as tell the ticks apart.
    for decimals in range(12):
        names = [f"{tick:.{decimals}f}" for tick in inside]
        if all(
            math.isclose(float(n), t, abs_tol=1e-12) for n, t in zip(names, inside, strict=True)
        ):
            break
    return tuple(zip(inside, names, strict=True))
