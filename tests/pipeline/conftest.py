"""Music to perturb, and the programs whose perturbations are the reference."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from pipeline.audio.stream import Samples
from pipeline.demo.demo import compose
from pipeline.perturb.audio import Audio

REALMUSIC = Path(__file__).parents[3] / "shared" / "data" / "realmusic" / "audio"

Program = Callable[[Audio, str], Samples]


@pytest.fixture(scope="session")
def piece() -> Samples:
    """8 s at 16 kHz, its peak at full scale."""
    tags = frozenset({"bass", "drums", "plucked", "voice"})
    samples = compose(tags, np.random.default_rng(0))[: 8 * 16000]
    return samples / np.abs(samples).max()


@pytest.fixture(scope="session")
def corpus(piece: Samples) -> list[Samples]:
    """Music at 16 kHz: as it is, a loud and a quiet half, too loud, and real where it is here."""
    halves = piece * np.repeat(np.float32([1, 0.003]), len(piece) // 2)
    real = []
    for path in sorted(REALMUSIC.glob("*.mp3"))[::17]:
        samples, sr = soundfile.read(path, dtype="float32", always_2d=True)
        real.append(soxr.resample(samples.mean(axis=1), sr, 16000))
    return [piece, halves, piece * np.float32(1.5), *real]


@pytest.fixture
def sox(tmp_path: Path) -> Program:
    """An effect of sox, named with its settings."""
    if shutil.which("sox") is None:
        pytest.skip("sox is not installed")

    def apply(audio: Audio, effect: str) -> Samples:
        source, result = tmp_path / "source.wav", tmp_path / "result.wav"
        soundfile.write(source, audio.samples, audio.sr, subtype="FLOAT")
        encoding = ["-e", "floating-point", "-b", "32"]
        subprocess.run(["sox", source, *encoding, result, *effect.split()], check=True)
        return soundfile.read(result, dtype="float32")[0]

    return apply


@pytest.fixture
def ffmpeg(tmp_path: Path) -> Program:
    """A filter graph of FFmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("FFmpeg is not installed")

    def apply(audio: Audio, graph: str) -> Samples:
        source, result = tmp_path / "source.wav", tmp_path / "result.wav"
        soundfile.write(source, audio.samples, audio.sr, subtype="FLOAT")
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", source]
        subprocess.run([*command, "-af", graph, "-c:a", "pcm_f32le", result], check=True)
        return soundfile.read(result, dtype="float32")[0]

    return apply
