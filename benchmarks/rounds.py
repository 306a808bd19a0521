"""Interleaved measurements: each thing in turn, again and again; ratios are taken turn by turn.

What else the machine does then falls on all of them alike. Ratios are given twice: by the clock,
and by CPU time, which says the same where the machine is otherwise idle.
"""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

Work = Callable[[int], object]
"""Does something for a number of clips. What a generator does after its `yield` is not measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What some clips took.

    Parameters
    ----------
    n_clips : int
    wall, cpu : float
        [s]
    """

    n_clips: int
    wall: float
    cpu: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as much one thing is as another, by the clock and by CPU time."""

    wall: float
    cpu: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds:
    """What each thing cost, round by round."""

    costs: Mapping[str, list[Cost]]

    def less(self, name: str, start: str) -> list[Cost]:
        """What one thing cost beyond another, the same for few clips: the cost of the others."""
        return [
            Cost(
                n_clips=all_.n_clips - few.n_clips,
                wall=all_.wall - few.wall,
                cpu=all_.cpu - few.cpu,
            )
            for all_, few in zip(self.costs[name], self.costs[start], strict=True)
        ]

    def seconds(self, name: str) -> float:
        """Median, by the clock [s]."""
        return statistics.median(cost.wall for cost in self.costs[name])

    def clips_per_s(self, name: str) -> float:
        """Median, by the clock."""
        return statistics.median(cost.n_clips / cost.wall for cost in self.costs[name])

    def cpu_ms(self, name: str) -> float:
        """Median of the CPU time a clip, of all processes [ms]."""
        return statistics.median(1e3 * cost.cpu / cost.n_clips for cost in self.costs[name])

    def costs_of(self, name: str, other: str) -> list[Ratio]:
        """How many times what a clip costs otherwise it costs this way, round by round."""
        return [
            Ratio(
                wall=a.wall / a.n_clips / (b.wall / b.n_clips),
                cpu=a.cpu / a.n_clips / (b.cpu / b.n_clips),
            )
            for a, b in zip(self.costs[name], self.costs[other], strict=True)
        ]

    def cost(self, name: str, other: str) -> Ratio:
        """Median of `costs_of`."""
        ratios = self.costs_of(name, other)
        return Ratio(
            wall=statistics.median(ratio.wall for ratio in ratios),
            cpu=statistics.median(ratio.cpu for ratio in ratios),
        )

    def speed(self, name: str, other: str) -> Ratio:
        """How many times as many clips are done this way, in the same time."""
        return self.cost(other, name)


def interleaved(
    works: Mapping[str, tuple[Work, int]],
    rounds: int,
    cpu_time: Callable[[], float] = time.process_time,
    warm_up: int = 16,
) -> Rounds:
    """Measure several things in turn.

    Parameters
    ----------
    works : mapping of str to (Work, int)
        What to do, and for how many clips.
    rounds : int
    cpu_time : callable
        CPU time so far of all processes that work [s].
    warm_up : int
        Clips that everything is done for before, unmeasured.
    """
    for work, n_clips in works.values():
        with _done(work, min(warm_up, n_clips)):
            pass
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, n_clips) in works.items():
            cpu, wall = cpu_time(), time.perf_counter()
            with _done(work, n_clips):
                wall, cpu = time.perf_counter() - wall, cpu_time() - cpu
            costs[name].append(Cost(n_clips=n_clips, wall=wall, cpu=cpu))
    return Rounds(costs=costs)


@contextlib.contextmanager
def _done(work: Work, n_clips: int) -> Iterator[None]:
    """Do what is to be measured on entering, and what is left of it on leaving."""
    rest = work(n_clips)
    if isinstance(rest, Iterator):
        next(rest)
        yield
        next(rest, None)
    else:
        yield
