"""Whether stored rows are those that were committed."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, StoreFormatError
from featurestore.format.commits import Commit, commit_key, read_commit
from featurestore.format.division import Division
from featurestore.format.layout import Layout
from featurestore.format.shard import Clip, Index, checksum_of, read_index, tail_nbytes
from featurestore.format.statistics import Statistics, row_checksum, unpack_statistics
from featurestore.storage.checksum import verify_crc32c
from featurestore.storage.files import Files

_BLOCK = 2**23
"""Bytes read at once, or one chunk if that is longer."""

Kind = Literal["missing", "corrupt"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    """Something in a store that is not what it should be.

    Parameters
    ----------
    key : str
        Of the file, or of the folder.
    kind : {'missing', 'corrupt'}
    detail : str
        What is wrong with it.
    spec : str
        Name of the spec that it is of; empty where it is of none, or of all.
    rows : tuple of int
        Rows of the spec that cannot be trusted therefore.
    can_repair : bool
        Whether it can be derived or computed again.
    """

    key: str
    kind: Kind
    detail: str
    spec: str = ""
    rows: tuple[int, ...] = ()
    can_repair: bool = True

    def __str__(self) -> str:
        rows = f" ({_spans(self.rows)})" if self.rows else ""
        return f"{self.kind} {self.key}: {self.detail}{rows}"


def _spans(rows: Sequence[int]) -> str:
    """``row 3``, ``rows 3-7, 9``."""
    spans: list[list[int]] = []
    for row in rows:
        if spans and row == spans[-1][-1] + 1:
            spans[-1][1:] = [row]
        else:
            spans.append([row])
    text = ", ".join("-".join(map(str, span)) for span in spans)
    return f"row{'s' if len(rows) > 1 else ''} {text}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExaminedShard:
    """One commit record, and the shards of all specs that it covers, as they were found.

    Attributes
    ----------
    first : int
        Its first row.
    record_damaged : bool
    done : dict of str to np.ndarray [shape=(n_clips,), dtype=bool]
        By spec, clips with nothing to be computed; empty if the record is damaged.
    n_rows : int
        Rows committed, all specs together.
    nbytes : int
        What was read to see whether they are there [bytes].
    damage : tuple of Damage
    """

    first: int
    record_damaged: bool
    done: dict[str, npt.NDArray[np.bool_]]
    n_rows: int
    nbytes: int
    damage: tuple[Damage, ...]


def examine(
    files: Files,
    division: Division,
    layouts: Sequence[Layout],
    shard: int,
    n_clips: int,
    *,
    quick: bool,
) -> ExaminedShard:
    """Look at a commit record and at all rows that it commits.

    Bytes that are not committed, which killed runs leave, are nobody's: they are not looked at. Of
    a run that is at work, shards may be newer than a record read before them; where rows are not as
    they should be, and the record has changed since, they are looked at again;
    and as often as files may arrive damaged, see `Files`.

    Parameters
    ----------
    files : Files
    division : Division
    layouts : sequence of Layout
        Of all specs of the store.
    shard : int
    n_clips : int
        Rows of the store.
    quick : bool
        Whether to leave the chunks themselves unread.
    """
    length = division.clips_per_shard
    key = commit_key(division, shard)
    first = shard * length
    for n_tries in itertools.count(1):
        commit = None
        damage: list[Damage] = []
        looked = [_Looked(files=files, layout=layout, shard=shard) for layout in layouts]
        try:
            commit = read_commit(files, division, shard)
            if len(commit.clips) > min(length, n_clips - first):
                raise StoreFormatError(f"it is of {len(commit.clips)} clips, which are not there")
        except (CorruptDataError, StoreFormatError) as error:
            detail = error.detail if isinstance(error, CorruptDataError) else str(error)
            damage.append(Damage(key=key, kind="corrupt", detail=detail))
        else:
            for shards in looked:
                shards.look(commit, quick=quick)
            damage += [found for shards in looked for found in shards.damage]
        if not damage:
            break
        if n_tries >= files.n_tries and not _has_changed(files, division, shard, commit):
            break
    sound = None if damage and commit is None else commit
    record_damaged = any(found.key == key for found in damage)
    return ExaminedShard(
        first=first,
        record_damaged=record_damaged,
        done={} if sound is None or record_damaged else _done_rows(sound, layouts),
        n_rows=sum(shards.n_rows for shards in looked),
        nbytes=sum(shards.nbytes for shards in looked),
        damage=tuple(damage),
    )


def _has_changed(files: Files, division: Division, shard: int, commit: Commit | None) -> bool:
    try:
        return read_commit(files, division, shard) != commit
    except (CorruptDataError, StoreFormatError):
        return commit is not None


def _done_rows(commit: Commit, layouts: Sequence[Layout]) -> dict[str, npt.NDArray[np.bool_]]:
    status = np.array([clip.status for clip in commit.clips], "U7")
    done = {}
    for layout in layouts:
        name = layout.spec.name
        checksums = np.frombuffer(commit.specs.get(name, bytes(8 * len(status))), "<u8")
        done[name] = np.where(
            status == "failed", name in commit.specs, (status == "ready") & (checksums != 0)
        )
    return done


@dataclasses.dataclass(kw_only=True)
class _Looked:
    """One spec's shard, with its statistics."""

    files: Files
    layout: Layout
    shard: int
    n_rows: int = 0
    nbytes: int = 0
    damage: list[Damage] = dataclasses.field(default_factory=list)

    def look(self, commit: Commit, *, quick: bool) -> None:
        """Note what is not as the record says."""
        name = self.layout.spec.name
        committed = [p for p in range(len(commit.clips)) if commit.is_ready(name, p)]
        self.n_rows = len(committed)
        if not committed:
            return
        statistics = self._statistics(committed)
        index = self._index(committed)
        if index is None:
            return
        absent = [p for p in committed if index.is_absent(p)]
        key = self.layout.shard_key(self.shard)
        self._note(key, "missing", "committed, but not in the shard", absent)
        if quick or statistics is None:
            return
        unsound, others, misshapen = [], [], []
        for position, clip in self._clips(index, sorted(set(committed) - set(absent))):
            self.nbytes += sum(map(len, clip))
            try:
                bodies = [verify_crc32c(chunk, key) for chunk in clip]
                _require_listed(clip, index, position)
            except CorruptDataError:
                unsound.append(position)
                continue
            try:
                for body in bodies:
                    self.layout.require_chunk(body)
            except CorruptDataError:
                misshapen.append(position)
                continue
            if row_checksum(clip, statistics[position]) != commit.checksum(name, position):
                others.append(position)
        self._note(key, "corrupt", "the checksum does not match", unsound)
        self._note(key, "corrupt", "other values than those committed", others)
        self._note(key, "corrupt", "values of another shape or encoding", misshapen)

    def _note(self, key: str, kind: Kind, detail: str, positions: Sequence[int]) -> None:
        if positions:
            first = self.shard * self.layout.clips_per_shard
            rows = tuple(first + position for position in positions)
            name = self.layout.spec.name
            self.damage.append(Damage(key=key, kind=kind, detail=detail, spec=name, rows=rows))

    def _statistics(self, committed: Sequence[int]) -> Statistics | None:
        key = self.layout.statistics_key(self.shard)
        data = self.files.read(key)
        if data is None:
            self._note(key, "missing", "there is no such file", committed)
            return None
        self.nbytes += len(data)
        try:
            return unpack_statistics(data, self.layout, key)
        except CorruptDataError as error:
            self._note(key, "corrupt", error.detail, committed)
            return None

    def _index(self, committed: Sequence[int]) -> Index | None:
        """The shard's index, if it fits the file."""
        key = self.layout.shard_key(self.shard)
        size = self.files.size(key)
        tail = tail_nbytes(*self.layout.rows_and_chunks)
        if size is None:
            self._note(key, "missing", "there is no such file", committed)
            return None
        try:
            data = self.files.read_range(key, max(0, size - tail), size)
            index = read_index(data, *self.layout.rows_and_chunks, size, key)
        except CorruptDataError as error:
            self._note(key, "corrupt", error.detail, committed)
            return None
        except FileNotFoundError:  # a moment ago it was there
            self._note(key, "missing", "there is no such file", committed)
            return None
        self.nbytes += tail
        present = index.present()
        ends = np.cumsum([0, *[nbytes for _, nbytes in present]]).tolist()
        if [offset for offset, _ in present] != ends[:-1] or ends[-1] + tail != size:
            self._note(key, "corrupt", "its index does not fit its size", committed)
            return None
        return index

    def _clips(self, index: Index, positions: Sequence[int]) -> Iterator[tuple[int, Clip]]:
        """Sealed chunks of clips, one after the other in the shard; neighbours read together."""
        key = self.layout.shard_key(self.shard)
        places: dict[int, list[list[int]]] = {p: index.places[p].tolist() for p in positions}
        blocks: list[list[int]] = []
        for position, chunks in places.items():
            start, end = chunks[0][0], sum(chunks[-1])
            if blocks:
                begin = places[blocks[-1][0]][0][0]
                if start == sum(places[blocks[-1][-1]][-1]) and end - begin <= _BLOCK:
                    blocks[-1].append(position)
                    continue
            blocks.append([position])
        for block in blocks:
            begin, end = places[block[0]][0][0], sum(places[block[-1]][-1])
            try:
                data = self.files.read_range(key, begin, end)
            except FileNotFoundError:
                data = b""
            for position in block:
                yield (
                    position,
                    tuple(
                        data[start - begin : start - begin + nbytes]
                        for start, nbytes in places[position]
                    ),
                )


def _require_listed(clip: Clip, index: Index, position: int) -> None:
    """Make sure that chunks end with the checksums that the shard repeats of them."""
    if index.checksums is not None:
        found = [checksum_of(chunk) for chunk in clip]
        if found != index.checksums[position].tolist():
            raise CorruptDataError("the checksums before the index do not match")
