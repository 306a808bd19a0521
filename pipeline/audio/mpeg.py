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
"""

import bisect
import struct
from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from featurestore.errors import AudioError
from pipeline.audio import libsndfile
from pipeline.audio.mpeg_frames import (
    DECODER_DELAY,
    HEADER_NBYTES,
    LENGTHS,
    Announced,
    Frames,
    Kind,
    Run,
    bits_of,
    is_mono,
)
from pipeline.audio.stream import Samples

_ALIGNED = 8
"""Frames after which the filter bank's rotation begins anew."""

_OVERLAP = 2 * _ALIGNED
"""Frames before the first wanted one; two would do."""

_RESERVOIR = 511
"""Bytes of main data that a frame may borrow from earlier ones, at most."""

_MISSING = 0.5
"""How much may be damaged between frames [s]; with more, it is not the track."""


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
    is_certain = True

    def __init__(self, descriptor: int, position: int) -> None:
        self._descriptor = descriptor
        self._marks = array("q")  # where each 8th frame lies
        self._only: Run | None = None  # all frames, of a small file
        self._n_frames = 0
        frames = Frames(descriptor, position)
        first, announced = self._count(frames)
        self._kind, self._first = frames.known_kind, next(first.frames())[:HEADER_NBYTES]
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

    def _count(self, frames: Frames) -> tuple[Run, Announced | None]:
        """Count the frames of audio; the first run, and what its first frame announces."""
        first: Run | None = None
        announced = None
        for run in frames:
            if first is None:
                first = run
                announced = Announced.parse(next(run.frames()), frames.known_kind)
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

    def _require_same_channels(self, first: Run, run: Run) -> None:
        places = np.array(run.offsets, np.int64) + 3
        modes = np.frombuffer(run.data, np.uint8)[places] >> 6
        if ((modes == 3) != is_mono(next(first.frames()))).any():
            raise AudioError("DecodeError", "it changes between one channel and two")

    def _require_whole(self, announced: Announced, nbytes: int) -> None:
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
        """See `Stream.read`; the same bits, wherever a run of frames begins."""
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
            frames = [run.whole() for run in self._collect(begin, end - begin)]
            return [*silence, *frames], _ALIGNED, 0
        lead = self._lead(begin)
        count = lead + end - begin
        frames = _sounding(self._collect(begin - lead, count), lead, kind)
        if not lead:
            frames, lead, count = [*silence, *frames], _ALIGNED, _ALIGNED + count
        return [_counted(header, kind, count), *frames], lead, DECODER_DELAY

    def _lead(self, begin: int) -> int:
        """Number of frames before `begin` that hold all which those from it on may borrow."""
        mark, needed = begin // _ALIGNED, _RESERVOIR
        overhead = _ALIGNED * (HEADER_NBYTES + 2 + self._kind.side_nbytes(mono=False))
        while mark > 0 and needed > 0:
            mark -= 1
            needed -= self._marks[mark + 1] - self._marks[mark] - overhead
        return begin - mark * _ALIGNED

    def _collect(self, begin: int, count: int) -> Iterator[Run]:
        """`count` frames from `begin`, a multiple of 8, on."""
        runs: Iterable[Run]
        if self._only is not None:
            runs = [self._only.part(begin, count)]
        else:
            runs = Frames(self._descriptor, self._marks[begin // _ALIGNED], self._kind)
        for run in runs:
            part = run.part(0, count)
            yield part
            count -= len(part.offsets)
            if not count:
                return


def _silent_frame(header: bytes, kind: Kind, *, nbytes: int = 0) -> bytes:
    """A frame that decodes to silence: the same kind, without a checksum, all else zero."""
    bits = bits_of(header, 0) | 1 << 7  # no checksum
    bits &= ~(0xF << 3 | 1)  # no bit rate yet, no padding
    needed = max(nbytes, HEADER_NBYTES + kind.side_nbytes(is_mono(header)))
    lengths = LENGTHS[kind]
    index = bisect.bisect_left(range(1, 15), needed, key=lambda i: lengths[bits | i << 3]) + 1
    bits |= index << 3
    return (bits << 1).to_bytes(3, "big") + header[3:4] + bytes(lengths[bits] - HEADER_NBYTES)


def _sounding(runs: Iterable[Run], lead: int, kind: Kind) -> list[bytes]:
    """Frames of Layer III as libmpg123 is to have them: the first `lead` of them silenced.

    Others are silenced too that borrow bytes which are not there, since the file begins amid a
    stream, or there is a gap before them: of any other bytes libmpg123 makes noise far beyond full
    scale.

    Parameters
    ----------
    runs : iterable of Run
    lead : int
    kind : Kind

    Returns
    -------
    list of bytes
        One after the other the frames; those between two that are silenced in one piece.
    """
    sounding: list[bytes] = []
    held = 0
    shift, most = (7, 511) if kind.version == 3 else (8, 255)
    for run in runs:
        data = np.frombuffer(run.data, np.uint8)
        begins = np.array(run.offsets, np.int64)
        ends = np.append(begins[1:], run.end)
        sides = begins + HEADER_NBYTES + 2 * (data[begins + 1] & 1 == 0)  # after a checksum
        # All frames have as many channels.
        mains = sides + kind.side_nbytes(is_mono(run.data[begins[0] : begins[0] + HEADER_NBYTES]))
        borrowed = (data[sides].astype(np.int64) << 8 | data[sides + 1]) >> shift
        # What may be borrowed is what the frames before have added, up to a limit; none takes away.
        added = np.cumsum(ends - mains)
        before = np.append(0, added[:-1]) + (0 if run.follows_gap else held)
        reservoir = np.minimum(most, before)
        silenced = borrowed > reservoir
        silenced[:lead] = True
        lead = max(0, lead - len(begins))
        held = min(most, int(before[-1] + ends[-1] - mains[-1]))
        first = int(begins[0])
        for number in np.flatnonzero(silenced).tolist():
            begin, end, main = int(begins[number]), int(ends[number]), int(mains[number])
            frame = run.data[begin:end]
            sounding.append(run.data[first:begin])
            # Silence, and it still holds its bytes for those that follow. It says that it borrows
            # all there is: libmpg123 copies no more from frame to frame than is borrowed.
            header = (bits_of(frame, 0) | 1 << 7) << 1 | frame[2] & 1
            cleared = int(reservoir[number]) << shift
            sounding.append(header.to_bytes(3, "big") + frame[3:4])
            sounding.append(cleared.to_bytes(2, "big").ljust(main - begin - HEADER_NBYTES, b"\0"))
            first = main
        sounding.append(run.data[first : run.end])
    return sounding


def _counted(header: bytes, kind: Kind, n_frames: int) -> bytes:
    """A Xing frame that says how many frames follow."""
    at = HEADER_NBYTES + kind.side_nbytes(is_mono(header))
    frame = bytearray(_silent_frame(header, kind, nbytes=at + 12))
    frame[at : at + 12] = struct.pack(">4sII", b"Xing", 1, n_frames)
    return bytes(frame)
