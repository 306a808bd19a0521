"""What two stores differ in: clips, labels, specs and values."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.export.selection import BATCH_NBYTES
from featurestore.format.clips import ClipTable
from featurestore.process.progress import Progress
from featurestore.specs.spec import Spec

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_COLUMNS = ("path", "split", "fold", "artist", "album", "tile", "active")
_EXAMPLES = 5
_STATUS = ("status", "reason", "digest", "sr", "start", "n_valid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecDifference:
    """Differences of one spec's values, over the clips that are ready in both stores.

    Attributes
    ----------
    spec, unit : str
    encoding_a, encoding_b : str
    n_compared, n_differ : int
        Clips; those with any value that differs.
    max, mean : float
        Of the absolute difference of decoded values, in `unit`; the mean is over all values.
    only_ready_a, only_ready_b : int
        Clips of both stores that are ready in one.
    shapes : str
        How shapes differ, so that no values can be compared; empty where they do not.
    """

    spec: str
    unit: str
    encoding_a: str
    encoding_b: str
    n_compared: int = 0
    n_differ: int = 0
    max: float = 0.0
    mean: float = 0.0
    only_ready_a: int = 0
    only_ready_b: int = 0
    shapes: str = ""

    @property
    def is_same(self) -> bool:
        """Return whether no value differs."""
        return not (self.n_differ or self.only_ready_a or self.only_ready_b or self.shapes)

    def __str__(self) -> str:
        encodings = " and ".join(dict.fromkeys((self.encoding_a, self.encoding_b)))
        if self.shapes:
            line = f"not compared: {self.shapes}"
        else:
            line = f"{self.n_differ:,} of {self.n_compared:,} clips differ"
            if self.n_differ:
                line += f", by {self.max:.3g} {self.unit} at most, {self.mean:.3g} on average"
        for where, n_ready in (("A", self.only_ready_a), ("B", self.only_ready_b)):
            line += f"; {n_ready:,} are ready in {where} alone" if n_ready else ""
        return f"{self.spec} ({encodings}): {line}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Differences of two stores; clips are matched by id, in whatever order.

    Attributes
    ----------
    a, b : str
        The stores.
    window : dict of str to list
        Settings that say which stretch of a track is a clip: those that differ, both values.
    only_a, only_b : tuple of str
        Ids of clips.
    n_clips : int
        Clips of both.
    columns : dict of str to int
        Of these, how many differ in a column of the clip table: all, where one store has none.
    tags_only_a, tags_only_b : tuple of str
    labels : dict of str to int
        By tag of both, clips whose label differs.
    specs_only_a, specs_only_b : tuple of str
        Specs that are stored in one and neither stored in the other nor served by it.
    specs : tuple of SpecDifference
        The other specs.
    """

    a: str
    b: str
    window: dict[str, list[Any]]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    n_clips: int
    columns: dict[str, int]
    tags_only_a: tuple[str, ...]
    tags_only_b: tuple[str, ...]
    labels: dict[str, int]
    specs_only_a: tuple[str, ...]
    specs_only_b: tuple[str, ...]
    specs: tuple[SpecDifference, ...]

    @property
    def is_same(self) -> bool:
        """Return whether nothing differs but encodings, order and software."""
        differing = (
            self.window, self.only_a, self.only_b, self.columns, self.tags_only_a,
            self.tags_only_b, self.labels, self.specs_only_a, self.specs_only_b,
        )  # fmt: skip
        return not any(differing) and all(spec.is_same for spec in self.specs)

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {"same": self.is_same, **dataclasses.asdict(self)}

    def lines(self) -> list[str]:
        """Lines of differences, a few names of each kind; then the conclusion."""
        lines = [f"{key}: {one} in A, {other} in B" for key, (one, other) in self.window.items()]
        for noun, where, names in (
            ("clip", "A", self.only_a),
            ("clip", "B", self.only_b),
            ("tag", "A", self.tags_only_a),
            ("tag", "B", self.tags_only_b),
            ("spec", "A", self.specs_only_a),
            ("spec", "B", self.specs_only_b),
        ):
            if names:
                some = ", ".join(names[:_EXAMPLES]) + ", …" * (len(names) > _EXAMPLES)
                count = result.count(len(names), noun)
                lines += result.wrapped(f"{count} only in {where}: {some}")
        tags = {f"tag {tag}": n for tag, n in self.labels.items()}
        lines += result.listed(
            f"{name}: differs for {n:,} of {self.n_clips:,} clips"
            for name, n in {**self.columns, **tags}.items()
        )
        for spec in self.specs:
            lines += result.wrapped(str(spec))
        return [*lines, "the same" if self.is_same else "different"]


def diff(a: "FeatureStore", b: "FeatureStore", *, progress: bool = False) -> Difference:
    """Compare two stores, values batch by batch.

    Parameters
    ----------
    a, b : FeatureStore
    progress : bool
        Whether to show on stderr how far it is.

    Raises
    ------
    CorruptDataError
        If values cannot be read.
    """
    rows_a = {clip_id: row for row, clip_id in enumerate(a.table.clip_id)}
    rows_b = {clip_id: row for row, clip_id in enumerate(b.table.clip_id)}
    common = [clip_id for clip_id in rows_a if clip_id in rows_b]
    here = np.array([rows_a[clip_id] for clip_id in common], np.int64)
    there = np.array([rows_b[clip_id] for clip_id in common], np.int64)
    windows = [dataclasses.asdict(store.window) for store in (a, b)]
    specs, only = _matched(a, b)
    return Difference(
        a=a.path,
        b=b.path,
        window={
            key: [window[key] for window in windows]
            for key in windows[0]
            if windows[0][key] != windows[1][key]
        },
        only_a=tuple(clip_id for clip_id in rows_a if clip_id not in rows_b),
        only_b=tuple(clip_id for clip_id in rows_b if clip_id not in rows_a),
        n_clips=len(common),
        columns=_columns(a, b, here, there),
        tags_only_a=tuple(tag for tag in a.tags if tag not in b.tags),
        tags_only_b=tuple(tag for tag in b.tags if tag not in a.tags),
        labels=_labels(a.table, b.table, here, there),
        specs_only_a=only[0],
        specs_only_b=only[1],
        specs=tuple(_values(a, b, spec, here, there, progress=progress) for spec in specs),
    )


_RowNumbers = np.ndarray[Any, np.dtype[np.int64]]


def _matched(
    a: "FeatureStore", b: "FeatureStore"
) -> tuple[list[Spec], tuple[tuple[str, ...], tuple[str, ...]]]:
    """Specs stored in one and to be had from both; names of the others, by store."""
    both = [spec for spec in dict.fromkeys([*a.specs, *b.specs]) if spec in a and spec in b]
    only_a, only_b = (
        tuple(spec.name for spec in store.specs if spec not in both) for store in (a, b)
    )
    return both, (only_a, only_b)


def _columns(
    a: "FeatureStore", b: "FeatureStore", here: _RowNumbers, there: _RowNumbers
) -> dict[str, int]:
    found = {}
    for names, one, other in (
        (_COLUMNS, _table_columns(a.table), _table_columns(b.table)),
        (_STATUS, a.status, b.status),
    ):
        for name in names:
            left, right = one[name], other[name]
            found[name] = int(np.count_nonzero(left[here] != right[there]))
    for name in dict.fromkeys([*a.table.meta, *b.table.meta]):
        if name in a.table.meta and name in b.table.meta:
            left, right = a.table.meta[name][here], b.table.meta[name][there]
            nothing = (left != left) & (right != right)  # nan in both
            found[name] = int(np.count_nonzero((left != right) & ~nothing))
        else:
            found[name] = len(here)
    return {name: n_clips for name, n_clips in found.items() if n_clips}


def _table_columns(table: ClipTable) -> dict[str, npt.NDArray[Any]]:
    columns = {name: getattr(table, name) for name in _COLUMNS}
    return {
        name: np.asarray(column, object if isinstance(column, list | tuple) else None)
        for name, column in columns.items()
    }


def _labels(a: ClipTable, b: ClipTable, here: _RowNumbers, there: _RowNumbers) -> dict[str, int]:
    found = {
        tag: np.count_nonzero(
            a.labels[here, a.tags.index(tag)] != b.labels[there, b.tags.index(tag)]
        )
        for tag in a.tags
        if tag in b.tags
    }
    return {tag: int(n_clips) for tag, n_clips in found.items() if n_clips}


def _values(
    a: "FeatureStore",
    b: "FeatureStore",
    spec: Spec,
    here: _RowNumbers,
    there: _RowNumbers,
    *,
    progress: bool,
) -> SpecDifference:
    one, other = a[spec], b[spec]
    ready, ready_there = one.ready[here], other.ready[there]
    found = SpecDifference(
        spec=spec.name,
        unit=spec.unit,
        encoding_a=one.encoding,
        encoding_b=other.encoding,
        only_ready_a=int(np.count_nonzero(ready & ~ready_there)),
        only_ready_b=int(np.count_nonzero(~ready & ready_there)),
    )
    if one.shape[1:] != other.shape[1:]:
        shapes = " and ".join(f"{n_frames} frames" for n_frames in (one.shape[2], other.shape[2]))
        return dataclasses.replace(found, shapes=shapes)
    rows, rows_there = (numbers[ready & ready_there] for numbers in (here, there))
    nbytes = 4 * one.shape[1] * one.shape[2]
    batch = max(1, BATCH_NBYTES // nbytes)
    n_differ, largest, total = 0, 0.0, 0.0
    with Progress(len(rows), unit="clips", what=spec.name, quiet=not progress, stays=False) as bar:
        for first in range(0, len(rows), batch):
            some = slice(first, first + batch)
            values = one.read(rows[some])
            values -= other.read(rows_there[some])
            np.abs(values, out=values)
            of_clips = values.max(axis=(1, 2))
            n_differ += int(np.count_nonzero(of_clips))
            largest = max(largest, float(of_clips.max()))
            total += float(values.sum(dtype=np.float64))
            bar.update(len(values))
    n_values = len(rows) * one.shape[1] * one.shape[2]
    return dataclasses.replace(
        found,
        n_compared=len(rows),
        n_differ=n_differ,
        max=largest,
        mean=total / n_values if n_values else 0.0,
    )
