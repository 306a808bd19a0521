"""Frames are counted, and runs of them decode to the bits of the whole.

Files are encoded by LAME within libsndfile and changed by hand, so that what is right is known.
"""

import functools
import io
import os
import re
import struct

import numpy as np
import pytest
import soundfile

from featurestore.errors import AudioError
from pipeline.audio.mpeg import MpegStream

KINDS = [
    (8000, 1, "CONSTANT"),
    (11025, 2, "VARIABLE"),
    (16000, 1, "CONSTANT"),
    (16000, 1, "VARIABLE"),
    (22050, 2, "CONSTANT"),
    (32000, 1, "AVERAGE"),
    (44100, 2, "CONSTANT"),
    (44100, 2, "VARIABLE"),
    (48000, 1, "VARIABLE"),
]


def music(sr, channels, seconds=6, seed=0):
    """A loud half and a quiet one, so that variable bit rates vary."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * sr)) / sr
    tones = sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(100, 0.4 * sr, 8)) / 20
    noise = 0.1 * rng.standard_normal((len(time), channels))
    quiet = np.where(time > 0.6 * seconds, 0.001, 1.0)[:, None]
    return ((tones[:, None] + noise) * quiet).astype(np.float32)


@functools.cache
def encoded(sr=44100, channels=2, mode="VARIABLE", seed=0):
    """Bytes of an MP3, which libsndfile's LAME begins with a Xing or Info frame."""
    file = io.BytesIO()
    soundfile.write(
        file, music(sr, channels, seed=seed), sr, format="MP3", bitrate_mode=mode,
        compression_level=0.7,
    )  # fmt: skip
    return file.getvalue()


def tag_place(data):
    """Where the first frame says Xing or Info."""
    return max(data[:4096].find(b"Xing"), data[:4096].find(b"Info"))


def uncounted(data):
    """The same, but that the first frame says nothing: a frame of silence like any other."""
    place = tag_place(data)
    return data[:place] + bytes(4) + data[place + 4 :]


def counted(data, n_frames=None, nbytes=None):
    """The same with other counts in the first frame."""
    place = tag_place(data)
    frames, size = struct.unpack(">II", data[place + 8 : place + 16])
    new = struct.pack(">II", n_frames or frames, nbytes or size)
    return data[: place + 8] + new + data[place + 16 :]


@pytest.fixture
def stream(tmp_path):
    """Opens bytes as a stream, by the descriptor of a file."""
    opened = []

    def open_bytes(data):
        path = tmp_path / f"{len(opened)}.mp3"
        path.write_bytes(data)
        opened.append(os.open(path, os.O_RDONLY))
        return MpegStream(opened[-1], 0)

    yield open_bytes
    for descriptor in opened:
        os.close(descriptor)


def whole(stream):
    samples, n_samples = stream.read(0, stream.n_samples)
    assert len(samples) == n_samples == stream.n_samples
    return samples


def failure(open_bytes, data):
    with pytest.raises(AudioError) as caught:
        open_bytes(data)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(("sr", "channels", "mode"), KINDS)
def test_a_counted_file_has_the_length_that_was_encoded(stream, tmp_path, sr, channels, mode):
    track = stream(encoded(sr, channels, mode))
    assert (track.sr, track.n_samples) == (sr, 6 * sr)
    samples = whole(track)
    by_library, _ = soundfile.read(tmp_path / "0.mp3", dtype="float32", always_2d=True)
    assert len(by_library) == len(samples)
    # libmpg123 adds a filter's products in an order that hangs on where it began.
    np.testing.assert_allclose(samples, by_library.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("sr", "channels", "mode"), KINDS)
def test_any_stretch_has_the_bits_of_the_whole(stream, rng, sr, channels, mode):
    track = stream(encoded(sr, channels, mode))
    samples = whole(track)
    for first in rng.integers(0, len(samples), 25).tolist():
        part, _ = track.read(first, 3000)
        np.testing.assert_array_equal(part, samples[first : first + 3000])


@pytest.mark.parametrize(("sr", "channels", "mode"), KINDS)
def test_a_file_without_a_count_is_read_to_its_end(stream, sr, channels, mode):
    data = encoded(sr, channels, mode)
    samples, bare = whole(stream(data)), whole(stream(uncounted(data)))
    per_frame = 1152 if sr >= 32000 else 576
    # One frame more, of silence, and the encoder's delay and padding are not told.
    assert len(bare) % per_frame == 0
    start = per_frame + 1105  # LAME's 576 and a decoder's 529
    np.testing.assert_allclose(bare[start : start + len(samples)], samples, atol=1e-6)
    assert 0 <= len(bare) - start - len(samples) < 3 * per_frame


@pytest.mark.parametrize("n_frames", [5, 2**31])
def test_a_wrong_count_is_not_believed(stream, n_frames):
    data = encoded()
    np.testing.assert_array_equal(
        whole(stream(counted(data, n_frames)))[: 6 * 44100], whole(stream(data))
    )


def test_a_file_cut_short_tells_how_much_is_there(stream):
    data = encoded(mode="CONSTANT")
    reason, detail = failure(stream, data[: len(data) // 2])
    assert reason == "TruncatedAudio"
    assert detail == "3.0 s there of 6.0 s announced"


@pytest.mark.parametrize(
    "tail",
    [
        bytes(30_000),
        b"TAG" + bytes(125),
        b"LYRICSBEGIN" + b"la " * 9000 + b"LYRICS200",
        b"APETAGEX" + struct.pack("<IIII", 2000, 40_000, 1, 0xA0000000) + bytes(8 + 40_000),
        b"\xff\xfb\x90",  # a frame's beginning
    ],
    ids=["zeros", "ID3v1", "Lyrics3", "APE", "half a header"],
)
def test_what_follows_the_audio_does_not_matter(stream, tail):
    data = encoded(mode="CONSTANT")
    for audio in (data, uncounted(data)):
        np.testing.assert_array_equal(whole(stream(audio + tail)), whole(stream(audio)))


@pytest.mark.parametrize("sr", [16000, 44100])
def test_junk_before_the_audio_is_passed_over(stream, sr):
    data = uncounted(encoded(sr))
    junk = np.random.default_rng(3).bytes(65_536)
    np.testing.assert_array_equal(whole(stream(junk + data)), whole(stream(data)))


def id3(nbytes):
    """A tag with a picture of noise in it."""
    size = bytes(nbytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + size + np.random.default_rng(4).bytes(nbytes)


def test_joined_files_are_read_one_after_the_other(stream):
    first, second = (encoded(mode="CONSTANT", seed=seed) for seed in (0, 1))
    for between in (b"", b"TAG" + bytes(125) + id3(100_000)):
        joined = stream(first + between + second)
        alone = whole(stream(first)), whole(stream(second))
        # What the first file's tag says of its end is true of that file alone.
        assert 0 <= joined.n_samples - sum(map(len, alone)) < 5 * 1152
        np.testing.assert_array_equal(whole(joined)[: len(alone[0])], alone[0])


def test_a_tag_that_looks_like_a_frame_is_not_one(stream):
    data = encoded(mode="CONSTANT")
    tag = b"ID3\x04\x00\x00" + bytes((0, 0, 2, 0)) + b"\xff\xfb\x90\x00" * 64
    np.testing.assert_array_equal(whole(stream(tag + data)), whole(stream(data)))


def test_a_change_of_rate_or_channels_is_told(stream):
    data = uncounted(encoded(44100, 2))
    assert failure(stream, data + uncounted(encoded(48000, 2))) == (
        "DecodeError",
        "it goes on as MPEG-1 layer III at 48000 Hz after MPEG-1 layer III at 44100 Hz",
    )
    assert failure(stream, data + uncounted(encoded(44100, 1)))[0] == "DecodeError"


def test_a_frame_that_is_lost_leaves_the_others(stream):
    data = encoded(mode="CONSTANT")
    middle = data.index(data[tag_place(data) - 36 :][:2], len(data) // 2)  # a frame's sync word
    track = stream(data[:middle] + b"\0\0" + data[middle + 2 :])
    assert 6 * 44100 - 3 * 1152 <= track.n_samples <= 6 * 44100 + 1152


def test_a_second_that_is_lost_is_told(stream):
    data = encoded(mode="CONSTANT")
    cut, lost = len(data) // 3, len(data) // 5  # within the loud half
    reason, detail = failure(stream, data[:cut] + bytes(lost) + data[cut + lost :])
    assert reason == "TruncatedAudio"
    assert re.match(r"[01]\.\d s amid it are damaged: \d+ bytes", detail)


@pytest.mark.parametrize(
    "data", [b"not music\n" * 5000, b"\xff\xfb\x90\x00" * 3, b"\xff" * 100_000], ids=repr
)
def test_bytes_without_frames_are_refused(stream, data):
    assert failure(stream, data) == ("DecodeError", "no frames of MPEG audio in it")


@pytest.mark.parametrize("sr", [8000, 44100])
def test_a_file_cut_out_of_a_stream_begins_without_noise(stream, sr):
    data = uncounted(encoded(sr, mode="CONSTANT"))
    loudest = np.abs(whole(stream(data))).max()
    for place in range(len(data) // 3, len(data) // 2, len(data) // 50):
        cut = stream(data[place:])
        samples = whole(cut)
        assert np.abs(samples).max() < 1.5 * loudest
        for first in range(0, 20_000, 2000):
            np.testing.assert_array_equal(cut.read(first, 576)[0], samples[first : first + 576])
