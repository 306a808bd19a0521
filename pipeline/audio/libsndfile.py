"""WAV, FLAC, AIFF, Ogg Vorbis, Opus and their kin: what libsndfile decodes.

It releases the GIL and is the fastest decoder that was measured. It believes what headers say of a
file's length, and says nothing where a file ends before that or goes on after it: `containers`
looks at that first.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import soundfile

from featurestore.errors import AudioError
from pipeline.audio import containers, flac
from pipeline.audio.ogg import Link, ogg_links, pieces
from pipeline.audio.stream import Samples, crop, mono, require_announced

DECODER = f"libsndfile {soundfile.__libsndfile_version__}"

_BLOCK = 2**20
"""Samples of all channels that are decoded together: of a usual clip, all of them."""

_SEEKABLE = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Beginnings of the subtypes whose every sample lies at a place of its own."""


class Memory:
    """A file in memory, of bytes one part after the other.

    libmpg123 asks for each frame twice. From a descriptor these are calls of the system, 1.5 ms of
    the 9 ms of CPU that a clip of 30 s takes in a virtual machine; from an object, soundfile has
    them be calls of Python.
    """

    mode = "rb"

    def __init__(self, data: list[bytes]) -> None:
        from pipeline.kernels.memory import file_of

        self._file = file_of(data)

    @property
    def address(self) -> int:
        """Where it lies."""
        return self._file.ctypes.data


class _Reader(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A file that is read on from where it is.

    soundfile seeks to where it is after each read of what can seek: libmpg123 and libvorbis then
    begin anew, which takes time and changes the last bits.
    """

    def _open(self, file: int | Memory, mode: int, closefd: bool) -> Any:
        if not isinstance(file, Memory):
            return super()._open(file, mode, closefd)
        library, ffi = soundfile._snd, soundfile._ffi
        opened = library.sf_open_virtual(
            _functions(), mode, self._info, ffi.cast("void*", file.address)
        )
        if opened == ffi.NULL:
            raise soundfile.LibsndfileError(library.sf_error(opened))
        return opened

    def seekable(self) -> bool:
        """No, for `read` to leave the position alone; `seek` works all the same."""
        return False


class SoundFileStream:
    """A file, or a link of a chained Ogg file, that libsndfile decodes.

    Parameters
    ----------
    descriptor : int
        Of the file.

    Raises
    ------
    AudioError
        ``DecodeError`` if it is not such a file. ``TruncatedAudio`` if it ends too early.
    """

    decoder = DECODER

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        links = ogg_links(descriptor)
        self._links = links if len(links) > 1 else [None]
        unknown = not links and containers.require_whole(descriptor)
        with self._part(self._links[0]) as first, _decoding(first) as file:
            if file.format == "MP3" or file.subtype.startswith("MPEG"):
                raise AudioError("DecodeError", "not frames of MPEG audio that can be counted")
            self.sr = file.samplerate
            if file.format == "FLAC" and file.frames != flac.length(descriptor):
                raise AudioError("DecodeError", "its last frame is not where its header says")
            self._is_exact = file.subtype.startswith(_SEEKABLE) or file.format == "FLAC"
            self.is_certain = self._is_exact and not unknown
            self.n_samples = file.frames
        if unknown and not self.n_samples:
            raise AudioError("DecodeError", "its header does not give its length")

    @contextlib.contextmanager
    def _part(self, link: Link | None) -> Iterator[int]:
        """The file, or a file of one link."""
        if link is None:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            yield self._descriptor
            return
        with tempfile.TemporaryFile() as file:  # it may be too long for memory
            file.writelines(pieces(self._descriptor, link.begin, link.end))
            file.seek(0)
            yield file.fileno()

    def read(self, first: int, length: int) -> tuple[Samples, int]:
        """See `Stream.read`."""
        if self.is_certain:
            length = min(length, self.n_samples - first)
            if length < 1:
                return np.zeros(0, np.float32), self.n_samples
            with self._part(self._links[0]) as start, _decoding(start) as file:
                file.seek(first)
                samples, n_read = crop(_blocks(file, length), 0, length)
            if n_read < length:
                raise AudioError(
                    "DecodeError", f"{n_read} samples of {length} decode: it is damaged"
                )
            return samples, self.n_samples
        announced = 0

        def blocks() -> Iterator[Samples]:
            nonlocal announced
            for link in self._links:
                with self._part(link) as descriptor, _decoding(descriptor) as file:
                    if file.samplerate != self.sr:
                        raise AudioError(
                            "DecodeError", f"it changes from {self.sr} to {file.samplerate} Hz"
                        )
                    if not file.frames and link is not None:
                        raise AudioError("DecodeError", "a stream of it tells no length")
                    announced += file.frames
                    yield from _blocks(file)

        samples, n_samples = crop(blocks(), first, length)
        require_announced(n_samples, announced, self.sr, exact=self._is_exact)
        return samples, n_samples


@cache
def _functions() -> Any:
    """What libsndfile calls to read a `Memory`."""
    from pipeline.kernels import memory

    names = ("get_filelen", "seek", "read", "write", "tell")
    ffi = soundfile._ffi
    addresses = {n: ffi.cast(f"sf_vio_{n}", getattr(memory, n).address) for n in names}
    return ffi.new("SF_VIRTUAL_IO*", addresses)


def decode(data: list[bytes], first: int, length: int) -> tuple[Samples, int, int]:
    """Decode a whole file, keep a stretch; the samples, the whole's length and rate [Hz]."""
    with _decoding(Memory(data)) as file:
        samples, n_samples = crop(_blocks(file), first, length)
        return samples, n_samples, file.samplerate


def _blocks(file: soundfile.SoundFile, most: int | None = None) -> Iterator[Samples]:
    """Decode on to the end, or `most` samples; a file may say of itself that it is endless."""
    n_frames = max(1, _BLOCK // file.channels)
    left = file.frames if most is None else most
    while left > 0:
        block = file.read(min(n_frames, left), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        yield mono(block)


@contextlib.contextmanager
def _decoding(source: int | Memory) -> Iterator[soundfile.SoundFile]:
    """A file opened by libsndfile, with its errors as ours, and what it prints in them."""
    with _captured_stderr() as chatter:
        try:
            with _Reader(source, closefd=False) as file:
                yield file
        except soundfile.LibsndfileError as error:
            log = chatter()
            detail = error.error_string.rstrip(".")
            raise AudioError("DecodeError", f"{detail}{f' ({log})' if log else ''}") from None


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what C libraries print on file descriptor 2, where libmpg123 complains.

    Yields a function that returns the first lines printed so far.
    """
    captured = _scratch().fileno()
    os.ftruncate(captured, 0)
    os.lseek(captured, 0, os.SEEK_SET)
    saved = os.dup(2)
    os.dup2(captured, 2)
    try:
        yield lambda: _first_lines(captured)
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@cache
def _scratch() -> BinaryIO:
    """A file without a name, one a process: making one takes as long as a fiftieth of a clip."""
    return tempfile.TemporaryFile()  # open as long as the process


os.register_at_fork(after_in_child=_scratch.cache_clear)


def _first_lines(descriptor: int) -> str:
    text = os.pread(descriptor, 1000, 0).decode(errors="replace")
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())[:200]
