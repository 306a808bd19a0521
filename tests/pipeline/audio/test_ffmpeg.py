"""FFmpeg reads what libsndfile refuses, and agrees with it where both read a file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
from pipeline.audio import decode, ffmpeg
from pipeline.audio.decode import read_track

av = pytest.importorskip("av")

SR = 44100
WHOLE = Excerpt(take="all")


@pytest.fixture(scope="module")
def sound():
    """Two seconds, two channels, (n_samples, 2)."""
    time = np.arange(2 * SR) / SR
    tones = [np.sin(2 * np.pi * f * time) for f in (220, 330)]
    noise = 0.02 * np.random.default_rng(5).standard_normal((len(time), 2))
    return (0.3 * np.stack(tones, 1) + noise).astype(np.float32)


def encode(path, sound, codec, container=None, options=None):
    """Write a file through FFmpeg's encoders."""
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=SR, layout="stereo", bit_rate=128_000)
        formats = [known.name for known in stream.codec.audio_formats]
        stream.format = next(name for name in ("s16", "s16p", "fltp") if name in formats)
        for first in range(0, len(sound), 4096):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[first : first + 4096].T), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = SR, first
            converted = av.AudioResampler(format=stream.format).resample(frame)
            for part in converted:
                file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return str(path)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "alac"), ("a.wv", "wavpack"), ("a.tta", "tta"), ("a.mka", "flac"),
     ("a.oga", "flac")],
)  # fmt: skip
def test_lossless_files_are_read_to_the_sample(tmp_path, sound, name, codec):
    track = read_track(encode(tmp_path / name, sound, codec), WHOLE)
    assert track.decoder.startswith("FFmpeg libavcodec ")
    assert (track.sr, track.n_samples) == (SR, len(sound))
    np.testing.assert_allclose(track.samples, sound.mean(axis=1), atol=2**-15)


@pytest.mark.parametrize(
    ("name", "codec", "surplus"),
    [("a.m4a", "aac", 1024), ("a.aac", "aac", 3072), ("a.wma", "wmav2", 4096)],
)
def test_lossy_files_are_read_but_for_their_encoders_padding(tmp_path, sound, name, codec, surplus):
    track = read_track(encode(tmp_path / name, sound, codec), WHOLE)
    assert track.sr == SR
    assert abs(track.n_samples - len(sound)) <= surplus
    mixed = sound.mean(axis=1)
    loudness = np.sqrt(np.mean(track.samples**2)) / np.sqrt(np.mean(mixed**2))
    assert loudness == pytest.approx(1, abs=0.05)


def test_a_stretch_has_the_bits_of_the_whole(tmp_path, sound):
    path = encode(tmp_path / "a.m4a", sound, "aac")
    whole, part = read_track(path, WHOLE), read_track(path, Excerpt(duration=0.5))
    assert part.first == (whole.n_samples - SR // 2) // 2
    np.testing.assert_array_equal(part.samples, whole.samples[part.first :][: SR // 2])


@pytest.mark.parametrize("kind", ["mp3", "flac", "wav", "ogg"])
def test_both_decoders_agree_where_both_read(tmp_path, sound, kind):
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, sound, SR)
    one = read_track(str(path), WHOLE)
    assert one.decoder.startswith("libsndfile")
    with open(path, "rb") as file:
        stream = ffmpeg.FfmpegStream(file)
        other, n_samples = stream.read(0, 10 * SR)
    assert (stream.sr, n_samples) == (one.sr, one.n_samples)
    # The two MP3 decoders round differently, Vorbis' too: to 16 bits they are the same.
    np.testing.assert_allclose(other, one.samples, atol=2**-16)


def test_a_file_that_is_cut_is_told(tmp_path, sound):
    path = tmp_path / "a.wv"
    data = Path(encode(path, sound, "wavpack")).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"(TruncatedAudio|DecodeError)"):
        read_track(str(path), WHOLE)


def test_a_flac_without_a_length_is_read_to_its_end(tmp_path, sound):
    path = tmp_path / "a.flac"
    soundfile.write(path, sound, SR)
    data = bytearray(path.read_bytes())
    assert data[4] & 0x7F == 0  # STREAMINFO; the length is the low 36 bits of bytes 21 to 25
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert read_track(str(path), WHOLE).n_samples == len(sound)


def test_mp3_that_changes_its_channels_is_read_to_its_end(tmp_path, sound):
    stereo, mono = tmp_path / "s.mp3", tmp_path / "m.mp3"
    soundfile.write(stereo, sound, SR)
    soundfile.write(mono, sound[:, 0], SR)
    joined = tmp_path / "j.mp3"
    joined.write_bytes(stereo.read_bytes() + mono.read_bytes())
    assert read_track(str(joined), WHOLE).n_samples >= 2 * len(sound) - 2304


def test_a_playlist_named_like_audio_opens_no_other_file(tmp_path, sound):
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, sound, SR)
    for name, text in (
        ("a.m4a", f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n"),
        ("b.m4a", f"ffconcat version 1.0\nfile '{secret}'\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="DecodeError"):
            read_track(str(tmp_path / name), WHOLE)


def test_without_it_the_message_says_what_to_install(tmp_path, sound, monkeypatch):
    path = encode(tmp_path / "a.m4a", sound, "alac")
    monkeypatch.setattr(decode.ffmpeg, "IS_THERE", False)
    with pytest.raises(AudioError, match=r"pip install 'melgrid\[ffmpeg\]'"):
        read_track(path, WHOLE)
