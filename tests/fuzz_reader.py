"""Injure what a reader is given, checksums and digests made to fit, and look what it does.

``python tests/fuzz_reader.py STORE N SEED`` is a program of its own, for what it looks for ends a
process: packed bytes lie between pages that may not be touched, and so does what they are unpacked
to, so that reading or writing beyond either is SIGSEGV. What is unpacked is unpacked twice, with
other bytes in all memory that is not yet written: values that differ were never in the chunk.
Memory is limited, so that a size that is taken on trust is a MemoryError.

STORE is a store as `tests.conftest.StoreMaker` makes it, and is left as it was. Prints JSON: how
many injuries were refused, how many made no difference, by what was injured.
"""

import base64
import ctypes
import dataclasses
import json
import mmap
import resource
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featurestore.errors import CorruptDataError, MelgridError
from featurestore.format.clips import COLUMNS
from featurestore.format.columns import TABLE, by_part
from featurestore.format.commits import commit_key
from featurestore.format.layout import digest_of
from featurestore.format.metadata import _own_digest
from featurestore.format.parts import table_digest
from featurestore.specs.encoding import Codec, Encoding
from featurestore.storage.checksum import append_crc32c
from featurestore.storage.journal import JOURNAL, read_journal
from featurestore.store import FeatureStore

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
_PERTURB, _ARENA_MAX = -6, -8  # glibc's M_PERTURB and M_ARENA_MAX
_NO_ACCESS = 0  # PROT_NONE
ROOM = 2**30
"""Memory beyond what the program takes before it begins [bytes]; threads take some of it."""

NUMBERS = (
    *(0, 1, 2, 3, 4, 15, 16, 20, 127, 128, 255, 256, 2**15, 2**16, 2**20, 2**24, 2**28),
    *(2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1),
)
WIDE = (*NUMBERS, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 4, 2**64 - 2, 2**64 - 1)
JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**18, 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\u202e", "..", "/etc/passwd", "9" * 5000, [], {}, [[]], {"": ""}, [0] * 1000),
)


class Guarded:
    """Memory between two pages that may not be touched."""

    def __init__(self, n_pages: int) -> None:
        self._map = mmap.mmap(-1, (n_pages + 2) * PAGE)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for page in (begin, begin + (n_pages + 1) * PAGE):
            if LIBC.mprotect(ctypes.c_void_p(page), PAGE, _NO_ACCESS):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._room = memoryview(self._map)[PAGE : (n_pages + 1) * PAGE]

    def place(self, nbytes: int, *, at_end: bool) -> memoryview:
        """So many bytes, right before the page behind, or right behind the page before."""
        return self._room[len(self._room) - nbytes :] if at_end else self._room[:nbytes]


def injured(data: bytes, rng: np.random.Generator, numbers: tuple[int, ...], width: int) -> bytes:
    """Bytes with a number put in, some made random, a stretch cut out, doubled, or the end gone."""
    hurt = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(hurt))) if hurt else 0
        how = int(rng.integers(6))
        if how < 2:  # numbers stand where they are looked for: mostly at the beginning
            place = width * int(rng.integers(min(len(hurt), 64) // width or 1))
            near = int(rng.choice([len(data), len(hurt), 0])) + int(rng.integers(-20, 21))
            number = numbers[rng.integers(len(numbers))] if rng.random() < 0.7 else near
            hurt[place : place + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        elif how == 2:
            hurt[place : place + 1] = rng.bytes(1)
        elif how == 3:
            length = int(rng.integers(1, 40))
            hurt[place : place + length] = rng.bytes(len(hurt[place : place + length]))
        elif how == 4:
            del hurt[place : place + int(rng.integers(1, 40))]
        else:
            hurt = hurt[:place] if rng.random() < 0.5 else hurt + hurt[place : place + 100]
    return bytes(hurt)


class Chunks:
    """Packed chunks of every codec and encoding, of one block and of several."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._packed = Guarded(160)
        self._unpacked = Guarded(80)
        self._samples: list[tuple[Codec, np.dtype[Any], bytes, int]] = []
        for encoding in ("float32", "float16", "uint8"):
            dtype = Encoding(name=encoding).dtype
            for shape in ((3, 5), (8, 16), (16, 157), (40, 2000)):
                values = rng.normal(size=shape).cumsum(axis=1)
                stored = np.ascontiguousarray(values * (1 if dtype.itemsize > 1 else 9), dtype)
                for codec in ("zstd", "lz4", "none"):
                    packed = Codec(name=codec).compress(stored)
                    self._samples.append((Codec(name=codec), dtype, packed, stored.nbytes))

    def __call__(self) -> str:
        """Injure one, and unpack it."""
        rng = self._rng
        codec, dtype, packed, nbytes = self._samples[rng.integers(len(self._samples))]
        hurt = injured(packed, rng, NUMBERS, int(rng.choice([1, 4])))
        if len(hurt) >= 16 and rng.random() < 0.5:  # so that it is not refused for its length
            hurt = hurt[:12] + struct.pack("<I", len(hurt)) + hurt[16:]
        at_end = bool(rng.integers(2))
        source = self._packed.place(len(hurt), at_end=at_end)
        source[:] = hurt
        found = []
        for filling in (0x5A, 0xC3):
            LIBC.mallopt(_PERTURB, filling)
            place = self._unpacked.place(nbytes, at_end=at_end)
            place[:] = bytes([filling]) * nbytes
            try:
                codec.decompress(source, np.frombuffer(place, dtype))
            except CorruptDataError:
                return "refused"
            found.append(bytes(place))
        LIBC.mallopt(_PERTURB, 0)
        if found[0] != found[1]:
            raise AssertionError("values that were not in the chunk")
        return "read"


class Store:
    """A store whose files are injured one after the other."""

    def __init__(self, path: str, rng: np.random.Generator) -> None:
        self._path, self._rng = Path(path), rng
        store = FeatureStore.open(path)
        self._n_clips, self._specs = store.n_clips, store.specs
        self._division, self._parts = store.metadata.division, store.status.parts
        self._rows = {spec: np.flatnonzero(store[spec].ready) for spec in store.specs}
        self._values = {spec: store[spec].read(rows) for spec, rows in self._rows.items()}
        self._statistics_of = {
            spec: store[spec].read_statistics(rows) for spec, rows in self._rows.items()
        }
        self._kinds: dict[str, Callable[[], dict[str, bytes]]] = {
            "index": self._index,
            "statistics": self._statistics,
            "record": self._record,
            "clip table": self._table,
            "part": self._manifest,
            "root": self._root,
            "spec": self._spec,
            "journal": self._journal,
        }

    def __call__(self) -> tuple[str, str]:
        """Injure one file, read all there is, and put it back."""
        kind = str(self._rng.choice(list(self._kinds)))
        changes = self._kinds[kind]()
        before = {key: self._read(key) for key in changes}
        try:
            for key, data in changes.items():
                (self._path / key).parent.mkdir(parents=True, exist_ok=True)
                (self._path / key).write_bytes(data)
            return kind, self._look()
        finally:
            for key, whole in before.items():
                if whole is None:
                    (self._path / key).unlink()
                else:
                    (self._path / key).write_bytes(whole)

    def _look(self) -> str:
        """Read what there is; what is read must be right."""
        outcome = "read"
        try:
            store = FeatureStore.open(self._path)
            read_journal(store.files)
            clips = store.clips
            if len(clips) != store.n_clips:
                raise AssertionError(f"{len(clips)} clips")
            for spec in store.specs:
                array = store[spec]
                known = dict(zip(self._rows.get(spec, ()), self._values.get(spec, ()), strict=True))
                for row in np.flatnonzero(array.ready)[:: int(self._rng.integers(1, 5))]:
                    try:
                        values = array[row]
                    except MelgridError:
                        outcome = "refused"
                        continue
                    if values.shape == known[row].shape and (values != known[row]).any():
                        raise AssertionError(f"row {row} of {spec} has other values")
                array.statistics()
                if array.ready.tolist() == np.isin(range(len(array)), self._rows[spec]).tolist():
                    found = array.read_statistics(self._rows[spec])
                    np.testing.assert_array_equal(found, self._statistics_of[spec])
            store.verify(quick=bool(self._rng.integers(2)))
        except MelgridError:
            return "refused"
        return outcome

    def _read(self, key: str) -> bytes | None:
        path = self._path / key
        return path.read_bytes() if path.exists() else None

    def _bytes(self, key: str) -> bytes:
        return (self._path / key).read_bytes()

    def _some_spec(self) -> str:
        return self._specs[self._rng.integers(len(self._specs))].name

    def _some_shard(self) -> int:
        return int(self._rng.integers(self._division.n_shards(self._n_clips)))

    def _index(self) -> dict[str, bytes]:
        key = f"{self._some_spec()}/values/c/{self._some_shard()}/0/0"
        data = self._bytes(key)
        tail = len(data) - 8 * 16 - 4
        index = injured(data[tail:-4], self._rng, WIDE, 8)
        return {key: data[:tail] + append_crc32c(index)}

    def _statistics(self) -> dict[str, bytes]:
        key = f"{self._some_spec()}/statistics/c/{self._some_shard()}/0/0"
        return {key: append_crc32c(injured(self._bytes(key)[:-4], self._rng, NUMBERS, 4))}

    def _record(self) -> dict[str, bytes]:
        key = commit_key(self._division, self._some_shard())
        text = self._bytes(key)[8:-4]
        hurt = self._hurt_json(text)
        head = struct.pack("<II", 1, len(hurt))
        if self._rng.random() < 0.1:
            head = injured(head, self._rng, NUMBERS, 4)
        return {key: append_crc32c(head + hurt)}

    def _table(self) -> dict[str, bytes]:
        files = {
            str(path.relative_to(self._path)): path.read_bytes()
            for name in COLUMNS
            for path in (self._path / TABLE / name).rglob("*")
            if path.is_file()
        } | {"clips/zarr.json": self._bytes("clips/zarr.json")}
        key = str(self._rng.choice(sorted(files)))
        files[key] = (
            self._hurt_json(files[key])
            if key.endswith("zarr.json")
            else injured(files[key], self._rng, NUMBERS, 4)
        )
        common, chunks = by_part(files)
        parts = [
            dataclasses.replace(part, table=digest_of(chunks.get(part.number, {})))
            for part in self._parts
        ]
        fields = self._fields()
        fields["digests"][TABLE] = table_digest(common, parts)
        manifests = {part.key: part.to_bytes() for part in parts}
        return {key: files[key], **manifests, "zarr.json": self._root_of(fields)}

    def _manifest(self) -> dict[str, bytes]:
        part = self._parts[self._rng.integers(len(self._parts))]
        text = self._hurt_json(self._bytes(part.key)[8:-4])
        return {part.key: append_crc32c(struct.pack("<II", 1, len(text)) + text)}

    def _root(self) -> dict[str, bytes]:
        return {"zarr.json": self._root_of(json.loads(self._hurt_json(json.dumps(self._fields()))))}

    def _spec(self) -> dict[str, bytes]:
        key = f"{self._some_spec()}/zarr.json"
        return {key: self._hurt_json(self._bytes(key))}

    def _journal(self) -> dict[str, bytes]:
        head = self._hurt_json(json.dumps({"removed": ["x"], "sizes": [["y", 3], ["z", 0]]}))
        return {JOURNAL: append_crc32c(head + b"\n123")}

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._bytes("zarr.json"))["attributes"]["melgrid"]
        del fields["digest"]
        return fields

    def _root_of(self, fields: Any) -> bytes:
        if isinstance(fields, dict):
            fields = {**fields, "digest": _own_digest(fields)}
        document = {"zarr_format": 3, "node_type": "group", "attributes": {"melgrid": fields}}
        return json.dumps(document).encode()

    def _hurt_json(self, text: str | bytes) -> bytes:
        """JSON with one value replaced, one removed, or other text than JSON."""
        rng = self._rng
        document = json.loads(text)
        places: list[tuple[Any, Any]] = []
        todo = [document]
        while todo:
            outer = todo.pop()
            keys = list(outer) if isinstance(outer, dict) else range(min(len(outer), 4))
            places += [(outer, key) for key in keys]
            todo += [outer[key] for key in keys if isinstance(outer[key], dict | list)]
        outer, key = places[rng.integers(len(places))]
        how = rng.random()
        if how < 0.6:
            outer[key] = JUNK[rng.integers(len(JUNK))]
        elif how < 0.7:
            outer[key] = [outer[key]] * int(rng.choice([1, 2, 9, 1000]))
        elif how < 0.8:
            del outer[key]
        elif how < 0.9 and isinstance(outer[key], str):
            outer[key] = base64.b64encode(rng.bytes(int(rng.integers(100)))).decode()
        else:
            deep: Any = 0
            for _ in range(int(rng.choice([50, 100, 900]))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            outer[key] = deep
        return json.dumps(document).encode()


def main(path: str, n: int, seed: int) -> None:
    """Four of five injuries are of chunks, and the fifth of a store's files."""
    LIBC.mallopt(_ARENA_MAX, 2)  # else each thread sets tens of megabytes aside
    rng = np.random.default_rng(seed)
    chunks, store = Chunks(rng), Store(path, rng)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * PAGE + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts: Counter[str] = Counter()
    for number in range(n):
        try:
            kind, outcome = store() if number % 5 == 4 else ("chunk", chunks())
        except BaseException:
            sys.stderr.write(f"injury {number} of seed {seed}\n")
            raise
        counts[f"{kind} {outcome}"] += 1
    sys.stdout.write(json.dumps(dict(sorted(counts.items()))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
