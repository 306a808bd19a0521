"""How values are kept (encoding) and how the bytes are packed (codec)."""

import dataclasses
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, SettingsError

EncodingName = Literal["float32", "float16"]
CodecName = Literal["zstd", "lz4", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """Values as stored: ``float32``, or ``float16`` (relative error at most 2**-11).

    Both amplitude laws stay far below float16's 65504: the largest mel power a float32 can hold
    is 385 dB.

    Raises
    ------
    SettingsError
        If `name` is not one of the encodings.
    """

    name: EncodingName = "float16"

    def __post_init__(self) -> None:
        if self.name not in get_args(EncodingName):
            raise SettingsError(
                f"encoding is {self.name!r}; it must be one of {', '.join(get_args(EncodingName))}"
            )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored values' type."""
        return np.dtype(self.name).newbyteorder("<")

    def encode(self, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Values as they are stored, in C order; finite values only."""
        return np.ascontiguousarray(values, self.dtype)

    def decode(self, stored: npt.NDArray[Any], out: npt.NDArray[np.float32]) -> None:
        """Write the float32 values of `stored` to `out`, of the same shape."""
        np.copyto(out, stored, casting="same_kind")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codec:
    """How a chunk's bytes are packed: Blosc with bitshuffle, or not at all.

    Raises
    ------
    SettingsError
        If `name` is not one of the codecs.
    """

    name: CodecName = "zstd"

    def __post_init__(self) -> None:
        if self.name not in get_args(CodecName):
            raise SettingsError(
                f"codec is {self.name!r}; it must be one of {', '.join(get_args(CodecName))}"
            )

    def compress(self, values: npt.NDArray[Any]) -> bytes:
        """Packed bytes of an array in C order."""
        if self.name == "none":
            return values.tobytes()
        from numcodecs import blosc

        # Level 1: higher levels save 5 % of the bytes and cost twice the time (RESULTS.md).
        # One block: smaller ones, which Blosc would choose, take a third longer and 3 % more.
        packed: bytes = blosc.compress(
            values, self.name.encode(), 1, blosc.BITSHUFFLE, values.nbytes
        )
        return packed

    def decompress(self, packed: memoryview, out: npt.NDArray[Any]) -> None:
        """Unpack into `out`, a C-ordered array of the chunk's shape and type.

        Raises
        ------
        CorruptDataError
            If the bytes do not unpack to exactly that array.
        """
        if self.name == "none":
            if len(packed) != out.nbytes:
                raise CorruptDataError(f"a chunk holds {len(packed)} bytes, not {out.nbytes}")
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(packed, np.uint8)
            return
        from numcodecs import blosc

        unpacked = int.from_bytes(packed[4:8], "little")  # in Blosc's header
        if unpacked != out.nbytes:
            raise CorruptDataError(f"a chunk unpacks to {unpacked} bytes, not {out.nbytes}")
        try:
            blosc.decompress(packed, out)
        except (RuntimeError, ValueError) as error:
            raise CorruptDataError(f"a chunk does not unpack: {error}") from None

    def zarr_codecs(self, dtype: np.dtype[Any]) -> list[Any]:
        """The same as zarr-python's codecs, each chunk closed by its crc32c."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        if self.name == "none":
            return [Crc32cCodec()]
        blosc = BloscCodec(
            cname=self.name, clevel=1, shuffle="bitshuffle", typesize=dtype.itemsize, blocksize=0
        )
        return [blosc, Crc32cCodec()]
