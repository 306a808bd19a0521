"""Frames of MPEG audio in a file: found by their headers, and counted.

Source: ISO/IEC 11172-3 and 13818-3; the Xing frame and LAME's tag as libmpg123 reads them.
"""

import dataclasses
import itertools
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Self

from featurestore.errors import AudioError
from pipeline.audio.tags import tag_nbytes

DECODER_DELAY = 529
"""A decoder's own delay, which libmpg123 leaves out after a Xing frame [samples]."""

_BLOCK = 2**20
"""Bytes of a file that are looked at together."""

_CONFIRMED = 3
"""Frames in a row that tell audio from bytes that look like a frame's header."""

HEADER_NBYTES = 4
"""Size of a frame's header."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Properties that all frames of a stream share."""

    version: int  # 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5
    layer: int
    sr: int

    @property
    def samples_per_frame(self) -> int:
        """Samples of each channel in a frame."""
        if self.layer == 1:
            return 384
        return 1152 if self.layer == 2 or self.version == 3 else 576

    def side_nbytes(self, mono: bool) -> int:
        """Size of Layer III's side information."""
        if self.version == 3:
            return 17 if mono else 32
        return 9 if mono else 17


_KBPS: Mapping[tuple[bool, int], tuple[int, ...]] = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates from index 1 on, by whether it is MPEG-1, and layer."""

_SR = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _tables() -> tuple[dict[int, tuple[Kind, int]], dict[Kind, dict[int, int]]]:
    """Kind and length of a frame [bytes] by the first 23 bits of its header; lengths by kind."""
    headers: dict[int, tuple[Kind, int]] = {}
    lengths: dict[Kind, dict[int, int]] = {}
    for version, rates in _SR.items():
        for layer in (1, 2, 3):
            for index, kbps in enumerate(_KBPS[version == 3, layer], 1):
                for rate, sr in enumerate(rates):
                    kind = Kind(version, layer, sr)
                    for padding in (0, 1):
                        slots = kind.samples_per_frame // 8 * kbps * 1000 // sr
                        if layer == 1:
                            slots = 12 * kbps * 1000 // sr
                        nbytes = (slots + padding) * (4 if layer == 1 else 1)
                        for unprotected in (0, 1):
                            bits = (0x7FF << 12) | (version << 10) | ((4 - layer) << 8)
                            bits |= (unprotected << 7) | (index << 3) | (rate << 1) | padding
                            headers[bits] = kind, nbytes
                            lengths.setdefault(kind, {})[bits] = nbytes
    return headers, lengths


_HEADERS, LENGTHS = _tables()


def bits_of(data: bytes, position: int) -> int:
    """The first 23 bits of what may be a header."""
    return int.from_bytes(data[position : position + 3], "big") >> 1


def is_mono(header: bytes) -> bool:
    """Return whether a frame that begins with `header` has one channel."""
    return header[3] >> 6 == 3


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Frames that follow one another without a gap, in a stretch of a file."""

    position: int  # of the stretch in the file
    data: bytes  # of the stretch
    offsets: list[int]  # of each frame in it
    end: int  # of the last one
    follows_gap: bool  # what lies between it and the frames before is none

    def part(self, first: int, count: int) -> "Run":
        """Some of its frames, as far as there are so many."""
        offsets = self.offsets[first : first + count]
        beyond = first + count
        end = self.offsets[beyond] if beyond < len(self.offsets) else self.end
        return Run(self.position, self.data, offsets, end, self.follows_gap and first == 0)

    def frames(self) -> Iterator[bytes]:
        """One by one."""
        for begin, end in itertools.pairwise([*self.offsets, self.end]):
            yield self.data[begin:end]

    def whole(self) -> bytes:
        """All of them."""
        return self.data[self.offsets[0] : self.end]


class Frames:
    """A file's frames, from one on, and what lies between them.

    Attributes
    ----------
    kind : Kind or None
        Of the frames, once there was one.
    skipped : int
        Bytes between the frames so far that are neither frames nor tags.
    end : int
        Of the last frame so far.
    """

    def __init__(self, descriptor: int, position: int, kind: Kind | None = None) -> None:
        self._descriptor = descriptor
        self._position = position
        self._size = os.fstat(descriptor).st_size
        self.kind = kind
        self.skipped = 0
        self.end = position

    @property
    def known_kind(self) -> Kind:
        """The same, where there was a frame."""
        assert self.kind is not None
        return self.kind

    def __iter__(self) -> Iterator[Run]:
        gap, is_apart = 0, False
        while True:
            block = os.pread(self._descriptor, _BLOCK, self._position)
            if len(block) < HEADER_NBYTES:
                return
            offsets, end = self._contiguous(block)
            if offsets:
                self.skipped += gap
                gap = 0
                yield Run(self._position, block, offsets, end, is_apart)
                is_apart = False
                self._position += end
                self.end = self._position
            elif (tag := tag_nbytes(block)) > 0:
                self._position += tag
                is_apart = True
            else:
                skipped = self._search(block)
                gap += skipped if self.kind else 0
                is_apart = True
                self._position += skipped

    def _contiguous(self, block: bytes) -> tuple[list[int], int]:
        """Whole frames at the block's start, and where they end."""
        if self.kind is None:
            found = _HEADERS.get(bits_of(block, 0))
            if found is None or not self._is_confirmed(block, 0, found[0]):
                return [], 0
            self.kind = found[0]
        length_of, from_bytes = LENGTHS[self.kind].get, int.from_bytes
        offsets: list[int] = []
        position, end = 0, len(block)
        while True:  # a fifth of a microsecond a frame
            nbytes = length_of(from_bytes(block[position : position + 3], "big") >> 1)
            if nbytes is None or position + nbytes > end:
                return offsets, position
            offsets.append(position)
            position += nbytes

    def _search(self, block: bytes) -> int:
        """Bytes up to the next frame, or tag, that is not at the block's start."""
        position = 0
        while (position := block.find(b"\xff", position + 1)) >= 0:
            found = _HEADERS.get(bits_of(block, position))
            if found is not None and self._is_confirmed(block, position, found[0]):
                if self.kind not in (None, found[0]):
                    raise AudioError(
                        "DecodeError", f"it goes on as {_in_words(found[0])} after {self._words()}"
                    )
                return position
        return max(1, len(block) - HEADER_NBYTES + 1)

    def _words(self) -> str:
        return _in_words(self.kind) if self.kind else "nothing"

    def _is_confirmed(self, block: bytes, position: int, kind: Kind) -> bool:
        """Whether frames of that kind follow one another there, if need be up to the file's end.

        A frame that says what it is needs no others. The end confirms only what is all there is:
        a piece of a frame that was cut off, or junk, may look like anything.
        """
        lengths = LENGTHS[kind]
        nbytes = lengths[bits_of(block, position)]
        if Announced.parse(block[position : position + nbytes], kind) is not None:
            return True
        position += nbytes
        for _ in range(_CONFIRMED - 1):
            header = block[position : position + HEADER_NBYTES]
            if len(header) < HEADER_NBYTES:  # beyond the block, or beyond the file
                header = os.pread(self._descriptor, HEADER_NBYTES, self._position + position)
                if len(header) < HEADER_NBYTES:
                    return self.kind is None and self._position + position == self._size
            following = lengths.get(bits_of(header, 0))
            if following is None:
                return False
            position += following
        return True


def _in_words(kind: Kind) -> str:
    version = {3: "MPEG-1", 2: "MPEG-2", 0: "MPEG-2.5"}[kind.version]
    return f"{version} layer {'I' * kind.layer} at {kind.sr} Hz"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Announced:
    """Facts about a file, announced by its first frame.

    A frame that says so holds no audio. LAME's tag, which FFmpeg writes too, says how many
    samples the encoder added at both ends.
    """

    n_frames: int | None
    nbytes: int | None
    delay: int | None = None
    padding: int = 0

    @classmethod
    def parse(cls, frame: bytes, kind: Kind) -> Self | None:
        """Read a Xing, Info or VBRI frame; None if it is a frame of audio."""
        if kind.layer != 3:
            return None
        if frame[36:40] == b"VBRI" and len(frame) >= 54:
            nbytes, n_frames = struct.unpack(">II", frame[46:54])
            return cls(n_frames=n_frames, nbytes=nbytes)
        at = HEADER_NBYTES + kind.side_nbytes(is_mono(frame))
        if frame[at : at + 4] not in (b"Xing", b"Info") or len(frame) < at + 8:
            return None
        flags = int.from_bytes(frame[at + 4 : at + 8], "big")
        at += 8
        values: dict[int, int | None] = {}
        for flag, width in ((1, 4), (2, 4), (4, 100), (8, 4)):
            if flags & flag:
                values[flag] = int.from_bytes(frame[at : at + width], "big")
                at += width
        n_frames, nbytes = values.get(1), values.get(2)
        if frame[at : at + 4] not in (b"LAME", b"Lavf", b"Lavc") or len(frame) < at + 24:
            return cls(n_frames=n_frames, nbytes=nbytes)
        trimmed = int.from_bytes(frame[at + 21 : at + 24], "big")
        return cls(n_frames=n_frames, nbytes=nbytes, delay=trimmed >> 12, padding=trimmed & 0xFFF)

    def trimmed(self, n_frames: int) -> tuple[int, int]:
        """Samples that do not count at the start, and at the end of so many frames."""
        if self.delay is None:
            return 0, 0
        if self.n_frames not in (None, n_frames):
            return self.delay + DECODER_DELAY, 0  # the end of what was announced is not this one
        return self.delay + DECODER_DELAY, max(0, self.padding - DECODER_DELAY)
