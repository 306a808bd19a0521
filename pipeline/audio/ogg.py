"""An Ogg file's streams: they may follow one another, and each must end as it should."""

import dataclasses
import os
import struct
import zlib
from collections.abc import Iterator

from featurestore.errors import AudioError

_BLOCK = 2**20

_PAGE = struct.Struct("<5xBQII4xB")
"""A page's flags, last sample, stream, number in it, and number of segments."""

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order."""

_NO_POSITION = 2**64 - 1
"""Of a page on which no packet ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One of the streams that follow one another in an Ogg file [bytes]."""

    begin: int
    end: int


def ogg_links(descriptor: int) -> list[Link]:
    """The streams that follow one another in an Ogg file; none if it is another file.

    Raises
    ------
    AudioError
        ``TruncatedAudio`` if pages are missing, or a stream does not end as it should.
        ``DecodeError`` if several streams run side by side, or if positions go back.
    """
    if os.pread(descriptor, 4, 0) != b"OggS":
        return []
    links: list[Link] = []
    begin, serial, following, is_open = 0, -1, 0, False
    end = reached = 0
    last = 0, 0
    for position, flags, reaches, number, sequence, page_end in _pages(descriptor):
        if flags & 2:  # the first page of a stream
            if is_open and following == 1:
                raise AudioError("DecodeError", "several streams side by side in an Ogg file")
            _require_ended(is_open)
            if serial >= 0:
                links.append(Link(begin, end))
            begin, serial, following, is_open, reached = position, number, sequence, True, 0
        elif number != serial or not is_open:
            raise AudioError("DecodeError", "several streams side by side in an Ogg file")
        if sequence != following or position != end:
            raise AudioError("TruncatedAudio", f"pages are missing before byte {position}")
        if reaches != _NO_POSITION:
            if reaches < reached:  # a decoder would leave out all that lies beyond
                raise AudioError("DecodeError", f"positions go back at byte {position}")
            reached = reaches
        following, end, last = sequence + 1, page_end, (position, page_end)
        is_open = is_open and not flags & 4  # the last page of a stream
    _require_ended(is_open)
    _require_sound(descriptor, last)
    return [*links, Link(begin, end)]


def _require_ended(is_open: bool) -> None:
    if is_open:
        raise AudioError("TruncatedAudio", "an Ogg stream without its last page")


def _require_sound(descriptor: int, page: tuple[int, int]) -> None:
    """Make sure that the last page is all there, and not its header alone and other bytes."""
    data = os.pread(descriptor, page[1] - page[0], page[0])
    checked = data[:22] + bytes(4) + data[26:]
    # Ogg's CRC-32 is zlib's with each byte's bits, and the sum's, in reverse order, and begun at 0.
    summed = zlib.crc32(checked.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    if int(f"{summed:032b}"[::-1], 2) != int.from_bytes(data[22:26], "little"):
        raise AudioError("TruncatedAudio", f"the last page, at byte {page[0]}, is damaged")


def _pages(descriptor: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Of each page of an Ogg file: place, flags, last sample, stream, number in it, end."""
    position, size = 0, os.fstat(descriptor).st_size
    block, base = b"", 0
    while position + 27 <= size:
        if position + 27 + 255 > base + len(block):
            block, base = os.pread(descriptor, _BLOCK, position), position
        at = position - base
        if block[at : at + 4] != b"OggS":
            at = block.find(b"OggS", at + 1)
            position = base + (at if at >= 0 else max(1, len(block) - 3))
            continue
        flags, reaches, serial, sequence, n_segments = _PAGE.unpack_from(block, at)
        end = position + 27 + n_segments + sum(block[at + 27 : at + 27 + n_segments])
        if end > size:
            return
        yield position, flags, reaches, serial, sequence, end
        position = end


def pieces(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
    """A part of a file, block by block."""
    while begin < end and (block := os.pread(descriptor, min(_BLOCK, end - begin), begin)):
        yield block
        begin += len(block)
