"""Whether a store is what it should be.

The store's metadata hold a digest of themselves and of each array's metadata, the manifest of a
part those of its chunks of the clip table, a commit record the checksum of each row that is ready,
of values and statistics together.
"""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import CorruptDataError, StoreFormatError
from featurestore.format.columns import TABLE
from featurestore.format.commits import COMMITS, commit_key, commits_metadata, recorded
from featurestore.format.layout import digest_of
from featurestore.format.metadata import ROOT_KEY, StoreMetadata
from featurestore.format.parts import PARTS, Part, parts_metadata, read_parts, recorded_shards
from featurestore.format.status import (
    MIRRORED_COLUMNS,
    STATUS_DIGEST,
    ClipStatus,
    mirrored_metadata,
    read_mirrored,
)
from featurestore.integrity.examine import Damage, ExaminedShard, examine
from featurestore.process.progress import Progress
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.storage.journal import JOURNAL, read_journal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Damage and unfinished rows found by `verify`.

    Attributes
    ----------
    store : str
    quick : bool
        Whether chunks were left unread.
    n_specs : int
        Specs of the store.
    n_rows : int
        Rows that are committed, all specs together; each was looked at.
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
        """Return whether there is no damage."""
        return not self.damage

    @property
    def is_repaired(self) -> bool:
        """Return whether all damage is repaired, or left to the next run."""
        return bool(self.repaired) and all(damage.can_repair for damage in self.damage)

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
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
        if self.is_repaired:
            return [*lines, "repaired; run featurize again to compute what is pending"]
        n_lost = sum(not damage.can_repair for damage in self.damage)
        remedy = f"{n_lost:,} beyond repair" if n_lost else "run it with --repair"
        return [*lines, f"{len(self.damage):,} damaged: {read}; {remedy}"]


def verify(
    files: Files, metadata: StoreMetadata, *, quick: bool = False, progress: bool = False
) -> Report:
    """Look for what is missing, damaged or unfinished; a run may be at work meanwhile.

    Parameters
    ----------
    files : Files
    metadata : StoreMetadata
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
    before = _manifests(files, metadata)
    report = inspect(files, metadata, quick=quick, progress=progress)
    # A run that ends writes manifests, and the store's own metadata only if they change.
    if report.damage and (
        StoreMetadata.read(files) != metadata or _manifests(files, metadata) != before
    ):
        raise StoreFormatError(f"{files.root} was changed by a run meanwhile; verify it again")
    return report


def _manifests(files: Files, metadata: StoreMetadata) -> tuple[Part, ...] | None:
    """Manifests of the parts; None if they cannot be read."""
    try:
        return read_parts(files, metadata.division, metadata.n_clips)
    except CorruptDataError:
        return None


def inspect(
    files: Files,
    metadata: StoreMetadata,
    *,
    quick: bool,
    progress: bool,
    lock_held: bool = False,
) -> Report:
    """The report; `lock_held` says that the store is locked by the caller, not by a run."""
    damage: list[Damage] = []
    unfinished: list[str] = []
    journal_pending = False
    try:
        journal_pending = read_journal(files) is not None
    except CorruptDataError as error:
        damage.append(Damage(key=JOURNAL, kind="corrupt", detail=error.detail))
    if journal_pending:  # the next run does it, and until then metadata may be old or new
        unfinished.append("a run died while it changed metadata")
    else:
        if files.names(RUN_FOLDER) and not lock_held:
            unfinished.append("a run is at work here, or was killed")
        damage += _metadata(files, metadata)
    status = ClipStatus(files, metadata)
    rows = RowCheck()
    found = () if journal_pending else tuple(_parts(status))
    damage += found
    if not found:
        rows = _examine_rows(files, metadata, quick=quick, progress=progress)
        damage += rows.damage
    if not found and not journal_pending:
        in_table, lines = _clip_table(files, metadata, status, rows)
        damage += in_table
        unfinished += lines
    return Report(
        store=files.root,
        quick=quick,
        n_specs=len(metadata.layouts),
        n_rows=rows.n_rows,
        nbytes=rows.nbytes,
        damage=tuple(damage),
        unfinished=tuple(unfinished),
    )


def derived_metadata(metadata: StoreMetadata) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """All metadata that follow from the store's own: name of the digest, spec, files by key."""
    for layout in metadata.layouts:
        yield layout.spec.name, layout.spec.name, layout.files(metadata.n_clips)
    if COMMITS in metadata.digests:
        yield COMMITS, "", commits_metadata(metadata.division, metadata.n_clips)
        yield PARTS, "", parts_metadata(metadata.division, metadata.n_clips)
    if STATUS_DIGEST in metadata.digests:
        yield STATUS_DIGEST, "", mirrored_metadata(metadata.division, metadata.n_clips)


def _metadata(files: Files, metadata: StoreMetadata) -> Iterator[Damage]:
    """Damage of the store's metadata, and of all that follow from them."""
    if files.read(ROOT_KEY) != metadata.to_bytes():
        yield Damage(key=ROOT_KEY, kind="corrupt", detail="not as it was written")
    for name, spec, wanted in derived_metadata(metadata):
        keys = list(wanted)
        found = dict(zip(keys, files.read_several(keys), strict=True))
        there = {key: data for key, data in found.items() if data is not None}
        if digest_of(there) == metadata.digests.get(name):
            continue  # by another version of zarr-python they may be rendered otherwise
        for key, data in found.items():
            if data is None:
                yield Damage(key=key, kind="missing", detail="there is no such file", spec=spec)
            elif data != wanted[key]:
                yield Damage(key=key, kind="corrupt", detail="not as it was written", spec=spec)


def _parts(status: ClipStatus) -> Iterator[Damage]:
    """Damage of the parts' manifests: without them, nothing is known of any row."""
    try:
        for part in status.parts:
            rows = status.division.rows_of(part.number, status.n_clips)
            if part.n_rows != rows.stop - rows.start:
                raise CorruptDataError(f"it is of {part.n_rows} rows", key=part.key)
    except CorruptDataError as error:
        detail = (
            f"{error.detail}; no other file tells what it held: put it back from a copy, or "
            "featurize into another place with -o"
        )
        yield Damage(key=error.key, kind="corrupt", detail=detail, can_repair=False)


@dataclasses.dataclass(kw_only=True)
class RowCheck:
    """What was found of commit records and rows; see `ExaminedShard` and `Report`."""

    damage: list[Damage] = dataclasses.field(default_factory=list)
    done: dict[str, npt.NDArray[np.bool_]] = dataclasses.field(default_factory=dict)
    recorded: set[int] = dataclasses.field(default_factory=set)
    record_damaged: bool = False
    n_rows: int = 0
    nbytes: int = 0


def _examine_rows(
    files: Files, metadata: StoreMetadata, *, quick: bool, progress: bool
) -> RowCheck:
    division, n_clips = metadata.division, metadata.n_clips
    todo = list(recorded(files, division, n_clips)) if metadata.layouts else []
    rows = RowCheck(
        done={name: np.zeros(n_clips, np.bool_) for name in metadata.names},
        recorded=set(todo),
    )

    def look(shard: int) -> ExaminedShard:
        return examine(files, division, metadata.layouts, shard, n_clips, quick=quick)

    with (
        ThreadPoolExecutor(files.n_threads) as pool,
        Progress(len(todo), unit="shards", quiet=not progress) as bar,
    ):
        for shard in pool.map(look, todo):
            rows.damage += shard.damage
            rows.record_damaged |= shard.record_damaged
            rows.n_rows += shard.n_rows
            rows.nbytes += shard.nbytes
            for name, done in shard.done.items():
                rows.done[name][shard.first : shard.first + len(done)] = done
            bar.update()
    return rows


def _clip_table(
    files: Files, metadata: StoreMetadata, status: ClipStatus, rows: RowCheck
) -> tuple[list[Damage], list[str]]:
    """Damage of the clip table with its status columns; and what is unfinished."""
    parts = status.parts
    try:
        wanted = {name: status.wanted(name) for name in rows.done} if len(status.table) else {}
    except StoreFormatError:
        detail = (
            "no other file tells which row is which clip: put the folder back from a copy, or "
            "featurize into another place with -o"
        )
        return [Damage(key=TABLE, kind="corrupt", detail=detail, can_repair=False)], []
    missing = [
        Damage(
            key=commit_key(metadata.division, shard),
            kind="missing",
            detail="its clips were done before",
        )
        for shard in sorted(recorded_shards(parts) - rows.recorded)
    ]
    pending = sum(int(np.count_nonzero(some & ~rows.done[name])) for name, some in wanted.items())
    n_rows = sum(int(np.count_nonzero(some)) for some in wanted.values())
    lines = [f"{pending:,} of {n_rows:,} rows are pending"] if pending else []
    digest = metadata.digests.get(STATUS_DIGEST)
    if digest is None or not all(part.status for part in parts):
        return missing, [*lines, "no run has ended since clips or specs were added"]
    try:
        columns = read_mirrored(files, metadata.division, metadata.n_clips, digest, parts)
    except StoreFormatError:
        detail = "the status columns are not as they were written"
        return [*missing, Damage(key=TABLE, kind="corrupt", detail=detail)], lines
    if (
        not missing
        and not rows.record_damaged
        and not all(np.array_equal(columns[name], status[name]) for name in MIRRORED_COLUMNS)
    ):
        lines.append("the clip table's status columns are of an earlier run")
    return missing, lines
