"""What a run did, or would do."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from featurestore import result
from featurestore.inspect.data_quality import check
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import by_condition
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore

_EXAMPLES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip that could not be made."""

    clip_id: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """Summary of a run, and the state of the store.

    Parameters
    ----------
    store : FeatureStore
        As it is now.
    specs : tuple of Spec
        Those that were asked for.
    n_clips : int
        Clips of the catalog.
    n_left : int
        Clips of the store that the catalog no longer has, and that were not pruned.
    n_ready : int
        Clips of the catalog that are ready for all specs asked for that are to hold them.
    n_computed : int
        Clips decoded in this run, failed ones among them.
    failures : tuple of Failure
        Clips of the catalog that failed, now or before.
    seconds : float
        What computing took, the workers' start included [s].
    passed_over : mapping of str to int or None
        As of the catalog; None for an import, which lists no audio.
    """

    store: FeatureStore
    specs: tuple[Spec, ...]
    n_clips: int
    n_left: int
    n_ready: int
    n_computed: int
    failures: tuple[Failure, ...]
    seconds: float
    passed_over: Mapping[str, int] | None = None

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        arrays = [self.store[spec] for spec in self.specs]
        facts = {
            "store": self.store.path,
            "clips": self.n_clips,
            "left": self.n_left,
            "ready": self.n_ready,
            "computed": self.n_computed,
            "failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "specs": [
                {
                    "spec": array.spec.name,
                    "shape": list(array.shape),
                    "view_of": array.view_of,
                    "bytes": 0 if array.view_of else array.nbytes_stored,
                }
                for array in arrays
            ],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "checks": check(self.store).json(),
        }
        return facts if self.passed_over is None else facts | {"passed_over": {**self.passed_over}}

    def lines(self) -> list[str]:
        """Clips that are ready, and what they take."""
        work = "nothing to do"
        if self.n_computed:
            rate = self.n_computed / self.seconds
            work = f"computed {self.n_computed:,} in {self.seconds:.1f} s ({rate:.0f} clips/s)"
        arrays = [self.store[spec] for spec in self.specs]
        sources = {array.layout.spec: array for array in arrays}
        nbytes = sum(array.nbytes_stored for array in sources.values())
        n_views = sum(array.view_of is not None for array in arrays)
        return [
            f"{self.n_ready:,} of {self.n_clips:,} clips ready; {work}",
            f"{result.count(len(arrays), 'spec')}{f' ({n_views} as views)' if n_views else ''}, "
            f"{result.size(nbytes)}, {result.size(nbytes / max(1, self.n_ready))} per clip, "
            f"in {self.store.path}",
        ]

    def warnings(self) -> list[str]:
        """Lines about defects of the collection, empty mel filters, and clips that failed."""
        lines = [f"warning: {line}" for line in check(self.store).lines()]
        empty = {
            spec.name: len(spec.empty_filters)
            for spec in self.specs
            if isinstance(spec, FeatureSpec) and len(spec.empty_filters)
        }
        if empty:
            name, n = next(iter(empty.items()))
            more = len(empty) - 1
            lines.append(
                f"warning: {result.count(n, 'empty mel filter')} in {name}: no FFT bin is within, "
                "and the band stays at the floor; use fewer bands or a larger n_fft"
                f"{f' ({more} more with some)' if more else ''}"
            )
        if self.n_left:
            lines.append(
                f"{self.n_left:,} more clips are kept whose tracks are no longer there; "
                "--prune leaves them out"
            )
        lines += [
            f"failed: {failure.clip_id}: {failure.reason}: {failure.detail}"
            for failure in self.failures[:_EXAMPLES]
        ]
        if len(self.failures) > _EXAMPLES:
            n_more = len(self.failures) - _EXAMPLES
            lines.append(f"… and {n_more:,} more; melgrid failures {self.store.path}")
        return lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedSpec:
    """One spec that would be stored.

    Parameters
    ----------
    spec : str
    shape : sequence of int
    encoding : str
    bytes_per_clip : int
        Uncompressed.
    """

    spec: str
    shape: Sequence[int]
    encoding: str
    bytes_per_clip: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """Preview of a run into a new store.

    Parameters
    ----------
    clips, tasks, clips_per_task : int
    bytes_per_clip : int
        Of all specs that are stored, uncompressed; the mean, where draws are of some clips alone.
    stored_bytes_per_clip : int
        An estimate of the same, compressed.
    without_views_bytes_per_clip : int
        An estimate, compressed, if views were stored too.
    views : list of str
        Specs that are served from others.
    plan : list of str
        The steps, as an indented tree.
    specs : tuple of PlannedSpec
        Those that are stored.
    passed_over : mapping of str to int
        As of the catalog.
    """

    clips: int
    tasks: int
    clips_per_task: int
    bytes_per_clip: int
    stored_bytes_per_clip: int
    without_views_bytes_per_clip: int
    views: list[str]
    plan: list[str]
    specs: tuple[PlannedSpec, ...]
    passed_over: Mapping[str, int]

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The plan, a table of the specs, and totals."""
        lines = [
            *self.plan,
            *result.table(self._rows()),
            *result.wrapped(
                f"{self.clips:,} clips of {result.size(self.bytes_per_clip)}, about "
                f"{result.size(self.stored_bytes_per_clip)} compressed; "
                f"{self.tasks:,} tasks (one shard per spec each) of {self.clips_per_task} clips"
            ),
        ]
        if self.views:
            lines += result.wrapped(
                f"{len(self.views)} more specs are served as views; if they were stored, a clip "
                f"would take about {result.size(self.without_views_bytes_per_clip)}"
            )
        return lines

    def _rows(self) -> list[dict[str, object]]:
        """A row for each spec, all of its conditions together."""
        first = {spec.spec.partition("~")[0]: spec for spec in reversed(self.specs)}
        conditions = by_condition(spec.spec for spec in self.specs)
        perturbed = len(conditions) < len(self.specs)
        return [
            {
                "spec": name,
                "shape": result.shape(first[name].shape),
                "encoding": first[name].encoding,
                **({"conditions": len(names)} if perturbed else {}),
                "per clip": result.size(first[name].bytes_per_clip * len(names)),
            }
            for name, names in conditions.items()
        ]
