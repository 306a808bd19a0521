"""How long a FLAC file is, by its last frame and not by its header."""

import os

from pipeline.audio.tags import id3_nbytes

_BLOCK = 2**18
"""Bytes of a file that are looked at together."""

_LONGEST_HEADER = 16
"""Of a frame [bytes]."""

_BLOCK_SIZES = (
    {1: 192} | {k: 576 << (k - 2) for k in range(2, 6)} | {k: 256 << (k - 8) for k in range(8, 16)}
)
"""Samples of a frame, by its code."""


def length(descriptor: int) -> int | None:
    """Samples of a FLAC file up to its last frame, which says where it lies; None if none is found.

    Source: RFC 9639, sections 8.2 and 9.1.
    """
    size, position = os.fstat(descriptor).st_size, id3_nbytes(os.pread(descriptor, 10, 0))
    head = os.pread(descriptor, 42, position)
    if head[:4] != b"fLaC" or len(head) < 42:
        return None
    block_size = int.from_bytes(head[10:12], "big")  # of all frames, where it is fixed
    for begin in range(size - size % _BLOCK, -1, -_BLOCK):  # from the end; junk may follow
        block = os.pread(descriptor, _BLOCK + _LONGEST_HEADER, begin)
        place = _BLOCK
        while (place := block.rfind(b"\xff", 0, place)) >= 0:
            found = _end_of_frame(block[place : place + _LONGEST_HEADER], block_size)
            if found is not None:
                return found
    return None


def _end_of_frame(data: bytes, block_size: int) -> int | None:
    """First sample after a frame that `data` begins with; None if it is none."""
    if len(data) < 6 or data[1] & 0xFE != 0xF8 or data[2] & 0xF == 0xF or data[3] & 1:
        return None
    n_more = 0 if data[4] < 0x80 else 7 - (data[4] ^ 0xFF).bit_length()
    if n_more < 0 or data[4] == 0xFF or (data[4] >= 0x80 and n_more == 0):
        return None
    number = data[4] if not n_more else data[4] & 0x3F >> n_more
    for byte in data[5 : 5 + n_more]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    end = 5 + n_more
    code, rate = data[2] >> 4, data[2] & 0xF
    n_samples = _BLOCK_SIZES.get(code)
    if code in (6, 7):
        n_samples = int.from_bytes(data[end : end + code - 5], "big") + 1
        end += code - 5
    end += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if n_samples is None or len(data) <= end or _crc8(data[:end]) != data[end]:
        return None
    return (number if data[1] & 1 else number * block_size) + n_samples


def _crc8(data: bytes) -> int:
    """With the polynomial x^8 + x^2 + x + 1, as FLAC's frames have it."""
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ 0x107) if remainder & 0x80 else remainder << 1
    return remainder
