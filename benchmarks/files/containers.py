"""Containers written by hand, byte by byte: what encoders' libraries would not write so."""

import struct
from collections.abc import Sequence

import numpy as np

from benchmarks.files.music import Music, integers

Chunk = tuple[bytes, bytes]
"""A name of four letters, and what is in it."""

_FRAMES_OF = {3: 1152, 2: 576, 0: 576}
"""Samples of a Layer III frame by the header's version bits: MPEG-1, MPEG-2, MPEG-2.5."""

_SR = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

_KBPS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Layer III's bit rates by their index [kb/s], of MPEG-1 and of the others."""

TITLE: Chunk = (b"LIST", b"INFOINAM\x20\0\0\0How long a song should be, live\0")
"""A title tag with words that libsndfile's log uses for something else."""

JUNK: Chunk = (b"JUNK", b"\0" * 27)


def wav(
    music: Music,
    bits: int,
    *,
    before: Sequence[Chunk] = (),
    after: Sequence[Chunk] = (),
    size: int | None = None,
    padded: bool = True,
    extensible: bool = False,
) -> bytes:
    """A WAV file of whole numbers.

    Parameters
    ----------
    music : Music
    bits : {8, 16, 24, 32}
        Of a sample.
    before, after : sequence of Chunk
        Around the data.
    size : int or None
        What the header says of the data's size, and of the file's, if that is not the truth
        [bytes].
    padded : bool
        Whether data of an odd number of bytes is followed by one more, as the standard has it
        and not all writers do.
    extensible : bool
        Whether the header is WAVE_FORMAT_EXTENSIBLE.
    """
    data = packed(music, bits)
    block = music.n_channels * bits // 8
    form = struct.pack(
        "<HHIIHH",
        0xFFFE if extensible else 1,
        music.n_channels,
        music.sr,
        music.sr * block,
        block,
        bits,
    )
    if extensible:
        guid = b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        form += struct.pack("<HHI", 22, bits, (1 << music.n_channels) - 1) + guid
    body = b"WAVE" + _chunk(b"fmt ", form) + b"".join(_chunk(*chunk) for chunk in before)
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    body += b"\0" * (padded and len(data) % 2)
    body += b"".join(_chunk(*chunk) for chunk in after)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def packed(music: Music, bits: int) -> bytes:
    """Samples as they lie in WAV files: little-endian, signed, unsigned where they have 8 bits."""
    values = integers(music.samples, bits)
    if bits == 8:
        return (values + 128).astype(np.uint8).tobytes()
    wide = values.astype("<i4").reshape(-1, 1).view(np.uint8)
    return np.ascontiguousarray(wide[:, : bits // 8]).tobytes()


def au(music: Music, size: int) -> bytes:
    """An AU file of 16 bits; `size` is what it says of its data, 0xFFFFFFFF for unknown."""
    head = struct.pack(">4sIIIII", b".snd", 24, size, 3, music.sr, music.n_channels)
    return head + integers(music.samples, 16).astype(">i2").tobytes()


def without_flac_length(data: bytes) -> bytes:
    """A FLAC file as one is written into a pipe: no number of samples, no digest of them."""
    return data[:21] + bytes([data[21] & 0xF0]) + bytes(4 + 16) + data[42:]


def with_flac_length(data: bytes, n_samples: int) -> bytes:
    """A FLAC file whose header tells so many samples."""
    packed_length = n_samples.to_bytes(5, "big")
    return data[:21] + bytes([data[21] & 0xF0 | packed_length[0]]) + packed_length[1:] + data[26:]


def flac_silence(hours: float, sr: int, *, counted: bool) -> bytes:
    """Hours of silence in 16 bits, stereo, some 15 bytes a frame of 65535 samples."""
    n_frames = round(hours * 3600 * sr / 65535)
    packed_rate = (sr << 44) | (1 << 41) | (15 << 36) | (n_frames * 65535 if counted else 0)
    info = struct.pack(">HH3s3s", 65535, 65535, bytes(3), bytes(3)) + packed_rate.to_bytes(8, "big")
    frames = bytearray()
    for number in range(n_frames):
        # Block size in 16 bits at the header's end, rate from STREAMINFO, two channels, 16 bits.
        head = b"\xff\xf8\x70\x18" + _utf8(number) + struct.pack(">H", 65534)
        frame = head + bytes([_crc(head, 8, 0x07)]) + b"\0\0\0" * 2  # constant subframes of 0
        frames += frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")
    return b"fLaC\x80\0\0\x22" + info + bytes(16) + bytes(frames)


def mpeg_frames(data: bytes) -> list[int]:
    """Where the Layer III frames of a file begin that starts with one, and is whole [bytes]."""
    places, place = [], 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        places.append(place)
        place += _frame_size(data[place : place + 4])
    return places


def with_vbri(data: bytes) -> bytes:
    """An MP3 file with Fraunhofer's header of counts in front; `data` begins with a frame."""
    n_frames = len(mpeg_frames(data))
    head = bytearray(data[:4])
    head[1] |= 1  # no checksum
    for index in range(1, 15):
        head[2] = head[2] & 0x0D | index << 4
        if _frame_size(head) >= 80:
            break
    frame = bytearray(_frame_size(head))
    frame[:4] = head
    nbytes = len(data) + len(frame)
    frame[36:66] = struct.pack(
        ">4sHHHIIHHHHHH", b"VBRI", 1, 0, 75, nbytes, n_frames, 2, 1, 2, n_frames // 2 + 1, 0, 0
    )  # fmt: skip
    return bytes(frame) + data


def with_xing_count(data: bytes, n_frames: int) -> bytes:
    """An MP3 file whose Xing or Info header tells so many frames; as it is, if it has none."""
    for name in (b"Xing", b"Info"):
        place = data.find(name, 0, 1 << 12)
        if place > 0 and data[place + 7] & 1:
            return data[: place + 8] + struct.pack(">I", n_frames) + data[place + 12 :]
    return data


def with_ogg_end(data: bytes, position: int) -> bytes:
    """An Ogg file whose last page says that it ends at a position; as it is, if it is none."""
    place = data.rfind(b"OggS")
    if place < 0 or place + 27 > len(data):
        return data
    page = bytearray(data[place:])
    page[6:14] = struct.pack("<q", position)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", _crc(bytes(page), 32, 0x04C11DB7))
    return data[:place] + bytes(page)


def id3v2(nbytes: int) -> bytes:
    """An ID3v2.3 tag with a title and a picture of so many bytes, and false frame headers in it."""
    noise = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8).tobytes()
    picture = b"\0image/jpeg\0\x03\0\xff\xd8" + noise
    title = b"\0How long a song should be"
    frames = b"".join(
        name + struct.pack(">IH", len(content), 0) + content
        for name, content in ((b"TIT2", title), (b"APIC", picture))
    )
    size = len(frames)
    sevens = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + sevens + frames


def id3v1() -> bytes:
    """An ID3v1 tag, 128 bytes."""
    return b"TAG" + b"A title".ljust(124, b"\0") + b"\x11"


def ape(nbytes: int) -> bytes:
    """An APEv2 tag with head and foot, and one item of so many bytes."""
    item = (
        struct.pack("<II", nbytes, 0) + b"Lyrics\0" + b"la " * (nbytes // 3) + b"l" * (nbytes % 3)
    )

    def edge(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8)

    return edge(0xA0000000) + item + edge(0x80000000)


def lyrics3(nbytes: int) -> bytes:
    """A Lyrics3v2 block and the ID3v1 tag that follows such."""
    text = b"la " * (nbytes // 3)
    block = b"LYRICSBEGININD0000210LYR" + b"%05d" % len(text) + text
    return block + b"%06d" % len(block) + b"LYRICS200" + id3v1()


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _frame_size(head: bytes | bytearray) -> int:
    version = head[1] >> 3 & 3
    kbps, sr = _KBPS[version == 3][head[2] >> 4], _SR[version][head[2] >> 2 & 3]
    return _FRAMES_OF[version] // 8 * kbps * 1000 // sr + (head[2] >> 1 & 1)


def _utf8(number: int) -> bytes:
    """A number as FLAC has it: UTF-8's way, for up to 36 bits."""
    if number < 0x80:
        return bytes([number])
    n_more = next(n for n in range(1, 7) if number < 1 << (5 * n + 6))
    more = [0x80 | number >> 6 * k & 0x3F for k in range(n_more)][::-1]
    first = (0xFF << 7 - n_more) & 0xFF | number >> 6 * n_more
    return bytes([first, *more])


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 & 1 else 0)
            crc &= (1 << bits) - 1
    return crc
