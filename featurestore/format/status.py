"""The rows of a store: which clip each one is, and what has become of it."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, StoreFormatError
from featurestore.format.clips import ClipTable
from featurestore.format.columns import (
    TABLE,
    add_column,
    chunk_keys,
    column,
    make_column,
    metadata_keys,
    read_there,
)
from featurestore.format.division import Division, spans_of
from featurestore.format.layout import digest_of, zarr_files
from featurestore.format.metadata import StoreMetadata
from featurestore.format.parts import Part, read_parts, recorded_shards
from featurestore.format.record_table import RecordTable
from featurestore.specs.perturbation import split_name
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import zarr

STATUS_COLUMNS = (
    "status",
    "reason",
    "detail",
    "sr",
    "start",
    "n_valid",
    "n_track",
    "peak",
    "n_clipped",
    "decoder",
)
"""The columns of `ClipStatus` that `FeatureStore.clips` shows as they are."""

MIRRORED_COLUMNS = {
    "status": "string",
    "reason": "string",
    "sr": "int64",
    "start": "int64",
    "n_valid": "int64",
    "n_track": "int64",
    "peak": "float64",
    "n_clipped": "int64",
    "decoder": "string",
    "digest": "string",
}
"""The columns that are repeated in the store's clip table, for readers other than melgrid: types.
"""

STATUS_DIGEST = "clips/status"
"""Names the digest of their metadata; there is no such file."""


class ClipStatus:
    """The clip table, and the status of each clip; each is read when it is first asked for.

    Pickled without what was read.

    Parameters
    ----------
    files : Files
    metadata : StoreMetadata
    records : RecordTable, optional
    table : ClipTable, optional
        Where they are known already; else they are read.
    """

    def __init__(
        self,
        files: Files,
        metadata: StoreMetadata,
        records: RecordTable | None = None,
        table: ClipTable | None = None,
    ) -> None:
        self._files, self._metadata = files, metadata
        if records is not None:
            self.records = records
        if table is not None:
            self.table = table

    def __reduce__(self) -> tuple[type["ClipStatus"], tuple[Files, StoreMetadata]]:
        return type(self), (self._files, self._metadata)

    @property
    def n_clips(self) -> int:
        """Rows of the store."""
        return self._metadata.n_clips

    @property
    def division(self) -> Division:
        """How its rows are divided."""
        return self._metadata.division

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Manifests of the parts."""
        return read_parts(self._files, self.division, self.n_clips)

    @cached_property
    def table(self) -> ClipTable:
        """The clip table as stored, without the status.

        Raises
        ------
        StoreFormatError
            If it is damaged, or was changed by a run since the store was opened.
        """
        if not self.n_clips:
            return ClipTable.empty()
        metadata = self._metadata
        digest = metadata.digests.get(TABLE, "")
        try:
            return ClipTable.read(self._files, metadata.division, self.n_clips, digest, self.parts)
        except (StoreFormatError, CorruptDataError):
            if StoreMetadata.read(self._files) != metadata:
                raise StoreFormatError(
                    f"{self._files.root} was changed by a run since it was opened; open it again"
                ) from None
            raise

    @cached_property
    def records(self) -> RecordTable:
        """What the commit records say.

        Raises
        ------
        CorruptDataError
            If a record is damaged, that of another shard, or missing.
        """
        metadata = self._metadata
        n_shards = self.division.n_shards(self.n_clips)  # when it was opened: it may have grown
        return RecordTable.read(
            self._files,
            metadata.division,
            self.n_clips,
            metadata.names,
            {shard for shard in recorded_shards(self.parts) if shard < n_shards},
        )

    @cached_property
    def ready(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """By spec name, rows that can be read, ``(n_clips,)``; not to be written to."""
        ready = {name: rows & self.table.active for name, rows in self.records.ready.items()}
        for rows in ready.values():
            rows.flags.writeable = False
        return ready

    def wanted(self, name: str) -> npt.NDArray[np.bool_]:
        """Rows that the spec of a name is to hold, ``(n_clips,)``: of draws, what may train."""
        is_draw = split_name(name)[1].is_draw
        active = self.table.active
        return active & self.table.may_train if is_draw else active

    @property
    def checksums(self) -> Mapping[str, npt.NDArray[np.uint32]]:
        """By spec name, what the rows' chunks must end with, ``(n_clips,)``."""
        return self.records.checksums

    @property
    def software(self) -> list[dict[str, str]]:
        """Versions of what computed the values; several, if several did."""
        return [dict(versions) for versions in sorted(self.records.software)]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A column, ``(n_clips,)``: one of `STATUS_COLUMNS`, or ``digest``.

        ``status`` is ``ready`` where a clip is so for every spec that is to hold it (`wanted`),
        ``failed`` or ``pending``.
        """
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        active, records = self.table.active, self.records
        complete = active.copy()
        for name, ready in records.ready.items():
            complete &= ready | ~self.wanted(name)
        pending = ~active | (~complete & (records.status == "ready"))
        pending |= not records.ready  # without a spec, nothing is asked for
        columns = {name: records.column(name) for name in (*STATUS_COLUMNS, "digest")}
        for name, nothing in (
            ("status", "pending"),
            ("reason", ""),
            ("detail", ""),
            ("decoder", ""),
        ):
            columns[name] = np.where(pending, np.array(nothing, object), columns[name])
        columns["digest"] = columns["digest"].astype("U32").astype(object)
        return columns

    def explain(self, spec_name: str, row: int) -> str:
        """Why a row cannot be read."""
        where = f"row {row} of {spec_name} ({self.table.clip_id[row]})"
        if not self.table.active[row]:
            return f"{where} was pruned: its track is no longer in the collection"
        if self.records.status[row] == "failed":
            reason, detail = self.records.reason[row], self.records.detail[row]
            return f"{where} holds no values: {reason}: {detail}"
        if not self.wanted(spec_name)[row]:
            return f"{where} holds no values: random draws are of clips that may train"
        return f"{where} holds no values yet: run featurize again to compute it"

    def recorded_spans(self, part: int) -> list[list[int]]:
        """Shards of a part that have a record."""
        shards = self.division.shards_of(part, self.n_clips)
        return spans_of(shard for shard in shards if self.records.recorded[shard])

    def mirrored_files(self) -> dict[str, bytes]:
        """Files of the columns that repeat the status in the clip table, by key.

        Commit records tell what became of each clip; these columns repeat it, as of the end of
        the last run, for those who open the store with Zarr alone.
        """
        rows = self.division.rows_per_part

        def build(group: "zarr.Group") -> None:
            for name in MIRRORED_COLUMNS:
                add_column(group, name, self[name], rows)

        files = zarr_files(TABLE, {}, build)
        del files[f"{TABLE}/zarr.json"]  # the table's own
        return files


def mirrored_metadata(division: Division, n_clips: int) -> dict[str, bytes]:
    """Metadata of the columns that repeat the status, by key."""

    def build(group: "zarr.Group") -> None:
        for name, kind in MIRRORED_COLUMNS.items():
            make_column(group, name, kind, (n_clips,), division.rows_per_part)

    files = zarr_files(TABLE, {}, build)
    del files[f"{TABLE}/zarr.json"]
    return files


def read_mirrored(
    files: Files, division: Division, n_clips: int, digest: str, parts: tuple[Part, ...]
) -> dict[str, npt.NDArray[Any]]:
    """Columns that `ClipStatus.mirrored_files` made, as they are stored.

    Raises
    ------
    StoreFormatError
        If they are not those whose digests are given, or not of so many rows.
    """
    stored = read_there(files, metadata_keys(MIRRORED_COLUMNS))
    try:
        if digest_of(stored) != digest:
            raise ValueError("the digest does not match")
        for part in parts:
            chunks = read_there(files, chunk_keys(MIRRORED_COLUMNS, part.number))
            if digest_of(chunks) != part.status:
                raise ValueError(f"the digest of part {part.number} does not match")
            stored |= chunks
        return {
            name: np.asarray(
                column(stored, name, kind, division, n_clips), object if kind == "string" else None
            )
            for name, kind in MIRRORED_COLUMNS.items()
        }
    except ValueError as error:
        raise StoreFormatError(
            f"{files.root}: the status columns of the clip table are damaged: {error}"
        ) from None
