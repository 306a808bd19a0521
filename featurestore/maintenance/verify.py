"""Whether a store is what it should be.

What vouches for what: the root for itself and, by digests, for the clip table with its outcome
columns, for each spec's metadata and for the metadata of the commit records; a record for each row
that it calls ready, values and statistics together.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import CorruptDataError, StoreFormatError
from featurestore.format.clips import OUTCOME_COLUMNS, TABLE, read_outcomes
from featurestore.format.commits import array_files, array_key, array_keys, commit_key, recorded
from featurestore.format.layout import (
    ROOT_KEY,
    Layout,
    Root,
    digest_of,
    is_length,
    numbers_in,
    read_attributes,
)
from featurestore.format.status import PUBLISHED, Outcomes
from featurestore.maintenance.examine import Damage, RunOfClips, examine
from featurestore.specs.encoding import Codec, CodecName, Encoding, EncodingName
from featurestore.specs.mel import FeatureSpec
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.storage.journal import JOURNAL, read_journal

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_THREADS, _REMOTE_THREADS = 4, 16
"""Runs of clips looked at at the same time; each holds some megabytes at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What `verify` found.

    Attributes
    ----------
    store : str
    quick : bool
        Whether chunks were left unread.
    n_specs : int
        Specs of the store.
    n_rows : int
        Rows that commit records vouch for, all specs together; each was looked at.
    nbytes : int
        What was read of values, their indices and statistics [bytes].
    damage : tuple of Damage
    unfinished : tuple of str
        What a run has left to do, a line each; no damage.
    repaired : tuple of str
        What `repair` has done, a line each.
    """

    store: str
    quick: bool
    n_specs: int
    n_rows: int
    nbytes: int
    damage: tuple[Damage, ...]
    unfinished: tuple[str, ...]
    repaired: tuple[str, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether there is no damage."""
        return not self.damage

    @property
    def is_mended(self) -> bool:
        """Whether all damage there was is repaired, or left to the next run."""
        return bool(self.repaired) and all(damage.can_repair for damage in self.damage)

    def json(self) -> dict[str, Any]:
        """As plain values."""
        facts = dataclasses.asdict(self)
        del facts["n_specs"]
        return {"healthy": self.is_healthy, **facts}

    def lines(self) -> list[str]:
        """Damage, repairs or what is unfinished; then a verdict."""
        lines = result.listed(map(str, self.damage))
        for line in self.repaired:
            lines += result.wrapped(f"repaired {line}")
        for line in () if self.repaired else self.unfinished:
            lines += result.wrapped(f"unfinished: {line}; run featurize again")
        read = (
            f"{result.count(self.n_rows, 'row')} of {result.count(self.n_specs, 'spec')}, "
            f"{result.size(self.nbytes)} read"
        )
        if self.is_healthy:
            return [*lines, f"healthy: {read}{', values not checked' * self.quick}"]
        if self.is_mended:
            return [*lines, "repaired; run featurize again to compute what is pending"]
        n_lost = sum(not damage.can_repair for damage in self.damage)
        remedy = f"{n_lost:,} beyond repair" if n_lost else "run it with --repair"
        return [*lines, f"{len(self.damage):,} damaged: {read}; {remedy}"]


def verify(store: "FeatureStore", *, quick: bool = False, progress: bool = False) -> Report:
    """Look for what is missing, damaged or unfinished; a run may be at work meanwhile.

    Parameters
    ----------
    store : FeatureStore
    quick : bool
        Whether to leave chunks unread: not found are flipped bits in values, then, nor undamaged
        files in each other's places.
    progress : bool
        Whether to show on stderr how far it is.

    Raises
    ------
    StoreFormatError
        If the store was changed by a run meanwhile.
    StorageError
        If it cannot be reached.
    """
    report, _ = inspect(store, quick=quick, progress=progress)
    if report.damage and Root.read(store.files) != store._root:
        raise StoreFormatError(f"{store.path} was changed by a run meanwhile; verify it again")
    return report


def inspect(
    store: "FeatureStore", *, quick: bool, progress: bool, is_mine: bool = False
) -> tuple[Report, dict[str, Layout]]:
    """The report, and by name of spec the layouts that are beyond doubt.

    `is_mine` says that the store is locked by who asks, and not by a run.
    """
    files = store.files
    damage: list[Damage] = []
    unfinished: list[str] = []
    half_done = False
    try:
        half_done = read_journal(files) is not None
    except CorruptDataError as error:
        told = str(error.args[0]).removeprefix(f"{JOURNAL}: ")
        damage.append(Damage(key=JOURNAL, kind="corrupt", detail=told))
    if half_done:  # the next run does it, and until then metadata may be old or new
        unfinished.append("a run died while it changed metadata")
        layouts = {spec.name: layout for spec, layout in store.layouts.items()}
    else:
        if files.names(RUN_FOLDER) and not is_mine:
            unfinished.append("a run is at work here, or was killed")
        layouts, found = _metadata(store)
        damage += found
    rows = _look_at_rows(store, list(layouts.values()), quick=quick, progress=progress)
    damage += rows.damage
    if not half_done:
        found, lines = _clip_table(store, rows, layouts.values())
        damage += found
        unfinished += lines
    report = Report(
        store=store.path,
        quick=quick,
        n_specs=len(store.specs),
        n_rows=rows.n_rows,
        nbytes=rows.nbytes,
        damage=tuple(damage),
        unfinished=tuple(unfinished),
    )
    return report, layouts


def _metadata(store: "FeatureStore") -> tuple[dict[str, Layout], list[Damage]]:
    """Metadata of the root, of specs and of the commit records' arrays."""
    files, root = store.files, store._root
    damage: list[Damage] = []
    if files.read(ROOT_KEY) != root.to_bytes():
        damage.append(Damage(key=ROOT_KEY, kind="corrupt", detail="not as it was written"))
    layouts: dict[str, Layout] = {}
    for name in root.specs:
        layout = stored_layout(files, name)
        if layout is not None:
            found = read_files(files, layout.metadata_keys)
            if _digest_of_there(found) == root.digests.get(name):
                layouts[name] = layout
    others = list(layouts.values())
    for name in root.specs:
        if name in layouts:
            continue
        for layout in _candidates(store, name, others):
            group = layout.files(root.n_clips)
            if digest_of(group) == root.digests.get(name):
                layouts[name] = layout
                damage += _differences(read_files(files, group), group, name)
                break
        else:
            key = f"{name}/zarr.json"
            detail = "neither readable nor to be derived: the spec's values cannot be understood"
            damage.append(Damage(key=key, kind="corrupt", detail=detail, spec=name))
    for length in sorted({layout.clips_per_shard for layout in layouts.values()}):
        found = read_files(files, array_keys(length))
        if _digest_of_there(found) != root.digests.get(array_key(length)):
            damage += _differences(found, array_files(length, root.n_clips), "")
    return layouts, damage


def read_files(files: Files, keys: Iterable[str]) -> dict[str, bytes | None]:
    """What files hold, by key; None where there is none."""
    keys = list(keys)
    return dict(zip(keys, files.read_several(keys), strict=True))


def _digest_of_there(found: Mapping[str, bytes | None]) -> str:
    return digest_of({key: data for key, data in found.items() if data is not None})


def _differences(
    found: Mapping[str, bytes | None], wanted: Mapping[str, bytes], spec: str
) -> Iterator[Damage]:
    for key, data in found.items():
        if data is None:
            yield Damage(key=key, kind="missing", detail="there is no such file", spec=spec)
        elif data != wanted[key]:
            yield Damage(key=key, kind="corrupt", detail="not as it was written", spec=spec)


def stored_layout(files: Files, name: str) -> Layout | None:
    """The layout that a group tells of itself, if it does."""
    try:
        (fields,) = read_attributes(files, [name])
        layout = None if fields is None else Layout.from_json(fields, name)
    except StoreFormatError:
        return None
    return layout if layout is not None and layout.spec.name == name else None


def _candidates(store: "FeatureStore", name: str, others: Sequence[Layout]) -> Iterator[Layout]:
    """What the layout of a damaged group may have been; a digest tells whether it was."""
    stored = stored_layout(store.files, name)
    if stored is not None:
        yield stored
    spec = FeatureSpec.parse(name)
    text = (store.files.read(f"{name}/zarr.json") or b"").decode(errors="replace")
    left = re.search(r'"settings":\s*\{(.*?)\}', text, re.DOTALL)
    settings = [dict(layout.settings) for layout in others]
    settings += [dict(re.findall(r'"([^"]*)":\s*"([^"]*)"', left[1]))] if left else []
    names = [key.removeprefix("commits/") for key in store._root.digests]
    lengths = [int(name) for name in names if is_length(name)]
    for kept, length, encoding, codec in product(
        {str(kept): kept for kept in settings}.values(),
        lengths,
        get_args(EncodingName),
        get_args(CodecName),
    ):
        yield Layout(
            spec=spec,
            encoding=Encoding(name=encoding),
            codec=Codec(name=codec),
            clips_per_shard=length,
            n_frames=spec.n_frames(store.window.n_samples(spec.sr)),
            settings=kept,
        )


@dataclasses.dataclass(kw_only=True)
class _Rows:
    """What was found of commit records and rows; see `RunOfClips` and `Report`.

    `there` are length and number of the shards that have a record.
    """

    damage: list[Damage]
    settled: dict[str, npt.NDArray[np.bool_]]
    there: set[tuple[int, int]]
    record_damaged: bool = False
    n_rows: int = 0
    nbytes: int = 0


def _look_at_rows(
    store: "FeatureStore", layouts: Sequence[Layout], *, quick: bool, progress: bool
) -> _Rows:
    from tqdm import tqdm

    files, n_clips = store.files, store.n_clips
    by_length: dict[int, list[Layout]] = {}
    for layout in layouts:
        by_length.setdefault(layout.clips_per_shard, []).append(layout)
    rows = _Rows(
        damage=[],
        settled={layout.spec.name: np.zeros(n_clips, np.bool_) for layout in layouts},
        there=set(),
    )
    todo: list[tuple[int, int]] = []
    for length in sorted(by_length):
        n_shards = -(-n_clips // length)
        todo += [(length, shard) for shard in recorded(files, length) if shard < n_shards]

    rows.there.update(todo)

    def look(run: tuple[int, int]) -> RunOfClips:
        length, shard = run
        return examine(files, by_length[length], shard, n_clips, quick=quick)

    with (
        ThreadPoolExecutor(_THREADS if files.is_local else _REMOTE_THREADS) as pool,
        tqdm(total=len(todo), unit=" shards", disable=not progress, dynamic_ncols=True) as bar,
    ):
        for run in pool.map(look, todo):
            rows.damage += run.damage
            rows.record_damaged |= run.record_damaged
            rows.n_rows += run.n_rows
            rows.nbytes += run.nbytes
            for name, settled in run.settled.items():
                rows.settled[name][run.first : run.first + len(settled)] = settled
            bar.update()
    return rows


def _clip_table(
    store: "FeatureStore", rows: _Rows, layouts: Collection[Layout]
) -> tuple[list[Damage], list[str]]:
    """The clip table with its outcome columns; and what is unfinished."""
    try:
        active = store.table.active
    except StoreFormatError:
        detail = (
            "no other file tells which row is which clip: put the folder back from a copy, or "
            "featurize into another place with -o"
        )
        return [Damage(key=TABLE, kind="corrupt", detail=detail, can_repair=False)], []
    missing = [
        Damage(key=commit_key(length, shard), kind="missing", detail="its clips were done before")
        for length in sorted({layout.clips_per_shard for layout in layouts})
        for shard in sorted(numbers_in(store._root.records.get(str(length), ())))
        if (length, shard) not in rows.there
    ]
    pending = sum(int(np.count_nonzero(active & ~done)) for done in rows.settled.values())
    n_rows = int(np.count_nonzero(active)) * len(rows.settled)
    lines = [f"{pending:,} of {n_rows:,} rows are pending"] if pending else []
    digest = store._root.digests.get(OUTCOME_COLUMNS)
    if digest is None:
        return missing, [*lines, "no run has ended since clips or specs were added"]
    try:
        columns = read_outcomes(store.files, PUBLISHED, digest, store.n_clips)
    except StoreFormatError:
        detail = "the outcome columns are not as they were written"
        return [*missing, Damage(key=TABLE, kind="corrupt", detail=detail)], lines
    if not missing and not rows.record_damaged and len(layouts) == len(store.specs):
        outcomes = Outcomes(store.files, layouts, active)
        if not all(np.array_equal(columns[name], outcomes.column(name)) for name in PUBLISHED):
            lines.append("the clip table's outcome columns are of an earlier run")
    return missing, lines
