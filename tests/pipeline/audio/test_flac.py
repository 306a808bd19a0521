"""A FLAC file's length is that of its frames."""

import io

import numpy as np
import pytest
import soundfile

from pipeline.audio import flac


@pytest.mark.parametrize("sr", [8000, 44100, 48000, 96000])
@pytest.mark.parametrize("n_samples", [1, 17, 4095, 4096, 4097, 70_000, 300_000])
def test_it_is_told_by_the_last_frame(descriptor, rng, sr, n_samples):
    file = io.BytesIO()
    soundfile.write(file, rng.uniform(-0.5, 0.5, n_samples), sr, format="FLAC")
    data = file.getvalue()
    tag = b"ID3\x04\x00\x00" + bytes((0, 0, 1, 0)) + bytes(128)
    for whole in (data, tag + data, data + b"TAG" + bytes(125), data + bytes(1_000_000)):
        assert flac.length(descriptor(whole)) == n_samples
    if n_samples > 4 * 4096:
        assert flac.length(descriptor(data[: len(data) // 2])) < n_samples


@pytest.mark.parametrize("data", [b"", b"fLaC", b"fLaC" + bytes(1000), b"\xff\xf8" * 500], ids=len)
def test_bytes_without_frames_have_none(descriptor, data):
    assert flac.length(descriptor(data)) is None


def test_noise_has_none(descriptor):
    noise = b"fLaC" + np.random.default_rng(1).bytes(100_000)
    assert flac.length(descriptor(noise)) is None
