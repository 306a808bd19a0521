"""Where things lie in a store, and the Zarr metadata that says so to any reader."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import SettingsError, StoreFormatError
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.kinds import parse_spec
from featurestore.specs.spec import Spec
from featurestore.storage.documents import MOST_NBYTES, parse
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import zarr

FORMAT = 1
"""Version of the store's format; a reader refuses a newer one."""

ROOT_KEY = "zarr.json"
"""Where the store's own attributes lie."""

_MOST_CHUNK = 2**29
"""Longest chunk, not packed [bytes]; Blosc cannot pack one of 2**31."""

_MOST_CLIPS_PER_SHARD = 2**16

_MOST_CLIPS = 10**8

_MOST_NAMES = 10_000
"""Most specs, and most views, of a store."""


def is_length(name: str) -> bool:
    """Whether a text is the length that a shard may have, as folders of records are named by it."""
    return bool(re.fullmatch("[1-9][0-9]{0,4}", name)) and int(name) <= _MOST_CLIPS_PER_SHARD


Spans = Sequence[Sequence[int]]
"""Whole numbers, as pairs: the first of some that follow each other, and the one after the last."""


def spans_of(numbers: Iterable[int]) -> list[list[int]]:
    """Ascending numbers as spans."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1][1] += 1
        else:
            spans.append([number, number + 1])
    return spans


def numbers_in(spans: Spans) -> set[int]:
    """The numbers that spans stand for."""
    return {number for first, beyond in spans for number in range(first, beyond)}


def spans_without(spans: Spans, numbers: Iterable[int]) -> list[list[int]]:
    """Spans of the same numbers, but for some."""
    left = []
    for begin, beyond in spans:
        first = begin
        for number in sorted(n for n in numbers if begin <= n < beyond):
            left.append([first, number])
            first = number + 1
        left.append([first, beyond])
    return [[first, beyond] for first, beyond in left if first < beyond]


_ROOT_REMEDY = "put it back from a copy, or featurize into another place with -o"

STATISTICS = ("mean", "std", "saturated")
"""Of each clip and band, over its valid frames; ``saturated`` is the share of values that the
encoding had to clip.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How one spec's array is laid out: the group ``<spec.name>`` of a store.

    The group holds ``values`` (clip, band, time), one chunk a clip and one shard a run of clips,
    ``statistics`` (clip, statistic, band) of them, one chunk a run of clips, and the coordinates
    ``statistic`` and those of the spec's two axes: ``mel`` [Hz] and ``time`` [s] of a mel one.

    Parameters
    ----------
    spec : Spec
    encoding : Encoding
    codec : Codec
    clips_per_shard : int
        Length of the run of clips that is one shard, one task and one commit.
    n_frames : int
    settings : mapping of str to str
        What else the values depend on: backend, resampler and the like. Rows computed with
        other settings do not go into the same array.
    """

    spec: Spec
    encoding: Encoding
    codec: Codec
    clips_per_shard: int
    n_frames: int
    settings: Mapping[str, str]

    def __post_init__(self) -> None:
        for field in ("clips_per_shard", "n_frames"):
            value = getattr(self, field)
            most = _MOST_CLIPS_PER_SHARD if field == "clips_per_shard" else _MOST_CHUNK
            if type(value) is not int or not 1 <= value <= most:
                raise SettingsError(
                    f"{field} is {value!r}; it must be a whole number from 1 to {most}"
                )
        if self.encoding.name not in self.spec.encodings:
            raise SettingsError(
                f"encoding is {self.encoding.name!r}; {self.spec.name} may be stored as "
                f"{', '.join(self.spec.encodings)}"
            )
        if self.chunk_nbytes > _MOST_CHUNK:
            raise SettingsError(
                f"n_frames is {self.n_frames}: a clip of {self.spec.name} would take "
                f"{self.chunk_nbytes // 2**20:,} MiB, and may take {_MOST_CHUNK // 2**20}; "
                "choose shorter clips, or fewer bands or frames"
            )
        for key, setting in self.settings.items():
            if not isinstance(key, str) or not isinstance(setting, str):
                raise SettingsError(f"the setting {key!r} is {setting!r}; both must be texts")

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Shape of one clip: (n_bands, n_frames)."""
        return self.spec.n_bands, self.n_frames

    @property
    def chunk_nbytes(self) -> int:
        """Size of one clip, not packed [bytes]."""
        return self.spec.n_bands * self.n_frames * self.encoding.dtype.itemsize

    def require_chunk(self, packed: memoryview) -> None:
        """Make sure that a chunk without its checksum can be unpacked, see `Codec.require`.

        Raises
        ------
        CorruptDataError
            If it cannot.
        """
        self.codec.require(packed, self.encoding.dtype, self.chunk_nbytes)

    def shard_key(self, shard: int) -> str:
        """Key of a shard's file."""
        return f"{self.spec.name}/values/c/{shard}/0/0"

    def statistics_key(self, shard: int) -> str:
        """Key of the file with a run of clips' statistics."""
        return f"{self.spec.name}/statistics/c/{shard}/0/0"

    @property
    def metadata_keys(self) -> tuple[str, ...]:
        """Keys of `files`."""
        arrays = ("values", "statistics", "statistic", *self.spec.axes)
        coordinates = [f"{name}/c/0" for name in arrays[2:]]
        names = ("zarr.json", *(f"{name}/zarr.json" for name in arrays), *coordinates)
        return tuple(f"{self.spec.name}/{name}" for name in names)

    def n_valid_frames(
        self, n_valid: npt.NDArray[np.int64], sr: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Frames that are audio and not padding, as the spec counts them.

        Parameters
        ----------
        n_valid : np.ndarray of int
            Samples of each clip that are audio [samples at `sr`]; 0, where there are none, gives 0.
        sr : np.ndarray of int
            Of their tracks [Hz].
        """
        inside = self.spec.n_valid_frames(n_valid, np.maximum(sr, 1))
        return np.where(n_valid > 0, np.minimum(inside, self.n_frames), 0)

    def to_json(self) -> dict[str, Any]:
        """As the group's ``melgrid`` attribute; the spec's fields are there for other readers."""
        return {
            "spec": self.spec.name,
            **self.spec.fields(),
            "encoding": self.encoding.name,
            "codec": self.codec.name,
            "clips_per_shard": self.clips_per_shard,
            "n_frames": self.n_frames,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], where: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreFormatError
            If it is something else, or contradicts itself.
        """
        try:
            layout = cls(
                spec=parse_spec(fields["spec"]),
                encoding=Encoding(name=fields["encoding"]),
                codec=Codec(name=fields["codec"]),
                clips_per_shard=fields["clips_per_shard"],
                n_frames=fields["n_frames"],
                settings=dict(fields["settings"]),
            )
        except KeyError as error:
            raise StoreFormatError(f"{where}: not a melgrid spec group: no {error}") from None
        except (TypeError, ValueError) as error:
            raise StoreFormatError(f"{where}: not a melgrid spec group: {error}") from None
        if layout.to_json() != fields:
            raise StoreFormatError(f"{where}: the group's melgrid attributes contradict each other")
        return layout

    def differences(self, other: Self) -> list[str]:
        """What two layouts for one spec differ in, a line each; shard length does not count."""
        mine, theirs = (
            {
                "encoding": layout.encoding.name,
                "codec": layout.codec.name,
                "n_frames": str(layout.n_frames),
                **layout.settings,
            }
            for layout in (self, other)
        )
        return [
            f"{key} is {mine.get(key)} there, not {theirs.get(key)}"
            for key in dict.fromkeys([*mine, *theirs])
            if mine.get(key) != theirs.get(key)
        ]

    def files(self, n_clips: int) -> dict[str, bytes]:
        """The group's metadata and coordinates, for `n_clips` clips: bytes by key."""
        from zarr.codecs import Crc32cCodec

        spec = self.spec

        def build(group: "zarr.Group") -> None:
            values = group.create_array(
                "values",
                shape=(n_clips, *self.chunk_shape),
                chunks=(1, *self.chunk_shape),
                shards=(self.clips_per_shard, *self.chunk_shape),
                dtype=self.encoding.dtype,
                compressors=self.codec.zarr_codecs(self.encoding.dtype),
                fill_value=self.encoding.fill_value,  # what is not ready shows as not a number
                dimension_names=("clip", *spec.axes),
            )
            values.attrs.update({"long_name": spec.long_name, "units": spec.unit})
            affine = self.encoding.affine(spec.value_range)
            if affine is not None:  # as the CF conventions have it
                scale_factor, add_offset = affine
                values.attrs.update(
                    {
                        "scale_factor": scale_factor,
                        "add_offset": add_offset,
                        "_FillValue": self.encoding.fill_value,
                    }
                )
            statistics = group.create_array(
                "statistics",
                shape=(n_clips, len(STATISTICS), spec.n_bands),
                chunks=(self.clips_per_shard, len(STATISTICS), spec.n_bands),
                dtype="<f4",
                compressors=[Crc32cCodec()],
                fill_value=np.nan,
                dimension_names=("clip", "statistic", spec.axes[0]),
            )
            statistics.attrs.update({"long_name": "of a clip's values that are audio"})
            names = group.create_array(
                "statistic",
                shape=(len(STATISTICS),),
                dtype="string",
                dimension_names=("statistic",),
            )
            names[...] = np.array(STATISTICS, object)
            for axis in spec.coordinates(self.n_frames):
                array = group.create_array(
                    axis.name,
                    data=axis.values,
                    dimension_names=(axis.name,),
                    config={"write_empty_chunks": True},  # a single frame's time is 0, the fill
                )
                array.attrs.update({"long_name": axis.long_name, "units": axis.unit})

        return zarr_files(spec.name, {"melgrid": self.to_json()}, build)


def zarr_files(
    folder: str, attributes: dict[str, Any], build: Callable[["zarr.Group"], None]
) -> dict[str, bytes]:
    """The files of a Zarr group that `build` fills, by key: made by zarr-python in memory.

    So that every file reaches the store through `Files.write`, whole or not at all. The group's
    own metadata comes last: once it is there, so is what it promises.
    """
    import zarr

    made: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(made), attributes=attributes)
    build(group)
    files = {f"{folder}/{key}".lstrip("/"): data.to_bytes() for key, data in made.items()}
    own = f"{folder}/zarr.json".lstrip("/")
    return {key: files[key] for key in sorted(files, key=lambda key: (key == own, key))}


def read_attributes(files: Files, folders: Sequence[str]) -> list[dict[str, Any] | None]:
    """The ``melgrid`` attribute of Zarr groups; None where there is no such group.

    Raises
    ------
    StoreFormatError
        If the group's metadata cannot be read.
    """
    keys = [f"{folder}/zarr.json".lstrip("/") for folder in folders]
    found: list[dict[str, Any] | None] = []
    for key, data in zip(keys, files.read_several(keys, MOST_NBYTES), strict=True):
        remedy = _ROOT_REMEDY if key == ROOT_KEY else "melgrid verify --repair mends it"
        try:
            attributes = data and parse(data).get("attributes", {}).get("melgrid")
        except (ValueError, AttributeError) as error:
            raise StoreFormatError(f"{files.root}: {key} is damaged: {error}; {remedy}") from None
        if attributes is not None and not isinstance(attributes, dict):
            raise StoreFormatError(f"{files.root}: {key} is damaged: it is no group's; {remedy}")
        found.append(attributes)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Root:
    """The store's own attributes: what it holds, as of its last change.

    Parameters
    ----------
    window : mapping of str to object
        The `Excerpt` that defines the rows, as JSON.
    catalog : str
        Name of the collection.
    n_clips : int
        Rows of every array; rows beyond are being added.
    specs : tuple of str
        Names of the specs stored.
    views : tuple of str
        Names of the specs that were asked for and are served from those.
    digests : mapping of str to str
        `digest_of` the files of the clip table (``clips``), and of each spec's metadata and
        coordinates, by the group's name, so that half-written or damaged ones are found out.
    records : mapping of str to spans
        By the length of shards, those that had a commit record when the last run ended, so that
        one that has gone since is not taken for one that was never written.

    Raises
    ------
    SettingsError, SpecError
        If a value cannot be.
    """

    window: Mapping[str, Any]
    catalog: str = ""
    n_clips: int = 0
    specs: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    records: Mapping[str, Spans] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        Excerpt.from_json(dict(self.window))
        if type(self.n_clips) is not int or not 0 <= self.n_clips <= _MOST_CLIPS:
            raise SettingsError(
                f"n_clips is {self.n_clips!r}; it must be a whole number from 0 to {_MOST_CLIPS}"
            )
        if not isinstance(self.catalog, str):
            raise SettingsError(f"catalog is {self.catalog!r}; it must be a text")
        for field in ("specs", "views"):
            names = getattr(self, field)
            if len(names) > _MOST_NAMES:
                raise SettingsError(f"there are {len(names):,} {field}; {_MOST_NAMES:,} may be")
            if len(set(names)) < len(names):
                raise SettingsError(f"{field} names one twice")
            for name in names:
                parse_spec(name)
        for key, digest in self.digests.items():
            if not isinstance(digest, str):
                raise SettingsError(f"the digest of {key} is {digest!r}; it must be a text")
        for length, spans in self.records.items():
            self._parse_records(length, spans)

    def _parse_records(self, length: str, spans: Spans) -> None:
        if not is_length(length):
            raise SettingsError(f"records are of shards of {length!r} clips, which cannot be")
        n_shards, last = -(-self.n_clips // int(length)), 0
        for first, beyond in spans:
            if not (type(first) is type(beyond) is int and last <= first < beyond <= n_shards):
                raise SettingsError(f"records of shards of {length} clips are not those it can be")
            last = beyond

    def to_bytes(self) -> bytes:
        """As the metadata of the store's Zarr group; with a digest of itself."""
        fields = {"format": FORMAT, **dataclasses.asdict(self)}
        attributes = {"melgrid": {**fields, "digest": _own_digest(fields)}}
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        return json.dumps(document, indent=2).encode()

    @classmethod
    def read(cls, files: Files) -> Self | None:
        """The store's attributes; None where there is no store.

        Raises
        ------
        StoreFormatError
            If the store is of another version, or its metadata is damaged.
        """
        (fields,) = read_attributes(files, [""])
        if fields is None:
            return None
        version = fields.pop("format", None)
        if version != FORMAT:
            raise StoreFormatError(
                f"{files.root} has format {version}; this melgrid reads format {FORMAT}: "
                "use the melgrid that wrote it, or a newer one"
            )
        try:
            digest = fields.pop("digest")
            names = {key: tuple(fields[key]) for key in ("specs", "views")}
            root = cls(**{**fields, **names})
            if digest != _own_digest({"format": version, **fields}):
                raise ValueError("the digest of its attributes does not match")
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise StoreFormatError(
                f"{files.root}: {ROOT_KEY} is damaged: {error}; {_ROOT_REMEDY}"
            ) from None
        return root


def _own_digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of(files: Mapping[str, bytes]) -> str:
    """BLAKE2b-128 over keys and bytes, in hex."""
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(files):
        digest.update(f"{key}\0{len(files[key])}\0".encode())
        digest.update(files[key])
    return digest.hexdigest()
