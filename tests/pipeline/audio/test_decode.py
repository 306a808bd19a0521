import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
from pipeline.audio.decode import digest_file, read_length, read_track
from pipeline.audio.file import Signature

SR = 16000
WHOLE = Excerpt(take="all")


@pytest.fixture
def tone():
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * SR) / SR)).astype(np.float32)


def write(path, samples, sr=SR, **kinds):
    soundfile.write(path, samples, sr, **kinds)
    return str(path)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_lossless_and_lossy_files_decode_to_float32_at_their_own_rate(tmp_path, tone, kind):
    track = read_track(write(tmp_path / f"a.{kind}", tone), WHOLE)
    assert track.sr == SR
    assert track.samples.dtype == np.float32
    assert track.samples.shape == tone.shape
    tolerance = 0.05 if kind == "ogg" else 2**-15  # 16-bit rounding
    assert np.abs(track.samples - tone).max() < tolerance


def test_an_mp3_decodes_to_the_sound_that_went_in(tmp_path, tone):
    track = read_track(write(tmp_path / "a.mp3", tone), WHOLE)
    spectrum = np.abs(np.fft.rfft(track.samples[SR // 2 :][:SR]))
    assert spectrum.argmax() == 440


@pytest.mark.parametrize("sr", [8000, 96000])
def test_any_source_rate_is_kept(tmp_path, tone, sr):
    assert read_track(write(tmp_path / "a.wav", tone, sr), WHOLE).sr == sr


def test_channels_are_mixed_by_their_mean(tmp_path):
    channels = np.random.default_rng(0).uniform(-0.5, 0.5, (SR, 6)).astype(np.float32)
    track = read_track(write(tmp_path / "six.wav", channels, subtype="FLOAT"), WHOLE)
    np.testing.assert_allclose(track.samples, channels.mean(axis=1), atol=1e-7)


def test_a_name_in_unicode_is_read(tmp_path, tone):
    assert len(read_track(write(tmp_path / "Dvořák – Humoreska №7 🎻.wav", tone), WHOLE).samples)


def test_the_signature_is_that_of_the_file(tmp_path, tone):
    path = write(tmp_path / "a.wav", tone)
    track = read_track(path, WHOLE)
    status = os.stat(path)
    assert track.signature == Signature(size=status.st_size, mtime_ns=status.st_mtime_ns)
    assert track.digest == digest_file(path)
    other = write(tmp_path / "b.wav", tone[::-1])
    assert digest_file(other) != track.digest


def failure(path):
    with pytest.raises(AudioError) as caught:
        read_track(str(path), WHOLE)
    return caught.value.reason, caught.value.detail


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "a.mp3").touch()
    assert failure(tmp_path / "a.mp3") == ("EmptyFile", "0 bytes")


def test_a_file_with_a_header_and_no_audio_is_said_to_be_empty(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros(0, np.float32))
    assert failure(path) == ("EmptyFile", "no audio in it")


def test_text_named_mp3_does_not_decode(tmp_path):
    (tmp_path / "a.mp3").write_text("not music\n" * 1000)
    reason, detail = failure(tmp_path / "a.mp3")
    assert reason == "DecodeError"
    assert detail.startswith("no frames of MPEG audio in it; ")


def test_a_truncated_mp3_is_found_out(tmp_path, tone):
    whole = tmp_path / "whole.mp3"
    write(whole, np.tile(tone, 10))
    part = tmp_path / "part.mp3"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    reason, detail = failure(part)
    assert reason == "TruncatedAudio"
    assert "s there of 20.1 s announced" in detail


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "au", "ogg"])
def test_other_truncated_files_are_found_out(tmp_path, tone, kind):
    whole = tmp_path / f"whole.{kind}"
    write(whole, tone)
    part = tmp_path / f"part.{kind}"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert failure(part)[0] == "TruncatedAudio"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_found_out(tmp_path, tone, bad):
    tone[1000] = bad
    reason, detail = failure(write(tmp_path / "a.wav", tone, subtype="FLOAT"))
    assert (reason, detail) == ("NonFinite", "1 samples")


def test_a_missing_file_is_unreadable(tmp_path):
    assert failure(tmp_path / "none.mp3") == ("Unreadable", "No such file or directory")


def test_a_folder_named_mp3_is_unreadable(tmp_path):
    (tmp_path / "x.mp3").mkdir()
    assert failure(tmp_path / "x.mp3") == ("Unreadable", "not a regular file")


def test_a_named_pipe_is_unreadable_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.mp3")
    assert failure(tmp_path / "x.mp3") == ("Unreadable", "not a regular file")


def _fail_as_nobody(path, results):
    if os.geteuid() == 0:
        os.setuid(65534)  # root may read anything
    try:
        read_track(path, WHOLE)
    except AudioError as error:
        results.put((error.reason, error.detail))
    else:
        results.put("it was read")


def test_a_file_without_permission_is_unreadable(tmp_path, tone):
    path = write(tmp_path / "a.wav", tone)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    os.chmod(path, 0)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=_fail_as_nobody, args=(path, results))
    process.start()
    assert results.get() == ("Unreadable", "Permission denied")
    process.join()


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
@pytest.mark.parametrize("take", ["center", "first"])
def test_a_stretch_has_the_bits_of_the_whole(tmp_path, rng, kind, take):
    path = write(tmp_path / f"a.{kind}", rng.uniform(-0.5, 0.5, (5 * SR, 2)))
    whole, part = read_track(path, WHOLE), read_track(path, Excerpt(duration=1, take=take))
    assert part.n_samples == whole.n_samples == len(whole.samples)
    assert part.first == (0 if take == "first" else (whole.n_samples - SR) // 2)
    np.testing.assert_array_equal(part.samples, whole.samples[part.first :][:SR])
    assert part.digest == whole.digest


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_the_length_is_told_without_the_samples(tmp_path, tone, kind):
    path = write(tmp_path / f"a.{kind}", tone)
    assert read_length(path) == (len(read_track(path, WHOLE).samples), SR)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_links_of_an_ogg_file_follow_one_another(tmp_path, tone, subtype):
    one = write(tmp_path / "1.ogg", tone, format="OGG", subtype=subtype)
    two = write(tmp_path / "2.ogg", np.stack([tone, tone], 1), format="OGG", subtype=subtype)
    joined = tmp_path / "joined.ogg"
    joined.write_bytes(Path(one).read_bytes() + Path(two).read_bytes())
    parts = [read_track(path, WHOLE).samples for path in (one, two)]
    np.testing.assert_array_equal(read_track(str(joined), WHOLE).samples, np.concatenate(parts))
    other = write(tmp_path / "3.ogg", tone, 8000, format="OGG", subtype="VORBIS")
    joined.write_bytes(Path(one).read_bytes() + Path(other).read_bytes())
    assert failure(joined)[0] == "DecodeError"


def flac_with(path, tone, *, n_samples):
    """A FLAC whose header tells another length."""
    write(path, tone)
    data = bytearray(path.read_bytes())
    data[21] = data[21] & 0xF0 | n_samples >> 32
    data[22:26] = (n_samples & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("n_samples", [2**36 - 1, 3 * SR])
def test_a_flac_that_announces_more_than_it_holds_is_told(tmp_path, tone, n_samples):
    path = flac_with(tmp_path / "a.flac", tone, n_samples=n_samples)
    for window in (WHOLE, Excerpt(duration=1)):
        with pytest.raises(AudioError, match=r"TruncatedAudio|DecodeError"):
            read_track(str(path), window)


def test_a_long_silence_takes_the_memory_of_its_clip(tmp_path):
    path = tmp_path / "silence.flac"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for _ in range(360):  # ten hours
            file.write(np.zeros(800_000, np.int16))
    assert path.stat().st_size < 10**6
    read_track(str(path), Excerpt())  # what is made once
    tracemalloc.start()
    try:
        track = read_track(str(path), Excerpt())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert track.n_samples == 360 * 800_000
    assert len(track.samples) == round(29.1 * 8000)
    assert peak < 16 * 2**20
    assert "10.0 hours at 8000 Hz" in failure(path)[1]  # all of it at once


def test_eight_channels_are_read_in_blocks(tmp_path, rng):
    frames = rng.uniform(-0.5, 0.5, (SR, 8)).astype(np.float32)
    path = write(tmp_path / "a.wav", frames, subtype="FLOAT")
    np.testing.assert_allclose(read_track(path, WHOLE).samples, frames.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("sr", [1, 2**31 - 1])
def test_a_rate_that_cannot_be_is_told(tmp_path, tone, sr):
    path = tmp_path / "a.wav"
    write(path, tone)
    data = bytearray(path.read_bytes())
    data[24:28] = sr.to_bytes(4, "little")
    path.write_bytes(data)
    assert failure(path)[0] == "DecodeError"


def test_what_is_another_file_than_its_name_says_is_read_all_the_same(tmp_path, tone):
    path = write(tmp_path / "a.wav", tone)
    renamed = tmp_path / "a.mp3"
    renamed.write_bytes(Path(path).read_bytes())
    np.testing.assert_array_equal(
        read_track(str(renamed), WHOLE).samples, read_track(path, WHOLE).samples
    )


_CONFINED = """
import resource, sys
from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
from pipeline.audio.decode import read_track

resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29, 3 * 2**29))
for path in sys.argv[1:]:
    try:
        print(len(read_track(path, Excerpt()).samples))
    except AudioError as error:
        print(error.reason)
"""


@pytest.mark.slow
def test_no_file_takes_as_much_memory_as_it_is_long(tmp_path, tone):
    sparse, lying = tmp_path / "a.mp3", flac_with(tmp_path / "a.flac", tone, n_samples=2**36 - 1)
    with open(sparse, "wb") as file:
        file.truncate(2**31)
    wide = write(tmp_path / "wide.wav", np.zeros((1000, 1000), np.float32))
    tail = tmp_path / "tail.flac"
    tail.write_bytes(Path(write(tmp_path / "b.flac", tone)).read_bytes())
    os.truncate(tail, 2**31)
    paths = [str(path) for path in (sparse, lying, wide, tail)]
    told = subprocess.run(
        [sys.executable, "-c", _CONFINED, *paths], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["DecodeError", "TruncatedAudio", "1000", str(len(tone))]


def test_bad_samples_behind_the_clip_end_what_follows_and_do_not_fail_it(tmp_path):
    samples = np.linspace(-0.5, 0.5, 3000, dtype=np.float32)
    samples[[1500, 2500]] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 1000, subtype="FLOAT")
    window = Excerpt(duration=1.0, take="first")
    for reach, n_samples in ((1, 1000), (1.2, 1200), (2, 1500)):
        track = read_track(str(tmp_path / "a.wav"), window, reach)
        np.testing.assert_array_equal(track.samples, samples[:n_samples])
    with pytest.raises(AudioError, match="NonFinite: 1 samples"):
        read_track(str(tmp_path / "a.wav"), Excerpt(duration=2.0, take="first"), 2)
