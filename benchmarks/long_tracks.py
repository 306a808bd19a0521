"""Clips out of the middle of 4-minute tracks, against decoding whole tracks and against peers.

The tracks are 44.1 kHz stereo, as people have them; a clip is the centred 29.1 s, one spec.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import click
import librosa
import numpy as np
import soundfile
from lhotse import MonoCut, Recording

from benchmarks.corpus import Corpus
from benchmarks.crew import Crew, crew, scratch
from benchmarks.featurize import SPEC
from benchmarks.files.kinds import by_ffmpeg, by_libsndfile
from benchmarks.files.music import Music, compose
from benchmarks.page import publish, save_option, table, verdict
from benchmarks.peers import extract
from benchmarks.rounds import Rounds, interleaved

SR = 44100
SECONDS = 240
CLIP = 29.1
"""[s]"""

_N_TRACKS = 4
"""Of each format, listed again and again."""

_PART = 20
"""[s]"""

_FEW = 2
"""Clips of a run whose time is that of beginning and ending one."""

FORMATS: dict[str, tuple[str, Callable[[Music], bytes]]] = {
    "MP3, 192 kb/s": (".mp3", by_ffmpeg("mp3", "libmp3lame", options={"b": "192k"})),
    "MP3, VBR": (
        ".mp3",
        by_ffmpeg(
            "mp3", "libmp3lame", options={"flags": "+qscale", "global_quality": str(2 * 118)}
        ),
    ),
    "FLAC": (".flac", by_libsndfile("FLAC", "PCM_16")),
    "M4A, 128 kb/s": (".m4a", by_ffmpeg("ipod", "aac", options={"b": "128k"})),
}
"""Ending, and what writes it."""


def tracks(name: str) -> Corpus:
    """Tracks of a format, made once and kept in the folder for temporary files."""
    extension, encode = FORMATS[name]
    words = "".join(c if c.isalnum() else "-" for c in name.lower())
    folder = Path(tempfile.gettempdir(), "melgrid-long-tracks-1", words)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(_N_TRACKS):
        path = folder / f"{number}{extension}"
        if not path.exists():
            rng, parts = np.random.default_rng(number), _parts()
            order = rng.integers(0, len(parts), SECONDS // _PART)
            samples = np.concatenate([parts[part] * rng.uniform(0.3, 1) for part in order])
            partial = path.with_suffix(".partial")
            partial.write_bytes(encode(Music(samples=samples, sr=SR)))
            partial.rename(path)
        path.read_bytes()
        paths.append(path.name)
    return Corpus(name=name, root=str(folder), paths=tuple(paths))


@functools.cache
def _parts() -> list[np.ndarray]:
    """What tracks are put together of: to compose takes longer than to encode."""
    rng = np.random.default_rng(0)
    return [compose(rng, _PART, SR, 2).samples for _ in range(6)]


def decode_whole(files: list[str]) -> None:
    """Decode whole tracks, and take the mean of the channels of the clip alone."""
    for file in files:
        if file.endswith(".m4a"):
            with av.open(file) as opened:
                for frame in opened.decode(audio=0):
                    frame.to_ndarray()
        else:
            samples, sr = soundfile.read(file, dtype="float32")
            _middle(samples, sr).mean(axis=1)


def decode_needed(files: list[str]) -> None:
    """Decode the clip alone, from the place that the header's length gives."""
    for file in files:
        if file.endswith(".m4a"):
            _seek_with_av(file)
            continue
        with soundfile.SoundFile(file) as opened:
            length = round(CLIP * opened.samplerate)
            opened.seek((opened.frames - length) // 2)
            opened.read(length, dtype="float32").mean(axis=1)


def call_librosa(files: list[str]) -> None:
    """What a script written with librosa does a track, before it saves the result."""
    for file in files:
        offset = (librosa.get_duration(path=file) - CLIP) / 2
        samples, sr = librosa.load(file, sr=SPEC.sr, offset=offset, duration=CLIP)
        power = librosa.feature.melspectrogram(
            y=samples, sr=sr, n_fft=512, hop_length=SPEC.hop_length, n_mels=SPEC.n_mels
        )
        librosa.power_to_db(power, top_db=None).astype(np.float16)


def cuts_of(corpus: Corpus) -> list[MonoCut]:
    """The centred clips as lhotse's manifests, made beforehand; of one channel, as it has them."""
    recordings = [Recording.from_file(file) for file in corpus.files(_N_TRACKS)]
    return [
        MonoCut(
            id=str(number),
            start=round((recording.duration - CLIP) / 2, 3),
            duration=CLIP,
            channel=0,
            recording=recording.resample(SPEC.sr),
        )
        for number, recording in enumerate(recordings)
    ]


def measure(workers: Crew, corpus: Corpus, clips: int, rounds: int) -> Rounds:
    """All ways in turn, those of the peers that read the format."""

    def one(n: int) -> Iterator[None]:
        for _ in workers.featurize(corpus, [SPEC], n):
            yield

    works = {
        "one": (one, clips),
        "begin": (one, _FEW),
        "needed": (lambda n: workers.share(decode_needed, corpus.files(n), batch=4), clips),
        "whole": (lambda n: workers.share(decode_whole, corpus.files(n), batch=4), clips // 2),
    }
    if not corpus.paths[0].endswith(".m4a"):  # which they read with the help of a program
        cuts = cuts_of(corpus)

        def lhotse(n: int) -> Iterator[None]:
            with scratch("lhotse") as folder:
                folder.mkdir()
                listed = [
                    cut.with_id(f"{number}-{cut.id}") for number, cut in enumerate((cuts * n)[:n])
                ]
                workers.share(functools.partial(extract, str(folder)), listed, batch=4)
                yield

        works |= {
            "librosa": (
                lambda n: workers.share(call_librosa, corpus.files(n), batch=4),
                clips // 2,
            ),
            "lhotse": (lhotse, clips // 2),
        }
    return interleaved(works, rounds, workers.cpu_time, warm_up=4)


@click.command(help=__doc__)
@click.option("--clips", default=64, show_default=True, help="Clips a round.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", type=click.Choice(list(FORMATS)), help="One format.")
@save_option
def main(clips: int, rounds: int, only: str | None, save: bool) -> None:
    """Measure and print."""
    speeds, ratios = [], []
    with crew() as workers:
        for name in [only] if only else FORMATS:
            runs = measure(workers, tracks(name), clips, rounds)
            steady = Rounds(costs={**runs.costs, "one": runs.less("one", "begin")})
            for way, text in _WAYS.items():
                if way in steady.costs:
                    speeds.append(
                        [name, text, f"{steady.clips_per_s(way):.1f}", f"{steady.cpu_ms(way):.1f}"]
                    )
            for way, text in _AGAINST.items():
                if way in steady.costs:
                    ratio = steady.speed("one", way)
                    aim = verdict(ratio.wall, least=5) if way == "whole" else ""
                    ratios.append([name, text, f"{ratio.wall:.2f} x", f"{ratio.cpu:.2f} x", aim])
    remark = (
        f"{_N_TRACKS} tracks of {SECONDS} s a format, synthesised, listed again and again; "
        f"{clips} clips a round (half of those of the slower ways), {rounds} rounds interleaved, "
        f"medians; two warm processes; {SPEC.name}, float16. What a run of {_FEW} clips takes is "
        "subtracted. The libsndfile of today decodes MP3 and FLAC alone, PyAV's FFmpeg M4A; the "
        "needed stretch alone is found by the header's length and a seek, right or not. lhotse "
        "takes one channel."
    )
    publish(
        "long_tracks",
        [
            table(["format", "in two processes", "clips/s", "CPU ms a clip"], speeds),
            table(["format", "one spec against", "by the clock", "by CPU time", "aim"], ratios),
            remark,
        ],
        save,
    )


_WAYS = {
    "one": f"melgrid, {SPEC.name}",
    "needed": "decoding the needed 29.1 s alone",
    "whole": "decoding whole tracks",
    "librosa": "librosa, offset and duration, nothing written",
    "lhotse": "lhotse, Fbank, lilcom_chunky",
}

_AGAINST = {
    "whole": "decoding whole tracks",
    "needed": "decoding the needed stretch alone",
    "librosa": "librosa",
    "lhotse": "lhotse",
}


def _middle(samples: np.ndarray, sr: int) -> np.ndarray:
    length = round(CLIP * sr)
    first = (len(samples) - length) // 2
    return samples[first : first + length]


def _seek_with_av(file: str) -> None:
    with av.open(file) as opened:
        stream = opened.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        start = (float(stream.duration * stream.time_base) - CLIP) / 2
        opened.seek(int(start / stream.time_base), stream=stream)
        for frame in opened.decode(stream):
            if frame.time > start + CLIP:
                break
            frame.to_ndarray()


if __name__ == "__main__":
    main()
