"""Every kind of audio file that melgrid is to read, each a function from music to bytes."""

import dataclasses
import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile

from benchmarks.files import containers
from benchmarks.files.containers import JUNK, TITLE
from benchmarks.files.music import Music, integers

MPEG = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""The rates of MPEG-2.5, MPEG-2 and MPEG-1 [Hz]."""

OPUS = (8000, 12000, 16000, 24000, 48000)

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file.

    Parameters
    ----------
    name : str
    extension : str
    encode : callable
        From music to the file's bytes.
    rates : tuple of int
        That it is made at [Hz].
    channels : tuple of int
    is_lossless : bool
        Whether what is decoded are the samples that were encoded, rounded to its bits.
    is_exact : bool
        Whether as many samples are decoded as were encoded: the file says what encoder's delay and
        padding to leave out. Else there are up to some frames more.
    tells_end : bool
        Whether a reader can see where the audio ends, and so that a file was cut: by a number of
        samples or frames, by sizes, or by a mark at the end.
    needs : str
        The program that makes it; none if that is empty.
    """

    name: str
    extension: str
    encode: Callable[[Music], bytes]
    rates: tuple[int, ...] = MPEG
    channels: tuple[int, ...] = (1, 2)
    is_lossless: bool = True
    is_exact: bool = True
    tells_end: bool = True
    needs: str = ""

    @property
    def can_be_made(self) -> bool:
        """Whether the program that makes it is on this machine."""
        return not self.needs or shutil.which(self.needs) is not None


def by_ffmpeg(
    container: str,
    codec: str,
    *,
    sample: str = "",
    options: Mapping[str, str] | None = None,
    muxer: Mapping[str, str] | None = None,
) -> Callable[[Music], bytes]:
    """A writer by one of FFmpeg's encoders and muxers."""

    def encode(music: Music) -> bytes:
        layout = _LAYOUTS[music.n_channels]
        form = sample or av.codec.Codec(codec, "w").audio_formats[0].name
        values = _as_samples(music, form)
        values = np.ascontiguousarray(values.T) if form[-1] == "p" else values.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(values, format=form, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = music.sr, 0, Fraction(1, music.sr)
        # Into a file with a name, which some muxers open again.
        with tempfile.NamedTemporaryFile() as file:
            with av.open(file.name, "w", format=container, options=dict(muxer or {})) as output:
                stream = output.add_stream(codec, rate=music.sr, options=dict(options or {}))
                stream.codec_context.layout, stream.codec_context.format = layout, form
                for part in (frame, None):
                    output.mux(stream.encode(part))
            return Path(file.name).read_bytes()

    return encode


def _as_samples(music: Music, form: str) -> np.ndarray:
    match form.removesuffix("p"):
        case "u8":
            return (integers(music.samples, 8) + 128).astype(np.uint8)
        case "s16":
            return integers(music.samples, 16).astype(np.int16)
        case "s32":  # of 24 bits, which is what the encoders keep
            return integers(music.samples, 24) << 8
        case "flt":
            return music.samples.astype(np.float32)
        case "dbl":
            return music.samples
    raise ValueError(form)


def by_libsndfile(form: str, subtype: str, *, endian: str = "FILE") -> Callable[[Music], bytes]:
    """A writer by libsndfile."""

    def encode(music: Music) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, music.samples, music.sr, subtype, endian, form)
        return file.getvalue()

    return encode


def by_program(*command: str) -> Callable[[Music], bytes]:
    """A writer by a program: from ``{in}``, a WAV file, to ``{out}``, or into a pipe if none."""

    def encode(music: Music) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            places = {"in": f"{folder}/in.wav", "out": f"{folder}/out", "raw": f"{folder}/raw"}
            Path(places["in"]).write_bytes(containers.wav(music, 16))
            done = subprocess.run(
                [part.format(**places) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            return Path(places["out"]).read_bytes() if "{out}" in command else done.stdout

    return encode


def _vbri(music: Music) -> bytes:
    return containers.with_vbri(_PLAIN_VBR(music))


def _chained(music: Music) -> bytes:
    """Two Ogg streams, one after the other."""
    encode, half = by_libsndfile("OGG", "VORBIS"), music.n_samples // 2
    parts = (music.samples[:half], music.samples[half:])
    return b"".join(encode(dataclasses.replace(music, samples=part)) for part in parts)


def _piped(music: Music, *, size: int) -> bytes:
    return containers.wav(music, 16, size=size)


def _uncounted_flac(music: Music) -> bytes:
    return containers.without_flac_length(by_libsndfile("FLAC", "PCM_16")(music))


_VBR = {"flags": "+qscale", "global_quality": str(4 * 118)}
_PLAIN = {"write_xing": "0", "id3v2_version": "0"}
_PLAIN_VBR = by_ffmpeg("mp3", "libmp3lame", options=_VBR, muxer=_PLAIN)


def _mp3(name: str, encode: Callable[[Music], bytes], *, counted: bool, needs: str = "") -> Kind:
    return Kind(
        name=name,
        extension=".mp3",
        encode=encode,
        is_lossless=False,
        is_exact=counted,
        tells_end=counted,
        needs=needs,
    )


_MP3 = (
    _mp3("mp3-cbr", by_ffmpeg("mp3", "libmp3lame", options={"b": "64k"}), counted=True),
    _mp3(
        "mp3-stereo",
        by_ffmpeg("mp3", "libmp3lame", options={"b": "64k", "joint_stereo": "0"}),
        counted=True,
    ),
    _mp3(
        "mp3-cbr-uncounted",
        by_ffmpeg("mp3", "libmp3lame", options={"b": "64k"}, muxer=_PLAIN),
        counted=False,
    ),
    _mp3("mp3-vbr", by_ffmpeg("mp3", "libmp3lame", options=_VBR), counted=True),
    _mp3("mp3-vbr-uncounted", _PLAIN_VBR, counted=False),
    _mp3("mp3-abr", by_ffmpeg("mp3", "libmp3lame", options={"b": "48k", "abr": "1"}), counted=True),
    dataclasses.replace(_mp3("mp3-vbri", _vbri, counted=True), is_exact=False),
    _mp3("mp3-libsndfile", by_libsndfile("MP3", "MPEG_LAYER_III"), counted=True),
    _mp3(
        "mp3-lame-cbr",
        by_program("lame", "--quiet", "-b", "64", "{in}", "{out}"),
        counted=True,
        needs="lame",
    ),
    _mp3(
        "mp3-lame-vbr",
        by_program("lame", "--quiet", "-V4", "{in}", "{out}"),
        counted=True,
        needs="lame",
    ),
    _mp3(
        "mp3-lame-vbr-uncounted",
        by_program("lame", "--quiet", "-t", "-V4", "{in}", "{out}"),
        counted=False,
        needs="lame",
    ),
    _mp3(
        "mp3-ffmpeg-pipe",
        by_program("ffmpeg", "-i", "{in}", "-q:a", "4", "-f", "mp3", "-"),
        counted=False,
        needs="ffmpeg",
    ),
    Kind(
        name="mp2",
        extension=".mp2",
        encode=by_ffmpeg("mp2", "mp2", options={"b": "96k"}),
        rates=MPEG[3:],
        is_lossless=False,
        is_exact=False,
        tells_end=False,
    ),
)

_OTHER_LOSSY = (
    Kind(
        name="m4a",
        extension=".m4a",
        encode=by_ffmpeg("ipod", "aac", options={"b": "64k"}),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="m4a-moov-first",
        extension=".m4a",
        encode=by_ffmpeg("ipod", "aac", options={"b": "64k"}, muxer={"movflags": "+faststart"}),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="m4a-6ch",
        extension=".m4a",
        encode=by_ffmpeg("ipod", "aac"),
        rates=(44100,),
        channels=(6,),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="m4a-fragments",
        extension=".m4a",
        encode=by_ffmpeg("mp4", "aac", muxer={"movflags": "+frag_keyframe+empty_moov"}),
        is_lossless=False,
        is_exact=False,
        tells_end=False,
    ),
    Kind(
        name="aac",
        extension=".aac",
        encode=by_ffmpeg("adts", "aac", options={"b": "64k"}),
        is_lossless=False,
        is_exact=False,
        tells_end=False,
    ),
    Kind(
        name="wma",
        extension=".wma",
        encode=by_ffmpeg("asf", "wmav2", options={"b": "64k"}),
        rates=(22050, 32000, 44100),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="ogg", extension=".ogg", encode=by_libsndfile("OGG", "VORBIS"), is_lossless=False
    ),
    Kind(
        name="ogg-chained",
        extension=".ogg",
        encode=_chained,
        is_lossless=False,
    ),
    Kind(
        name="opus",
        extension=".opus",
        encode=by_ffmpeg("opus", "libopus"),
        rates=OPUS,
        is_lossless=False,
    ),
    Kind(
        name="opus-in-ogg",
        extension=".ogg",
        encode=by_ffmpeg("ogg", "libopus", options={"b": "64k"}),
        rates=OPUS,
        is_lossless=False,
    ),
    Kind(
        name="opus-8ch",
        extension=".opus",
        encode=by_ffmpeg("opus", "libopus"),
        rates=(48000,),
        channels=(8,),
        is_lossless=False,
    ),
    Kind(
        name="opus-libsndfile",
        extension=".opus",
        encode=by_libsndfile("OGG", "OPUS"),
        rates=OPUS,
        is_lossless=False,
    ),
    Kind(
        name="opus-opusenc",
        extension=".opus",
        encode=by_program("opusenc", "--quiet", "{in}", "{out}"),
        is_lossless=False,
        needs="opusenc",
    ),
)  # fmt: skip

_ADPCM = (
    Kind(
        name="wav-ima",
        extension=".wav",
        encode=by_libsndfile("WAV", "IMA_ADPCM"),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="wav-ms",
        extension=".wav",
        encode=by_libsndfile("WAV", "MS_ADPCM"),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="wav-ms-ffmpeg",
        extension=".wav",
        encode=by_ffmpeg("wav", "adpcm_ms"),
        is_lossless=False,
        is_exact=False,
    ),
    Kind(
        name="wav-mp3",
        extension=".wav",
        encode=by_ffmpeg("wav", "libmp3lame", options={"b": "64k"}),
        is_lossless=False,
        is_exact=False,
    ),
)


def _plain(form: str, extension: str, subtypes: Sequence[str]) -> tuple[Kind, ...]:
    """Uncompressed kinds, by libsndfile."""
    return tuple(
        Kind(
            name=f"{form.lower()}-{subtype.lower().replace('_', '')}",
            extension=extension,
            encode=by_libsndfile(form, subtype),
        )
        for subtype in subtypes
    )


_WIDTHS = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")

_WAV = (
    *_plain("WAV", ".wav", ("PCM_U8", *_WIDTHS, "ALAW", "ULAW")),
    *_plain("WAVEX", ".wav", _WIDTHS),
    *(
        Kind(
            name=f"wav-{bits}-tags",
            extension=".wav",
            encode=partial(containers.wav, bits=bits, before=[JUNK, TITLE], after=[TITLE]),
        )
        for bits in (8, 16, 24, 32)
    ),
    *(
        Kind(
            name=f"wav-{bits}-unpadded",
            extension=".wav",
            encode=partial(containers.wav, bits=bits, padded=False, extensible=bits == 24),
            channels=(1,),
        )
        for bits in (8, 24)
    ),
    *(
        Kind(
            name=f"wav-pipe-{size:x}",
            extension=".wav",
            encode=partial(_piped, size=size),
            tells_end=False,
        )
        for size in (0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF)
    ),
    Kind(
        name="wav-8ch",
        extension=".wav",
        encode=partial(containers.wav, bits=16, extensible=True),
        channels=(8,),
    ),
    Kind(
        name="wav-ffmpeg-pipe",
        extension=".wav",
        encode=by_program("ffmpeg", "-i", "{in}", "-f", "wav", "-"),
        tells_end=False,
        needs="ffmpeg",
    ),
    Kind(
        name="wav-sox-pipe",
        extension=".wav",
        encode=by_program("sox", "{in}", "-t", "wav", "-"),
        tells_end=False,
        needs="sox",
    ),
)

_OTHER_PLAIN = (
    *_plain("RF64", ".wav", ("PCM_16", "PCM_24")),
    *_plain("W64", ".w64", ("PCM_16", "FLOAT")),
    *_plain("AIFF", ".aif", ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    *_plain("AU", ".au", ("PCM_16", "PCM_24", "FLOAT", "ULAW")),
    *_plain("CAF", ".caf", ("PCM_16", "PCM_24", "FLOAT", "ALAC_16")),
    Kind(
        name="au-unknown-length",
        extension=".au",
        encode=partial(containers.au, size=0xFFFFFFFF),
        tells_end=False,
    ),
)

_PACKED = (
    *_plain("FLAC", ".flac", ("PCM_S8", "PCM_16", "PCM_24")),
    Kind(name="flac-uncounted", extension=".flac", encode=_uncounted_flac, tells_end=False),
    Kind(name="flac-8ch", extension=".flac", encode=by_libsndfile("FLAC", "PCM_16"), channels=(8,)),
    Kind(name="flac-in-ogg", extension=".oga", encode=by_ffmpeg("ogg", "flac", sample="s16")),
    Kind(
        name="flac-ffmpeg-pipe",
        extension=".flac",
        encode=by_program("ffmpeg", "-i", "{in}", "-f", "flac", "-"),
        tells_end=False,
        needs="ffmpeg",
    ),
    Kind(
        name="flac-program",
        extension=".flac",
        encode=by_program("flac", "--silent", "-8", "-o", "{out}", "{in}"),
        needs="flac",
    ),
    Kind(name="alac-16", extension=".m4a", encode=by_ffmpeg("ipod", "alac", sample="s16p")),
    Kind(name="alac-24", extension=".m4a", encode=by_ffmpeg("ipod", "alac", sample="s32p")),
    Kind(name="wavpack-16", extension=".wv", encode=by_ffmpeg("wv", "wavpack", sample="s16p")),
    Kind(name="wavpack-float", extension=".wv", encode=by_ffmpeg("wv", "wavpack", sample="fltp")),
    Kind(
        name="wavpack-program",
        extension=".wv",
        encode=by_program("wavpack", "-q", "{in}", "-o", "-"),
        needs="wavpack",
    ),
)

KINDS = {
    kind.name: kind for kind in (*_MP3, *_OTHER_LOSSY, *_ADPCM, *_WAV, *_OTHER_PLAIN, *_PACKED)
}
"""By name."""
