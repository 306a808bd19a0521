"""How values are stored (encoding) and how the bytes are compressed (codec)."""

import dataclasses
import struct
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, SettingsError

EncodingName = Literal["float32", "float16", "uint8", "int16"]
CodecName = Literal["zstd", "lz4", "none"]

Range = tuple[float, float]
"""Smallest and largest value that integer encodings keep, as a spec says it; finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Codes:
    """Codes of an integer encoding, and how they divide a range of values.

    Parameters
    ----------
    low, high : int
        Smallest and largest code of a value.
    fill : int
        The code that says that there is none.
    first : int
        What the least value of a range would be, whether or not it is a code.
    n_steps : int
        Steps from there to the greatest.
    """

    low: int
    high: int
    fill: int
    first: int
    n_steps: int

    @property
    def lost(self) -> tuple[int, int]:
        """Steps at the two ends of a range that no code reaches."""
        return self.low - self.first, self.first + self.n_steps - self.high


# Of -1 to 1, a step of int16 is 1/32768, as libsndfile divides 16-bit audio: it is kept bit for
# bit, but for -32768, which is kept as -32767 so that a code is left over for no value.
_CODES: dict[str, _Codes] = {
    "uint8": _Codes(low=0, high=254, fill=255, first=0, n_steps=254),
    "int16": _Codes(low=-32767, high=32767, fill=-32768, first=-32768, n_steps=65536),
}
"""By the encoding's name; floats have none."""

_FLOAT16_MAX = 65504.0

ToFloat16 = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
"""From float32 to float16, each value to the nearest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """Encoding of stored values: floats, or ``uint8`` and ``int16`` (affine over a range).

    Methods that take `value_range` take what `Spec.value_range` says.

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
        """Stored value of rows that are not ready."""
        codes = _CODES.get(self.name)
        return float("nan") if codes is None else codes.fill

    def affine(self, value_range: Range) -> tuple[float, float] | None:
        """``(scale_factor, add_offset)``: a value is code * scale_factor + add_offset.

        None where values are stored as they are.
        """
        codes = _CODES.get(self.name)
        if codes is None:
            return None
        low, high = value_range
        scale_factor = (high - low) / codes.n_steps
        return scale_factor, low - codes.first * scale_factor

    def limits(self, value_range: Range) -> tuple[float, float]:
        """Smallest and largest value that `encode` does not have to clip.

        For integers, they are beyond what codes reach by the error made within: the floor of the
        decibel scaling, -100 dB in float32, may come out a little lower.
        """
        codes = _CODES.get(self.name)
        if codes is not None:
            (low, high), (below, above) = value_range, codes.lost
            step, error = (high - low) / codes.n_steps, _rounding(codes, value_range)
            return low + below * step - error, high - above * step + error
        most = _FLOAT16_MAX if self.name == "float16" else float(np.finfo(np.float32).max)
        return -most, most

    def max_error(self, value_range: Range) -> float:
        """Largest difference between a decoded value and the one encoded, in the values' unit.

        Of values in `value_range`, for every encoding: of 100 dB, float16 keeps 2**-5 dB, and of a
        waveform, int16 keeps 1/65536 but for ±1, which it clips to ±32767/32768.
        """
        if self.name == "float32":
            return 0.0
        low, high = value_range
        largest = max(abs(low), abs(high))
        if self.name == "float16":
            return float(np.spacing(np.float16(largest))) / 2
        codes = _CODES[self.name]
        clipped = max(codes.lost) * (high - low) / codes.n_steps
        return max(clipped, _rounding(codes, value_range))

    def encode(
        self,
        values: npt.NDArray[np.float32],
        value_range: Range,
        to_float16: ToFloat16 | None = None,
    ) -> npt.NDArray[Any]:
        """Encode values, in C order.

        What the encoding does not reach, infinities too, becomes the nearest value that it does.
        Floats keep nan; integers have none, and must not be given any.

        Parameters
        ----------
        values : np.ndarray [dtype=float32]
        value_range : (float, float)
        to_float16 : callable, optional
            A faster way to round to the nearest float16, ties to even, than NumPy's; of values
            that float16 reaches.
        """
        affine = self.affine(value_range)
        if affine is None:
            if self.name == "float16":
                # Looking costs less than a copy; nan is neither, and may have others beside it.
                low, high = values.min(initial=0), values.max(initial=0)
                if not (low >= -_FLOAT16_MAX and high <= _FLOAT16_MAX):
                    values = np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX)
                if to_float16 is not None:
                    values = to_float16(values)
            return np.ascontiguousarray(values, self.dtype)
        scale_factor, add_offset = affine
        known = _CODES[self.name]
        codes = values - np.float32(add_offset)
        codes *= np.float32(1 / scale_factor)
        np.rint(codes, out=codes)
        np.clip(codes, known.low, known.high, out=codes)
        return codes.astype(self.dtype, order="C")

    def decode(
        self, stored: npt.NDArray[Any], out: npt.NDArray[np.float32], value_range: Range
    ) -> None:
        """Write the float32 values of `stored`, as `encode` made them, to `out` of its shape."""
        affine = self.affine(value_range)
        if self.name == "float16":
            _widen(stored, out)
            return
        if affine is None:
            np.copyto(out, stored)
            return
        scale_factor, add_offset = affine
        np.multiply(stored, np.float32(scale_factor), out=out, casting="unsafe")
        if add_offset:
            out += np.float32(add_offset)


def _rounding(codes: _Codes, value_range: Range) -> float:
    """Half a step, and what float32 rounds off while encoding and decoding."""
    low, high = value_range
    return (high - low) / codes.n_steps / 2 + max(abs(low), abs(high)) * 2**-21


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


_HEADER = struct.Struct("<BBBBIII")
"""Blosc 1's: versions, flags, size of a value; unpacked bytes, those of a block, packed bytes."""

_COPIED, _BITSHUFFLED, _UNSPLIT = 0x02, 0x04, 0x10
"""Flags: the values as they are; bits are shuffled; a block is one part, not one a byte of values.

Source: c-blosc 1.21, README_CHUNK_FORMAT.rst and blosc.c.
"""

_FORMATS = {"lz4": 1, "zstd": 4}
"""In the highest three bits of the flags."""

_LEAST_BLOCK = 2**16
"""Smaller blocks are only written where a chunk is no longer than that [bytes]."""

_MOST_SPLIT, _LEAST_PART = 16, 128
"""Values of more bytes than that, or fewer values than that in a block, are not split."""


def _is_block(block_nbytes: int, nbytes: int, typesize: int) -> bool:
    """Whether blocks may be that long; one that cuts a value would not be filled by its parts."""
    return min(nbytes, _LEAST_BLOCK) <= block_nbytes <= nbytes and block_nbytes % typesize == 0


def _is_filled(
    packed: memoryview, flags: int, typesize: int, nbytes: int, block_nbytes: int
) -> bool:
    """Whether the blocks, and in them the parts, follow each other from the header to the end."""
    n_blocks = -(-nbytes // block_nbytes)
    offset = _HEADER.size + 4 * n_blocks
    if offset > len(packed):
        return False
    is_split = (
        not flags & _UNSPLIT and typesize <= _MOST_SPLIT and block_nbytes // typesize >= _LEAST_PART
    )
    starts = struct.unpack_from(f"<{n_blocks}I", packed, _HEADER.size)
    # By place: Blosc's threads put blocks down as they are done.
    for start, block in sorted(zip(starts, range(n_blocks), strict=True)):
        if start != offset:
            return False
        length = min(block_nbytes, nbytes - block * block_nbytes)
        n_parts = typesize if is_split and length == block_nbytes else 1
        for _ in range(n_parts):
            if offset + 4 > len(packed):
                return False
            (n_packed,) = struct.unpack_from("<I", packed, offset)
            offset += 4 + n_packed
            if n_packed > length // n_parts or offset > len(packed):
                return False
    return offset == len(packed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codec:
    """Compression of a chunk's bytes: by Blosc, mostly with shuffled bits, or none.

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
        self.require(packed, out.dtype, out.nbytes)
        if self.name == "none":
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(packed, np.uint8)
            return
        from numcodecs import blosc

        try:
            blosc.decompress(packed, out)
        except (RuntimeError, ValueError) as error:
            raise CorruptDataError(f"a chunk does not unpack: {error}") from None

    def require(self, packed: memoryview, dtype: np.dtype[Any], nbytes: int) -> None:
        """Make sure that a chunk can be unpacked to so many bytes of values of a type.

        c-blosc is told where the packed bytes begin, and believes their header where they end: a
        header that says more makes it give away, or run over, what lies behind them in memory. It
        also leaves what a block's parts do not fill as it was. So what it reads is looked at here:
        each field is what `compress` writes, and blocks and their parts lie within the bytes.

        Raises
        ------
        CorruptDataError
            If it is anything else.
        """
        if self.name == "none":
            if len(packed) != nbytes:
                raise CorruptDataError(f"a chunk holds {len(packed)} bytes, not {nbytes}")
            return
        if len(packed) < _HEADER.size:
            raise CorruptDataError(f"a chunk holds {len(packed)} bytes, which are too few")
        version, inner_version, flags, typesize, unpacked, block_nbytes, n_packed = (
            _HEADER.unpack_from(packed)
        )
        if unpacked != nbytes:
            raise CorruptDataError(f"a chunk unpacks to {unpacked} bytes, not {nbytes}")
        if n_packed != len(packed):
            raise CorruptDataError(f"a chunk holds {len(packed)} bytes, and says {n_packed}")
        wanted = _FORMATS[self.name] << 5 | (_BITSHUFFLED if self._shuffles(dtype) else 0)
        found = version, inner_version, typesize, flags & ~(_COPIED | _UNSPLIT)
        if found != (2, 1, dtype.itemsize, wanted) or not _is_block(block_nbytes, nbytes, typesize):
            raise CorruptDataError("a chunk is packed in another way than its codec's")
        if flags & _COPIED:
            if n_packed != nbytes + _HEADER.size:
                raise CorruptDataError(f"a chunk of {nbytes} bytes is a copy of {n_packed - 16}")
        elif not _is_filled(packed, flags, typesize, nbytes, block_nbytes):
            raise CorruptDataError("a chunk's blocks do not fill it")

    def zarr_codecs(self, dtype: np.dtype[Any]) -> list[Any]:
        """The equivalent codecs of zarr-python, each chunk closed by its crc32c."""
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
