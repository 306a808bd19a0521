"""MPEG audio (MP3, MP2, MP1): counted frame by frame, decoded where it is needed.

What a header says of a whole file (a Xing, Info or VBRI frame, or nothing at all) is a guess, and a
library that believes it cuts files short in silence. So the frames are counted here, which takes a
fiftieth of decoding them, and libsndfile decodes a run of frames under a header that is true.

A decoder carries state from frame to frame, so that a run must begin earlier than its first wanted
sample, and in a way that gives the same bits as decoding from the start:

- Layer III borrows up to 511 bytes of earlier frames (the bit reservoir). The frames that hold
  them go first, silenced: their side information is zero, so that nothing is made of their bytes.
- Half of a granule overlaps the next one, and the filter bank remembers 15 vectors: two frames.
- libmpg123 sums the filter bank's products in an order that rotates with the count of vectors, 16
  of them; eight frames are a multiple of that in every layer. A run begins at such a frame.

Source: ISO/IEC 11172-3 and 13818-3; the Xing frame and LAME's tag as libmpg123 reads them.
"""

import bisect
import dataclasses
import itertools
import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import numpy as np

from featurestore.errors import AudioError
from pipeline.audio import libsndfile
from pipeline.audio.stream import Samples
from pipeline.audio.tags import tag_nbytes

_ALIGNED = 8
"""Frames after which the filter bank's rotation begins anew."""

_OVERLAP = 2 * _ALIGNED
"""Frames before the first wanted one; two would do."""

_RESERVOIR = 511
"""Bytes of main data that a frame may borrow from earlier ones, at most."""

_MPG123_DELAY = 529
"""A decoder's own delay, which libmpg123 leaves out after a Xing frame [samples]."""

_BLOCK = 2**20
"""Bytes of a file that are looked at together."""

_CONFIRMED = 3
"""Frames in a row that tell audio from bytes that look like a frame's header."""

_MISSING = 0.5
"""How much may be damaged between frames [s]; with more, it is not the track."""

_HEADER = 4


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """What all frames of a stream share."""

    version: int  # 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5
    layer: int
    sr: int

    @property
    def samples_per_frame(self) -> int:
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


def _tables() -> tuple[dict[int, tuple[_Kind, int]], dict[_Kind, dict[int, int]]]:
    """Kind and length of a frame [bytes] by the first 23 bits of its header; lengths by kind."""
    headers: dict[int, tuple[_Kind, int]] = {}
    lengths: dict[_Kind, dict[int, int]] = {}
    for version, rates in _SR.items():
        for layer in (1, 2, 3):
            for index, kbps in enumerate(_KBPS[version == 3, layer], 1):
                for rate, sr in enumerate(rates):
                    kind = _Kind(version, layer, sr)
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


_HEADERS, _LENGTHS = _tables()


def _bits(data: bytes, position: int) -> int:
    """The first 23 bits of what may be a header."""
    return int.from_bytes(data[position : position + 3], "big") >> 1


def _is_mono(header: bytes) -> bool:
    return header[3] >> 6 == 3


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """Frames that follow one another without a gap, in a stretch of a file."""

    position: int  # of the stretch in the file
    data: bytes  # of the stretch
    offsets: list[int]  # of each frame in it
    end: int  # of the last one
    follows_gap: bool  # what lies between it and the frames before is none

    def part(self, first: int, count: int) -> "_Run":
        """Some of its frames, as far as there are so many."""
        offsets = self.offsets[first : first + count]
        beyond = first + count
        end = self.offsets[beyond] if beyond < len(self.offsets) else self.end
        return _Run(self.position, self.data, offsets, end, self.follows_gap and first == 0)

    def frames(self) -> Iterator[bytes]:
        """One by one."""
        for begin, end in itertools.pairwise([*self.offsets, self.end]):
            yield self.data[begin:end]


class _Frames:
    """A file's frames, from one on, and what lies between them.

    Attributes
    ----------
    kind : _Kind or None
        Of the frames, once there was one.
    skipped : int
        Bytes between the frames so far that are neither frames nor tags.
    end : int
        Of the last frame so far.
    """

    def __init__(self, descriptor: int, position: int, kind: _Kind | None = None) -> None:
        self._descriptor = descriptor
        self._position = position
        self._size = os.fstat(descriptor).st_size
        self.kind = kind
        self.skipped = 0
        self.end = position

    @property
    def known_kind(self) -> _Kind:
        """The same, where there was a frame."""
        assert self.kind is not None
        return self.kind

    def __iter__(self) -> Iterator[_Run]:
        gap, is_apart = 0, False
        while True:
            block = os.pread(self._descriptor, _BLOCK, self._position)
            if len(block) < _HEADER:
                return
            offsets, end = self._contiguous(block)
            if offsets:
                self.skipped += gap
                gap = 0
                yield _Run(self._position, block, offsets, end, is_apart)
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
            found = _HEADERS.get(_bits(block, 0))
            if found is None or not self._is_confirmed(block, 0, found[0]):
                return [], 0
            self.kind = found[0]
        length_of, from_bytes = _LENGTHS[self.kind].get, int.from_bytes
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
            found = _HEADERS.get(_bits(block, position))
            if found is not None and self._is_confirmed(block, position, found[0]):
                if self.kind not in (None, found[0]):
                    raise AudioError(
                        "DecodeError", f"it goes on as {_in_words(found[0])} after {self._words()}"
                    )
                return position
        return max(1, len(block) - _HEADER + 1)

    def _words(self) -> str:
        return _in_words(self.kind) if self.kind else "nothing"

    def _is_confirmed(self, block: bytes, position: int, kind: _Kind) -> bool:
        """Whether frames of that kind follow one another there, if need be up to the file's end.

        A frame that says what it is needs no others. The end confirms only what is all there is:
        a piece of a frame that was cut off, or junk, may look like anything.
        """
        lengths = _LENGTHS[kind]
        nbytes = lengths[_bits(block, position)]
        if _Announced.parse(block[position : position + nbytes], kind) is not None:
            return True
        position += nbytes
        for _ in range(_CONFIRMED - 1):
            header = block[position : position + _HEADER]
            if len(header) < _HEADER:  # beyond the block, or beyond the file
                header = os.pread(self._descriptor, _HEADER, self._position + position)
                if len(header) < _HEADER:
                    return self.kind is None and self._position + position == self._size
            following = lengths.get(_bits(header, 0))
            if following is None:
                return False
            position += following
        return True


def _in_words(kind: _Kind) -> str:
    version = {3: "MPEG-1", 2: "MPEG-2", 0: "MPEG-2.5"}[kind.version]
    return f"{version} layer {'I' * kind.layer} at {kind.sr} Hz"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Announced:
    """What the first frame says of the file.

    A frame that says so holds no audio. LAME's tag, which FFmpeg writes too, says how many
    samples the encoder added at both ends.
    """

    n_frames: int | None
    nbytes: int | None
    delay: int | None = None
    padding: int = 0

    @classmethod
    def parse(cls, frame: bytes, kind: _Kind) -> Self | None:
        """Read a Xing, Info or VBRI frame; None if it is a frame of audio."""
        if kind.layer != 3:
            return None
        if frame[36:40] == b"VBRI" and len(frame) >= 54:
            nbytes, n_frames = struct.unpack(">II", frame[46:54])
            return cls(n_frames=n_frames, nbytes=nbytes)
        at = _HEADER + kind.side_nbytes(_is_mono(frame))
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
            return self.delay + _MPG123_DELAY, 0  # the end of what was announced is not this one
        return self.delay + _MPG123_DELAY, max(0, self.padding - _MPG123_DELAY)


class MpegStream:
    """MPEG audio in a file.

    Parameters
    ----------
    descriptor : int
        Of the file.
    position : int
        Where to look for the first frame [bytes].

    Raises
    ------
    AudioError
        ``DecodeError`` if there are no frames, or if sample rate or channels change.
        ``TruncatedAudio`` if the file announces more than it holds, or if a part is damaged.
    """

    decoder = libsndfile.DECODER

    def __init__(self, descriptor: int, position: int) -> None:
        self._descriptor = descriptor
        self._marks = array("q")  # where each 8th frame lies
        self._only: _Run | None = None  # all frames, of a small file
        self._n_frames = 0
        frames = _Frames(descriptor, position)
        first, announced = self._count(frames)
        self._kind, self._first = frames.known_kind, next(first.frames())[:_HEADER]
        self.sr = self._kind.sr
        nbytes = frames.end - first.position - first.offsets[0]
        if announced is not None:
            self._require_whole(announced, nbytes)
        missing = frames.skipped / nbytes * self._n_frames * self._kind.samples_per_frame / self.sr
        if missing > _MISSING:
            raise AudioError(
                "TruncatedAudio", f"{missing:.1f} s amid it are damaged: {frames.skipped} bytes"
            )
        n_samples = self._n_frames * self._kind.samples_per_frame
        self._trimmed, end = announced.trimmed(self._n_frames) if announced else (0, 0)
        if self._trimmed + end >= n_samples:
            self._trimmed, end = 0, 0
        self.n_samples = n_samples - self._trimmed - end

    def _count(self, frames: _Frames) -> tuple[_Run, _Announced | None]:
        """Count the frames of audio; the first run, and what its first frame announces."""
        first: _Run | None = None
        announced = None
        for run in frames:
            if first is None:
                first = run
                announced = _Announced.parse(next(run.frames()), frames.known_kind)
                if announced is not None:
                    run = run.part(1, len(run.offsets))
            self._require_same_channels(first, run)
            marked = run.offsets[-self._n_frames % _ALIGNED :: _ALIGNED]
            self._marks.extend(run.position + offset for offset in marked)
            self._only = None if self._n_frames else run
            self._n_frames += len(run.offsets)
        if first is None:
            raise AudioError("DecodeError", "no frames of MPEG audio in it")
        return first, announced

    def _require_same_channels(self, first: _Run, run: _Run) -> None:
        places = np.array(run.offsets, np.int64) + 3
        is_mono = np.frombuffer(run.data, np.uint8)[places] >> 6 == 3
        if (is_mono != _is_mono(next(first.frames()))).any():
            raise AudioError("DecodeError", "it changes between one channel and two")

    def _require_whole(self, announced: _Announced, nbytes: int) -> None:
        """Make sure that there is what is announced; one of two counts may be wrong."""
        n_frames, size = announced.n_frames, announced.nbytes
        frames_fit = n_frames is not None and abs(n_frames - self._n_frames) <= 1
        bytes_fit = size is not None and size <= nbytes
        more_than_told = size is None and (n_frames or 0) <= self._n_frames
        if frames_fit or bytes_fit or more_than_told:
            return
        seconds = self._kind.samples_per_frame / self.sr
        there, whole = f"{self._n_frames * seconds:.1f} s", f"{(n_frames or 0) * seconds:.1f} s"
        if size is not None and (n_frames or 0) <= self._n_frames:
            there, whole = f"{nbytes} bytes", f"{size} bytes"
        raise AudioError("TruncatedAudio", f"{there} there of {whole} announced")

    def read(self, first: int, length: int) -> tuple[Samples, int]:
        """As `Stream.read`; the same bits, wherever a run of frames begins."""
        length = min(length, self.n_samples - first)
        if length < 1:
            return np.zeros(0, np.float32), self.n_samples
        per_frame = self._kind.samples_per_frame
        start = first + self._trimmed
        begin = max(0, (start // per_frame - _OVERLAP) // _ALIGNED * _ALIGNED)
        end = min(self._n_frames, -(-(start + length) // per_frame))
        data, lead, surplus = self._run_of(begin, end)
        n_expected = (lead + end - begin) * per_frame - surplus
        skipped = lead * per_frame - surplus + start - begin * per_frame
        with libsndfile.in_memory(data) as descriptor:
            samples, n_decoded, sr = libsndfile.decode(descriptor, skipped, length)
        if n_decoded != n_expected or sr != self.sr:
            raise AudioError(
                "DecodeError", f"{n_decoded} samples of {n_expected} decode: it is damaged"
            )
        return samples, self.n_samples

    def _run_of(self, begin: int, end: int) -> tuple[list[bytes], int, int]:
        """A file of the frames from `begin` to `end`, and what a decoder needs before them.

        Returns
        -------
        data : list of bytes
        lead : int
            Frames in it before `begin`.
        surplus : int
            Samples at the start that are not decoded.
        """
        header, kind = self._first, self._kind
        silence = [_silent_frame(header, kind)] * _ALIGNED
        if kind.layer < 3:
            # Nothing tells libmpg123 their number. It guesses from the size of the first frame,
            # which is the smallest there is, and stops at the end.
            frames = [frame for frame, _ in self._collect(begin, end - begin)]
            return [*silence, *frames], _ALIGNED, 0
        lead = self._lead(begin)
        frames = _sounding(self._collect(begin - lead, lead + end - begin), lead, kind)
        if not lead:
            frames, lead = [*silence, *frames], _ALIGNED
        return [_counted(header, kind, len(frames)), *frames], lead, _MPG123_DELAY

    def _lead(self, begin: int) -> int:
        """Number of frames before `begin` that hold all which those from it on may borrow."""
        mark, needed = begin // _ALIGNED, _RESERVOIR
        overhead = _ALIGNED * (_HEADER + 2 + self._kind.side_nbytes(mono=False))
        while mark > 0 and needed > 0:
            mark -= 1
            needed -= self._marks[mark + 1] - self._marks[mark] - overhead
        return begin - mark * _ALIGNED

    def _collect(self, begin: int, count: int) -> Iterator[tuple[bytes, bool]]:
        """`count` frames from `begin`, a multiple of 8, on; and whether each follows a gap."""
        runs: Iterable[_Run]
        if self._only is not None:
            runs = [self._only.part(begin, count)]
        else:
            runs = _Frames(self._descriptor, self._marks[begin // _ALIGNED], self._kind)
        for run in runs:
            follows_gap = run.follows_gap
            for frame in run.part(0, count).frames():
                yield frame, follows_gap
                follows_gap = False
                count -= 1
            if not count:
                return


def _silent_frame(header: bytes, kind: _Kind, *, nbytes: int = 0) -> bytes:
    """A frame that decodes to silence: the same kind, without a checksum, all else zero."""
    bits = _bits(header, 0) | 1 << 7  # no checksum
    bits &= ~(0xF << 3 | 1)  # no bit rate yet, no padding
    needed = max(nbytes, _HEADER + kind.side_nbytes(_is_mono(header)))
    lengths = _LENGTHS[kind]
    index = bisect.bisect_left(range(1, 15), needed, key=lambda i: lengths[bits | i << 3]) + 1
    bits |= index << 3
    return (bits << 1).to_bytes(3, "big") + header[3:4] + bytes(lengths[bits] - _HEADER)


def _sounding(frames: Iterable[tuple[bytes, bool]], lead: int, kind: _Kind) -> list[bytes]:
    """Frames of Layer III as libmpg123 is to have them: the first `lead` of them silenced.

    Others are silenced too that borrow bytes which are not there, since the file begins amid a
    stream, or there is a gap before them: of any other bytes libmpg123 makes noise far beyond full
    scale.

    Parameters
    ----------
    frames : iterable of (bytes, bool)
        And whether each follows a gap.
    lead : int
    kind : _Kind
    """
    sounding, held = [], 0
    shift, most = (7, 511) if kind.version == 3 else (8, 255)
    for number, (frame, follows_gap) in enumerate(frames):
        side = _HEADER + 2 * (not frame[1] & 1)  # after a checksum
        main = side + kind.side_nbytes(_is_mono(frame))
        held = 0 if follows_gap else held
        is_orphan = int.from_bytes(frame[side : side + 2], "big") >> shift > held
        if number < lead or is_orphan:
            # Silence, and it still holds its bytes for those that follow. It says that it borrows
            # all there is: libmpg123 copies no more from frame to frame than is borrowed.
            header = (_bits(frame, 0) | 1 << 7) << 1 | frame[2] & 1
            cleared = (held << shift).to_bytes(2, "big").ljust(main - _HEADER, b"\0")
            sounding.append(header.to_bytes(3, "big") + frame[3:4] + cleared + frame[main:])
        else:
            sounding.append(frame)
        held = min(most, held + len(frame) - main)
    return sounding


def _counted(header: bytes, kind: _Kind, n_frames: int) -> bytes:
    """A Xing frame that says how many frames follow."""
    at = _HEADER + kind.side_nbytes(_is_mono(header))
    frame = bytearray(_silent_frame(header, kind, nbytes=at + 12))
    frame[at : at + 12] = struct.pack(">4sII", b"Xing", 1, n_frames)
    return bytes(frame)
