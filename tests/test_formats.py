"""Files of every kind through a real run, against FFmpeg's decode and librosa's mel."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.files.judge import UNHEARD, Clip, Heard, deviation, hear
from benchmarks.files.kinds import KINDS, Kind
from benchmarks.files.music import Music, compose
from featurestore import FeatureSpec, FeatureStore
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SPEC = FeatureSpec(sr=16000, n_mels=48, hop=2, log="db")
WINDOW = Excerpt(duration=1.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file that was made, and what the store says of it."""

    kind: Kind
    music: Music
    path: Path
    heard: Heard
    row: int


@pytest.fixture(scope="module")
def files(tmp_path_factory, thorough):
    """One of each kind, or 200; rates and channels are drawn, and one in six is a short one."""
    folder = tmp_path_factory.mktemp("formats")
    kinds = [kind for kind in KINDS.values() if kind.can_be_made]
    made = []
    for number in range(200 if thorough else len(kinds)):
        rng = np.random.default_rng([22, number])
        kind = kinds[number % len(kinds)]
        music = compose(
            rng,
            seconds=rng.uniform(0.7, 1.4) if number % 6 == 5 else rng.uniform(2, 5),
            sr=int(rng.choice(kind.rates)),
            n_channels=int(rng.choice(kind.channels)),
            quiet_end=bool(number % 2),
        )
        path = folder / f"{number:03}-{kind.name}{kind.extension}"
        path.write_bytes(kind.encode(music))
        made.append(File(kind=kind, music=music, path=path, heard=hear(str(path)), row=number))
    lines = ["path", *(file.path.name for file in made)]
    (folder / "tracks.csv").write_text("\n".join(lines))
    return made


@pytest.fixture(scope="module")
def store(files, tmp_path_factory, scheduler):
    path = tmp_path_factory.mktemp("store") / "features.zarr"
    settings = RunSettings(window=WINDOW, encoding=Encoding(name="float32"), scheduler=scheduler)
    run(open_catalog(str(files[0].path.with_name("tracks.csv"))), str(path), [SPEC], settings)
    return FeatureStore.open(path)


def lengths(file: File, sr: int) -> set[int]:
    """Samples that a file may give at the rate it was decoded at."""
    if "opus" in file.kind.name:  # may be decoded at its own 48 kHz, or at one that divides it
        assert 48000 % sr == 0
        whole = file.heard.n_samples * sr / file.heard.sr
        return {math.floor(whole), math.ceil(whole)}
    if file.kind.name in UNHEARD[:2]:
        return {file.music.n_samples}
    if file.kind.is_lossless:  # some containers' padding may be taken for a sample
        return {file.music.n_samples, file.heard.n_samples}
    return {file.heard.n_samples}


def test_the_judge_hears_as_many_samples_as_were_encoded(files):
    wrong = []
    for file in files:
        more = file.heard.n_samples * file.music.sr / file.heard.sr - file.music.n_samples
        # One sample where FFmpeg reads padding as one, or wrote LAME's tag so; where nothing says
        # what to leave out, the encoder's delay and padding: three frames. WMA's end is lost.
        most = 1 if file.kind.is_exact else 3 * 1152
        least = -2048 if file.kind.name == "wma" else 0
        if file.kind.name not in UNHEARD and not least <= more <= most:
            wrong.append(f"{file.path.name}: {more} samples more")
    assert not wrong, "\n".join(["", *wrong])


def test_every_kind_is_read_and_the_clip_is_that_of_the_middle_to_the_sample(files, store):
    clips = store.clips
    wrong = []
    for file in files:
        clip = clips.iloc[file.row]
        if clip.status != "ready":
            wrong.append(f"{file.path.name}: {clip.reason}")
            continue
        stride = WINDOW.stride(clip.sr)
        right = {(max(0, n - stride) // 2, min(stride, n)) for n in lengths(file, int(clip.sr))}
        if (clip.start, clip.n_valid) not in right:
            wrong.append(f"{file.path.name}: {clip.start}, {clip.n_valid}; right is {right}")
    assert not wrong, "\n".join(["", *wrong])


def test_values_are_librosas_of_what_ffmpeg_decodes(files, store):
    clips, array = store.clips, store[SPEC]
    wrong = []
    for file in files:
        clip = clips.iloc[file.row]
        if clip.status != "ready" or file.kind.name in UNHEARD:
            continue
        stored = Clip(sr=clip.sr, start=clip.start, n_valid=clip.n_valid, values=array[file.row])
        error, most = deviation(
            str(file.path), file.kind.name, file.heard, stored, SPEC, WINDOW.n_samples(SPEC.sr)
        )
        if error > most:
            wrong.append(f"{file.path.name}: {error:.3f} dB, more than {most}")
    assert not wrong, "\n".join(["", *wrong])
