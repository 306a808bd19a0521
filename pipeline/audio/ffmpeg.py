"""What libsndfile refuses: M4A, WMA, WavPack and many others, by FFmpeg through PyAV (an extra).

An extra, because PyAV's wheels (BSD) bring an FFmpeg of 100 MB that says LGPL of itself and holds
libx264 and libx265, which are GPL; all of Linux, macOS and Windows have them.
"""

import contextlib
import os
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from featurestore.errors import AudioError
from pipeline.audio.stream import Samples, crop, mono, require_announced

if TYPE_CHECKING:
    import av

IS_THERE = find_spec("av") is not None

_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,matroska,webm,mlp,mov,mp4,m4a,"
    "3gp,3g2,mj2,mp3,mpc,mpc8,mpegts,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
"""Containers of audio. No playlists: they name other files, and addresses."""

_LOSSLESS = {"alac", "ape", "flac", "mlp", "shorten", "tak", "truehd", "tta", "wavpack", "als"}

_GUESSED = {"aac", "ac3", "amr", "asf", "eac3", "mp3"}
"""Containers that say nothing of their length, or (ASF) as much as their file has, cut or not."""


def package() -> str:
    """Name and version of what brings FFmpeg, without importing it, which takes 0.1 s."""
    return f"PyAV {version('av')}"


def decoder() -> str:
    """Name and version."""
    import av

    return f"FFmpeg libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


class FfmpegStream:
    """A file that FFmpeg decodes.

    Parameters
    ----------
    file : file object

    Raises
    ------
    AudioError
        ``DecodeError`` if it is not such a file, or if there is no audio in it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.decoder = decoder()
        self.is_certain = False
        with self._opened() as (container, stream):
            self.sr = stream.rate
            self._is_exact = stream.codec.name in _LOSSLESS or stream.codec.name.startswith("pcm_")
            # Where neither stream nor container tells, FFmpeg makes a length of the bit rate.
            self._is_guessed = container.format.name in _GUESSED or (
                stream.duration is None and not container.format.name.startswith("matroska")
            )
            announced = 0
            if stream.duration is not None and stream.time_base is not None:
                announced = round(stream.duration * stream.time_base * self.sr)
            elif container.duration is not None:
                announced = container.duration * self.sr // 1_000_000
                self._is_exact = False  # it is in whole milliseconds
            if container.format.name == "caf":
                self._is_exact = False  # it counts whole packets
            self.n_samples = max(0, announced)

    @contextlib.contextmanager
    def _opened(self) -> "Iterator[tuple[Any, av.AudioStream]]":
        import av

        self._file.seek(0)
        # An object, since FFmpeg finds more in a name than a file.
        source = _Unnamed(self._file)
        try:
            with av.open(source, options={"format_whitelist": _FORMATS}) as container:
                if not container.streams.audio:
                    raise AudioError("DecodeError", "no audio in it")
                stream = container.streams.audio[0]
                if stream.codec_context is None or not stream.rate:
                    raise AudioError("DecodeError", "no audio in it that FFmpeg knows")
                stream.codec_context.thread_count = 1
                yield container, stream
        except AudioError:
            raise
        except av.FFmpegError as error:
            raise AudioError("DecodeError", f"FFmpeg: {error.strerror}") from None
        except (LookupError, AttributeError, ValueError, ArithmeticError) as error:
            # PyAV's own, of streams that damaged headers lead it to expect.
            raise AudioError("DecodeError", f"PyAV: {error}") from None

    def read(self, first: int, length: int) -> tuple[Samples, int]:
        """See `Stream.read`."""
        samples, n_samples = crop(self._blocks(first, first + length), first, length)
        if not self._is_guessed:
            require_announced(n_samples, self.n_samples, self.sr, exact=self._is_exact)
        return samples, n_samples

    def _blocks(self, first: int, stop: int) -> Iterator[Samples]:
        """Frame by frame; of those outside `first` to `stop` the length alone is right."""
        import av

        position = 0
        with self._opened() as (container, stream):
            layout, resampler = None, None
            for frame in self._frames(container, stream):
                if frame.sample_rate != self.sr:
                    raise AudioError(
                        "DecodeError", f"it changes from {self.sr} to {frame.sample_rate} Hz"
                    )
                begin, position = position, position + frame.samples
                if position <= first or begin >= stop:  # to convert it takes as long as to decode
                    yield np.broadcast_to(np.float32(0), frame.samples)
                    continue
                if resampler is None or frame.layout.name != layout:
                    # Only to floats, channels side by side: PyAV reads beyond the eighth of those
                    # that lie one after the other.
                    layout, resampler = frame.layout.name, av.AudioResampler(format="flt")
                for converted in resampler.resample(frame):
                    samples: Any = converted.to_ndarray()
                    yield mono(samples.reshape(-1, frame.layout.nb_channels))

    def _frames(self, container: Any, stream: Any) -> "Iterator[av.AudioFrame]":
        """All that can be decoded, as FFmpeg's own programs do; what is missing is counted."""
        import av

        packets = container.demux(stream)
        while True:
            packet = None
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except av.InvalidDataError:
                if self._is_guessed and self._is_exact:
                    raise  # nothing would tell that a part is missing
                if packet is None:  # junk behind the audio
                    return


class _Unnamed:
    """A file's bytes, without its name."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(position, whence)
        except (OSError, ValueError):  # a place that a damaged header names
            return -1

    def tell(self) -> int:
        return self._file.tell()
