"""Files of bytes by their descriptors."""

import io
import os

import numpy as np
import pytest
import soundfile


@pytest.fixture
def descriptor(tmp_path):
    """Makes a file of bytes and gives its descriptor."""
    opened = []

    def make(data):
        path = tmp_path / f"{len(opened)}"
        path.write_bytes(data)
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1]

    yield make
    for number in opened:
        os.close(number)


@pytest.fixture(scope="session")
def written():
    """Bytes of a file of noise at 16 kHz, one channel."""

    def written(format_name, subtype="PCM_16", n_samples=1000, **kinds):
        file = io.BytesIO()
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, n_samples).astype(np.float32)
        soundfile.write(file, samples, 16000, format=format_name, subtype=subtype, **kinds)
        return file.getvalue()

    return written
