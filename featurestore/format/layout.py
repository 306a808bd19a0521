"""Where things lie in a store, and the Zarr metadata that says so to any reader."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import SettingsError
from featurestore.format.division import MAX_CLIPS_PER_SHARD
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.kinds import parse_spec
from featurestore.specs.spec import Spec
from featurestore.storage.checksum import append_crc32c

if TYPE_CHECKING:
    import zarr

_MOST_CHUNK = 2**29
"""Longest clip, and so chunk, not packed [bytes]; Blosc cannot pack one of 2**31."""

IMPORTED = "imported"
"""The setting that says how values were made that come from elsewhere."""

STATISTICS = ("mean", "std", "saturated")
"""Of each clip and band, over its valid frames; ``saturated`` is the share of values that the
encoding had to clip.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of one spec's array: the group ``<spec.name>`` of a store.

    The group holds ``values`` (clip, band, time), a chunk a clip or some a clip along time, as the
    kind of spec says (`Spec.chunk_frames`), and one shard a block of rows,
    ``statistics`` (clip, statistic, band) of them, one chunk a block of rows, and the coordinates
    ``statistic`` and those of the spec's two axes: ``mel`` [Hz] and ``time`` [s] of a mel one.

    Parameters
    ----------
    spec : Spec
    encoding : Encoding
    codec : Codec
    clips_per_shard : int
        Of the store; see `featurestore.format.division`.
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
            most = MAX_CLIPS_PER_SHARD if field == "clips_per_shard" else _MOST_CHUNK
            if type(value) is not int or not 1 <= value <= most:
                raise SettingsError(
                    f"{field} is {value!r}; it must be a whole number from 1 to {most}"
                )
        if self.encoding.name not in self.spec.encodings:
            raise SettingsError(
                f"encoding is {self.encoding.name!r}; {self.spec.name} may be stored as "
                f"{', '.join(self.spec.encodings)}"
            )
        if self.clip_nbytes > _MOST_CHUNK:
            raise SettingsError(
                f"n_frames is {self.n_frames}: a clip of {self.spec.name} would take "
                f"{self.clip_nbytes // 2**20:,} MiB, and may take {_MOST_CHUNK // 2**20}; "
                "choose shorter clips, or fewer bands or frames"
            )
        for key, setting in self.settings.items():
            if not isinstance(key, str) or not isinstance(setting, str):
                raise SettingsError(f"the setting {key!r} is {setting!r}; both must be texts")

    @property
    def is_imported(self) -> bool:
        """Return whether the values were imported, and not computed from audio."""
        return IMPORTED in self.settings

    @property
    def clip_shape(self) -> tuple[int, int]:
        """Shape of one clip: (n_bands, n_frames)."""
        return self.spec.n_bands, self.n_frames

    @property
    def clip_nbytes(self) -> int:
        """Size of one clip, not packed [bytes]."""
        return self.spec.n_bands * self.n_frames * self.encoding.dtype.itemsize

    @cached_property
    def frames_per_chunk(self) -> int:
        """Frames of a chunk; the last one of a clip is filled up beyond `n_frames`."""
        return self.spec.chunk_frames(self.n_frames)

    @cached_property
    def chunks_per_clip(self) -> int:
        """Chunks of a clip, side by side along time."""
        return -(-self.n_frames // self.frames_per_chunk)

    @property
    def rows_and_chunks(self) -> tuple[int, int]:
        """(clips_per_shard, chunks_per_clip): what a shard's index is of."""
        return self.clips_per_shard, self.chunks_per_clip

    def empty_chunk(self) -> npt.NDArray[Any]:
        """An array to unpack a chunk into, ``(n_bands, frames_per_chunk)``."""
        return np.empty((self.spec.n_bands, self.frames_per_chunk), self.encoding.dtype)

    def chunks_of(self, stored: npt.NDArray[Any]) -> tuple[bytes, ...]:
        """A clip's chunks, packed and each with its checksum.

        Parameters
        ----------
        stored : np.ndarray [shape=(n_bands, n_frames)]
            Encoded values.
        """
        if self.chunks_per_clip == 1:
            return (append_crc32c(self.codec.compress(stored)),)
        chunks = []
        for first in range(0, self.n_frames, self.frames_per_chunk):
            part = stored[:, first : first + self.frames_per_chunk]
            chunk = self.empty_chunk()
            chunk[:, : part.shape[1]] = part
            chunk[:, part.shape[1] :] = self.encoding.fill_value
            chunks.append(append_crc32c(self.codec.compress(chunk)))
        return tuple(chunks)

    def require_chunk(self, packed: memoryview) -> None:
        """Make sure that a chunk without its checksum can be unpacked, see `Codec.require`.

        Raises
        ------
        CorruptDataError
            If it cannot.
        """
        nbytes = self.spec.n_bands * self.frames_per_chunk * self.encoding.dtype.itemsize
        self.codec.require(packed, self.encoding.dtype, nbytes)

    def shard_key(self, shard: int) -> str:
        """Key of a shard's file."""
        return f"{self.spec.name}/values/c/{shard}/0/0"

    def statistics_key(self, shard: int) -> str:
        """Key of the file with the statistics of a block of rows."""
        return f"{self.spec.name}/statistics/c/{shard}/0/0"

    @property
    def metadata_keys(self) -> tuple[str, ...]:
        """Keys of `files`."""
        arrays = ("values", "statistics", "statistic", *self.spec.axes)
        coordinates = [f"{name}/c/0" for name in arrays[2:]]
        names = ("zarr.json", *(f"{name}/zarr.json" for name in arrays), *coordinates)
        return tuple(f"{self.spec.name}/{name}" for name in names)

    def n_valid_frames(
        self,
        n_valid: npt.NDArray[np.int64],
        sr: npt.NDArray[np.int64],
        n_following: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Frames that are audio and not padding, as the spec counts them.

        Parameters
        ----------
        n_valid : np.ndarray of int
            Samples of each clip that are audio [samples at `sr`]; 0, where there are none, gives 0.
        sr : np.ndarray of int
            Of their tracks [Hz].
        n_following : np.ndarray of int
            Samples of their tracks that follow the clips [samples at `sr`].
        """
        n_valid = self.spec.condition.n_valid(n_valid, n_following)
        inside = self.spec.n_valid_frames(n_valid, np.maximum(sr, 1))
        return np.where(n_valid > 0, np.minimum(inside, self.n_frames), 0)

    def to_json(self) -> dict[str, Any]:
        """As the group's ``melgrid`` attribute; the spec's fields are there for other readers."""
        return {
            "spec": self.spec.name,
            **self.spec.fields(),
            "condition": self.spec.condition.name,
            "speed": self.spec.condition.speed,
            "encoding": self.encoding.name,
            "codec": self.codec.name,
            "clips_per_shard": self.clips_per_shard,
            "n_frames": self.n_frames,
            "settings": dict(self.settings),
        }

    def stored_json(self) -> dict[str, Any]:
        """As the store's own metadata hold it: without what they say once for all specs."""
        return {
            "encoding": self.encoding.name,
            "codec": self.codec.name,
            "n_frames": self.n_frames,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_stored_json(cls, name: str, fields: Mapping[str, Any], clips_per_shard: int) -> Self:
        """Read what `stored_json` wrote of the spec called `name`.

        Raises
        ------
        SettingsError, SpecError, KeyError, TypeError, ValueError
            If it is something else.
        """
        return cls(
            spec=parse_spec(name),
            encoding=Encoding(name=fields["encoding"]),
            codec=Codec(name=fields["codec"]),
            clips_per_shard=clips_per_shard,
            n_frames=fields["n_frames"],
            settings=dict(fields["settings"]),
        )

    def differences(self, other: Self) -> list[str]:
        """Return the differences of two layouts for one spec, one line each."""
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
            # Zarr has shards be whole numbers of chunks: the last chunk reaches beyond the array.
            frames_per_shard = self.chunks_per_clip * self.frames_per_chunk
            values = group.create_array(
                "values",
                shape=(n_clips, *self.clip_shape),
                chunks=(1, spec.n_bands, self.frames_per_chunk),
                shards=(self.clips_per_shard, spec.n_bands, frames_per_shard),
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
                    chunks=axis.values.shape,
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


def digest_of(files: Mapping[str, bytes]) -> str:
    """BLAKE2b-128 over keys and bytes, in hex."""
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(files):
        digest.update(f"{key}\0{len(files[key])}\0".encode())
        digest.update(files[key])
    return digest.hexdigest()
