"""A track's bytes to the stretch of mono samples that is wanted.

Positions count decoded samples, never what a header says. Where the number of samples is known
without decoding (MPEG's frames are counted, FLAC and PCM were looked at up to their end), only the
stretch is decoded; else all is, block by block, and the stretch is kept. Either way gives the same
bits, in memory that does not grow with the file.
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, TypeVar

import numpy as np

from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
from pipeline.audio import containers, ffmpeg, libsndfile
from pipeline.audio.file import Signature, opened
from pipeline.audio.mpeg import MpegStream
from pipeline.audio.stream import Samples, Stream, require_few
from pipeline.audio.tags import id3_nbytes

T = TypeVar("T")

DECODERS = "; ".join([libsndfile.DECODER, *([ffmpeg.package()] if ffmpeg.IS_THERE else [])])
"""What is installed here: a clip that failed is tried again with another."""

_MPEG_IN_WAV = (0x50, 0x55)

_RATES = 1_000, 1_000_000
"""Lowest and highest sample rate that is believed [Hz]."""

_MPEG_NAMES = (".mp3", ".mp2", ".mp1", ".mpa", ".mpga")

_OTHERS = (
    b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS",
    b"\x1a\x45\xdf\xa3", b"0&\xb2u", b"wvpk", b"MAC ", b"TTA1", b"MPCK", b"MP+",
)  # fmt: skip
"""Beginnings of files that are not MPEG audio, whatever their name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A decoded track, or the stretch of it that was wanted.

    Parameters
    ----------
    samples : np.ndarray [shape=(<= n_samples,), dtype=float32]
        The mean of the channels.
    first : int
        Where they begin in the track [samples].
    n_samples : int
        Length of the whole track.
    sr : int
        Sample rate [Hz].
    digest : str
        BLAKE2b-128 of the file's bytes, in hex.
    signature : Signature
        Of the file.
    decoder : str
        Name and version of what decoded it.
    """

    samples: Samples
    first: int
    n_samples: int
    sr: int
    digest: str
    signature: Signature
    decoder: str


def read_track(path: str, window: Excerpt, reach: float = 1) -> Track:
    """Read and decode what a window wants of a track.

    Parameters
    ----------
    path : str
    window : Excerpt
    reach : float
        From 1: how many times as much to read from there on, as far as the track goes.

    Raises
    ------
    AudioError
        ``Unreadable`` (no such file, not a regular file, no permission), ``EmptyFile``,
        ``DecodeError``, ``TruncatedAudio`` or ``NonFinite``.
    StorageError
        As `opened` says.
    """
    with opened(path) as (file, signature):
        stream, first, samples, n_samples = _any_decoder(
            file, path, lambda stream: _stretch(stream, window, reach)
        )
        file.seek(0)
        digest = _digest(file)
    with np.errstate(over="ignore", invalid="ignore"):
        total = samples.sum()
    # A sum is finite only if all terms are; only then is the slower look worth it.
    if not np.isfinite(total) and not np.isfinite(samples).all():
        bad = np.flatnonzero(~np.isfinite(samples))
        own = bad[bad < window.stretch(n_samples, stream.sr)[1]]
        if len(own):
            raise AudioError("NonFinite", f"{len(own)} samples")
        samples = samples[: bad[0]]  # what follows the window's own ends where it cannot be used
    return Track(
        samples=samples,
        first=first,
        n_samples=n_samples,
        sr=stream.sr,
        digest=digest,
        signature=signature,
        decoder=stream.decoder,
    )


def read_length(path: str) -> tuple[int, int]:
    """Number of samples of a whole track, and its rate [Hz]; raises as `read_track` does.

    It is decoded only where nothing else tells.
    """
    with opened(path) as (file, _):
        stream, n_samples = _any_decoder(file, path, lambda stream: (stream, stream.read(0, 0)[1]))
    require_few(n_samples, stream.sr)
    return n_samples, stream.sr


def digest_file(path: str) -> str:
    """Digest of a file's bytes, as in `Track`; raises as `read_track` does."""
    with opened(path) as (file, _):
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _stretch(stream: Stream, window: Excerpt, reach: float) -> tuple[Stream, int, Samples, int]:
    """What a window wants of a track, around its true centre."""
    n_samples = stream.n_samples
    # A length that is announced may be off by an encoder's delay: a little more saves a second go.
    margin = 0 if stream.is_certain else stream.sr
    while True:
        first, length = window.stretch(n_samples, stream.sr)
        length = math.ceil(length * reach)
        begin = max(0, first - margin)
        length += first - begin + margin
        require_few(min(length, n_samples), stream.sr)
        samples, n_decoded = stream.read(begin, length)
        if not n_decoded:
            raise AudioError("EmptyFile", "no audio in it")
        first, length = window.stretch(n_decoded, stream.sr)
        stop = min(first + math.ceil(length * reach), n_decoded)
        if begin <= first and stop <= begin + len(samples):
            return stream, first, samples[first - begin : stop - begin], n_decoded
        if n_decoded == n_samples:
            raise AudioError("DecodeError", f"{len(samples)} samples there of {length}")
        n_samples = n_decoded


def _any_decoder(file: BinaryIO, path: str, work: Callable[[Stream], T]) -> T:
    """What the first decoder makes of a file that does not refuse it."""
    if not os.fstat(file.fileno()).st_size:
        raise AudioError("EmptyFile", "0 bytes")
    refusals: list[AudioError] = []
    for begin in _decoders(file, path):
        try:
            stream = begin()
            low, high = _RATES
            if not low <= stream.sr <= high:
                raise AudioError("DecodeError", f"its sample rate is {stream.sr} Hz")
            return work(stream)
        except AudioError as error:
            if error.reason != "DecodeError":
                raise
            refusals.append(error)
    detail = "; ".join(dict.fromkeys(refusal.detail for refusal in refusals))
    if not ffmpeg.IS_THERE:
        detail += "; FFmpeg may read it: pip install 'melgrid[ffmpeg]'"
    raise AudioError("DecodeError", detail)


def _decoders(file: BinaryIO, path: str) -> Iterator[Callable[[], Stream]]:
    """What may decode a file, by what it begins with."""
    descriptor = file.fileno()
    position = 0
    while size := id3_nbytes(os.pread(descriptor, 10, position)):
        position += size
    start = os.pread(descriptor, 16, position)
    chunk = containers.audio_chunk(descriptor)
    if chunk is not None and chunk.codec in _MPEG_IN_WAV:
        begin = chunk.begin
        containers.require_whole(descriptor)
        yield lambda: MpegStream(descriptor, begin)
    elif not start.startswith(_OTHERS) and start[4:8] != b"ftyp":
        is_frame = len(start) > 2 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0
        if position or is_frame or path.lower().endswith(_MPEG_NAMES):
            yield lambda: MpegStream(descriptor, position)
    yield lambda: libsndfile.SoundFileStream(descriptor)
    if ffmpeg.IS_THERE:
        yield lambda: ffmpeg.FfmpegStream(file)
