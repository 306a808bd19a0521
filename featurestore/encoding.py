"""How values are kept (encoding) and how the bytes are packed (codec)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, SettingsError
from featurestore.spec import Log

EncodingName = Literal["float32", "float16", "uint8"]
CodecName = Literal["zstd", "lz4", "none"]

UINT8_RANGE: Mapping[Log, tuple[float, float]] = {"db": (-100.0, 40.0), "log": (0.0, 7.0)}
"""What ``uint8`` keeps of each amplitude law; beyond it, values are clipped, and counted.

-100 dB is the law's own floor. A full-scale sine reaches 26 dB in one narrow band (16 kHz, 96
bands), which is 6.6 in the other law: the rest is room for audio that was decoded beyond full
scale.
"""

_STEPS = 254
"""Codes 0 to 254 are values; 255 says that there is none."""

_FLOAT16_MAX = 65504.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """How values are kept: ``float32``, ``float16``, or ``uint8`` (affine, see `UINT8_RANGE`).

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

    @property
    def fill_value(self) -> float | int:
        """What stands where there are no values."""
        return 255 if self.name == "uint8" else float("nan")

    def affine(self, log: Log) -> tuple[float, float] | None:
        """``(scale_factor, add_offset)``: a value is code * scale_factor + add_offset.

        None where values are stored as they are.
        """
        if self.name != "uint8":
            return None
        low, high = UINT8_RANGE[log]
        return (high - low) / _STEPS, low

    def limits(self, log: Log) -> tuple[float, float]:
        """Smallest and largest value that `encode` does not have to clip.

        For ``uint8``, they are beyond its range by the error it makes within: the floor of the
        decibel law, -100 dB in float32, may come out a little lower.
        """
        if self.name == "uint8":
            low, high = UINT8_RANGE[log]
            return low - self.max_error(log), high + self.max_error(log)
        most = _FLOAT16_MAX if self.name == "float16" else float(np.finfo(np.float32).max)
        return -most, most

    def max_error(self, log: Log) -> float:
        """How far a decoded value is from the one encoded, at most [dB, or 1].

        Of values in `UINT8_RANGE`, for every encoding: of 100 dB, float16 keeps 2**-5 dB.
        """
        if self.name == "float32":
            return 0.0
        largest = max(map(abs, UINT8_RANGE[log]))
        if self.name == "float16":
            return float(np.spacing(np.float16(largest))) / 2
        # Half a step, and what float32 rounds off while encoding and decoding.
        return (UINT8_RANGE[log][1] - UINT8_RANGE[log][0]) / _STEPS / 2 + largest * 2**-21

    def encode(self, values: npt.NDArray[np.float32], log: Log) -> npt.NDArray[Any]:
        """Values as they are stored, in C order; finite values only.

        What the encoding does not reach becomes the nearest value that it does.
        """
        affine = self.affine(log)
        if affine is None:
            if self.name == "float16":
                values = np.clip(values, *self.limits(log))
            return np.ascontiguousarray(values, self.dtype)
        scale_factor, add_offset = affine
        codes = values - np.float32(add_offset)
        codes *= np.float32(1 / scale_factor)
        np.rint(codes, out=codes)
        np.clip(codes, 0, _STEPS, out=codes)
        return codes.astype(np.uint8, order="C")

    def decode(self, stored: npt.NDArray[Any], out: npt.NDArray[np.float32], log: Log) -> None:
        """Write the float32 values of `stored`, as `encode` made them, to `out` of its shape."""
        affine = self.affine(log)
        if self.name == "float16":
            _widen(stored, out)
            return
        if affine is None:
            np.copyto(out, stored)
            return
        scale_factor, add_offset = affine
        np.multiply(stored, np.float32(scale_factor), out=out, casting="unsafe")
        out += np.float32(add_offset)


def _widen(halves: npt.NDArray[np.float16], out: npt.NDArray[np.float32]) -> None:
    """Finite float16 to float32, exactly, in a fifth of the time that NumPy's own way takes.

    The bits are put where float32 has them: sign, exponent, fraction. The exponent then counts
    from 2**-127 and not from 2**-15, and a product makes up for that.
    """
    bits = out.view(np.int32)
    np.copyto(bits, halves.view("<i2"))
    bits <<= 13
    bits &= np.int32(-0x70002000)  # all but the copies of the sign that the shift left behind
    out *= np.float32(2**112)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codec:
    """How a chunk's bytes are packed: by Blosc, mostly with shuffled bits, or not at all.

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

        # Level 1: level 5 saves 1 % of the bytes and takes three times as long (RESULTS.md).
        # One block: of smaller ones, which Blosc would choose, unpacking takes twice as long.
        shuffle = blosc.BITSHUFFLE if self._shuffles(values.dtype) else blosc.NOSHUFFLE
        packed: bytes = blosc.compress(values, self.name.encode(), 1, shuffle, values.nbytes)
        return packed

    def decompress(self, packed: memoryview, out: npt.NDArray[Any]) -> None:
        """Unpack into `out`, a C-ordered array of the chunk's shape and type.

        Raises
        ------
        CorruptDataError
            If the bytes do not unpack to exactly that array.
        """
        self.require_size(packed, out.nbytes)
        if self.name == "none":
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(packed, np.uint8)
            return
        from numcodecs import blosc

        try:
            blosc.decompress(packed, out)
        except (RuntimeError, ValueError) as error:
            raise CorruptDataError(f"a chunk does not unpack: {error}") from None

    def require_size(self, packed: memoryview, nbytes: int) -> None:
        """Make sure that a chunk says of itself that it unpacks to so many bytes.

        Raises
        ------
        CorruptDataError
            If it does not.
        """
        if self.name == "none" and len(packed) != nbytes:
            raise CorruptDataError(f"a chunk holds {len(packed)} bytes, not {nbytes}")
        unpacked = int.from_bytes(packed[4:8], "little")  # in Blosc's header
        if self.name != "none" and unpacked != nbytes:
            raise CorruptDataError(f"a chunk unpacks to {unpacked} bytes, not {nbytes}")

    def zarr_codecs(self, dtype: np.dtype[Any]) -> list[Any]:
        """The same as zarr-python's codecs, each chunk closed by its crc32c."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        if self.name == "none":
            return [Crc32cCodec()]
        blosc = BloscCodec(
            cname=self.name,
            clevel=1,
            shuffle="bitshuffle" if self._shuffles(dtype) else "noshuffle",
            typesize=dtype.itemsize,
            blocksize=0,
        )
        return [blosc, Crc32cCodec()]

    def _shuffles(self, dtype: np.dtype[Any]) -> bool:
        """Whether bits are shuffled; for zstd, single bytes are as small without, and faster."""
        return self.name != "zstd" or dtype.itemsize > 1
