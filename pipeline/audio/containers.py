"""How much audio a file's container announces, and how much of it is there.

Only sizes are looked at, and never what a library says of them in words: a title may say anything.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from featurestore.errors import AudioError

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_UNKNOWN = 0x7FFFF000
"""Sizes from here to 2**31, and 2**32 - 1, are what programs write that cannot go back."""


class AudioChunk(NamedTuple):
    """Position of a file's audio.

    Attributes
    ----------
    codec : int
        WAV's code for it; 0 in other files.
    begin : int
    nbytes : int or None
        As announced; None where that is left open.
    """

    codec: int
    begin: int
    nbytes: int | None


def require_whole(descriptor: int) -> bool:
    """Make sure that a file holds all of the data that its header announces.

    WAV (RIFF, RIFX, RF64), W64, AIFF, AU, CAF and WMA; of other files nothing is said.

    Returns
    -------
    unknown : bool
        Whether the header leaves the length open.

    Raises
    ------
    AudioError
        ``TruncatedAudio`` if the file ends before its data does. ``DecodeError`` if it goes on
        after that, where nothing else may follow.
    """
    found = audio_chunk(descriptor)
    if found is None:
        return False
    _, begin, announced = found
    there = os.fstat(descriptor).st_size - begin
    if announced is not None and announced < there and os.pread(descriptor, 4, 0) == b".snd":
        raise AudioError("DecodeError", f"{there - announced} bytes more than its header announces")
    if announced is None:
        return there > 0
    if announced > there:
        raise AudioError(
            "TruncatedAudio", f"{max(0, there)} bytes of audio there of {announced} announced"
        )
    return False


def audio_chunk(descriptor: int) -> AudioChunk | None:
    """Find a file's audio; None if the file is of another kind, or has no audio."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, 64, 0)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _riff(descriptor, size, "<" if head[:4] != b"RIFX" else ">")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        found = _chunk(descriptor, 12, size, b"SSND", ">4sI", 2)
        return found and AudioChunk(0, found[0] + 8, found[1] - 8)
    if head[:4] == b".snd" and len(head) >= 24:
        begin, nbytes = struct.unpack(">II", head[4:12])
        return AudioChunk(0, begin, None if nbytes == 2**32 - 1 else nbytes)
    if head[:4] == b"caff":
        found = _chunk(descriptor, 8, size, b"data", ">4sq", 1)
        nbytes = None if found is None or found[1] < 0 else found[1] - 4
        return found and AudioChunk(0, found[0] + 4, nbytes)
    if head[:16] == _ASF:
        return _asf(descriptor)
    if head[:16] == b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00":
        return _w64(descriptor, size)
    return None


def _riff(descriptor: int, size: int, order: str) -> AudioChunk | None:
    codec, long_size = 0, None
    for name, begin, nbytes in _chunks(descriptor, 12, size, f"{order}4sI", 2):
        body = os.pread(descriptor, 40, begin)
        if name == b"ds64" and len(body) >= 16:
            long_size = int.from_bytes(body[8:16], "little")
        elif name == b"fmt " and len(body) >= 16:
            codec = struct.unpack(f"{order}H", body[:2])[0]
        elif name == b"data":
            if nbytes == 2**32 - 1:
                return AudioChunk(codec, begin, long_size)  # RF64 tells it
            if _UNKNOWN <= nbytes < 2**31 and begin + nbytes > size:
                return AudioChunk(codec, begin, None)
            if nbytes == 0 and not _is_chained(descriptor, begin, size, f"{order}4sI"):
                return AudioChunk(codec, begin, None)
            return AudioChunk(codec, begin, nbytes)
    return None


def _is_chained(descriptor: int, begin: int, size: int, header: str) -> bool:
    """Whether what follows is a chain of chunks, up to the end: then there is no audio."""
    end = begin
    for name, start, nbytes in _chunks(descriptor, begin, size, header, 2):
        if not name.isalnum() and not name.strip().isalnum():
            return False
        end = start + nbytes + nbytes % 2
    return end >= size


def _asf(descriptor: int) -> AudioChunk | None:
    """WMA: one of its objects tells the size of the whole file."""
    head = os.pread(descriptor, 2**16, 0)
    place = head.find(_ASF_FILE_PROPERTIES)
    if place < 0 or len(head) < place + 48:
        return None
    size = int.from_bytes(head[place + 40 : place + 48], "little")
    return AudioChunk(0, 0, size or None)


def _w64(descriptor: int, size: int) -> AudioChunk | None:
    position = 40
    while position + 24 <= size:
        name, nbytes = struct.unpack("<16sQ", os.pread(descriptor, 24, position))
        if name[:4] == b"data":
            return AudioChunk(0, position + 24, nbytes - 24)
        position += max(24, nbytes + -nbytes % 8)
    return None


def _chunk(
    descriptor: int, position: int, size: int, wanted: bytes, header: str, pad: int
) -> tuple[int, int] | None:
    for name, begin, nbytes in _chunks(descriptor, position, size, header, pad):
        if name == wanted:
            return begin, nbytes
    return None


def _chunks(
    descriptor: int, position: int, size: int, header: str, pad: int
) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of chunks that follow one another."""
    width = struct.calcsize(header)
    while position + width <= size:
        name, nbytes = struct.unpack(header, os.pread(descriptor, width, position))
        yield name, position + width, nbytes
        position += width + max(0, nbytes) + max(0, nbytes) % pad
