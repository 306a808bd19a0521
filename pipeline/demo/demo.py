"""The demo corpus: little pieces of music, synthesised, with the tags a listener would give.

It stands in for a collection where there is none, and its truth is known. The tags are chosen so
that resolution matters: `minor` and `detuned` live in the fine structure of frequency, `tremolo`
and `roll` in that of time, loudness and most instruments in neither.
"""

import csv
import dataclasses
import functools
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from featurestore.errors import SettingsError
from pipeline.demo import synth
from pipeline.demo.synth import Audio

SR = 16000
"""Sample rate of the clips [Hz]."""

SECONDS = 29.5
"""Length of a piece [s]; MP3 adds up to 0.1 s of silence."""

TAGS = {
    "bass": "a bass plays",
    "bells": "bells are struck",
    "detuned": "the fifth of every chord is out of tune",
    "drums": "a bass drum and a snare drum play",
    "fast": "the beat is quick",
    "loud": "the whole is loud",
    "minor": "the chords are minor, not major",
    "plucked": "strings are plucked",
    "roll": "the shaker rolls, rather than keeps time",
    "strings": "the chords sound bowed and bright, not blown and dull",
    "tremolo": "the chords tremble, rather than swell",
    "voice": "somebody sings",
}
"""Each tag and what it says of a clip. Any of them may hold together."""

_N = round(SECONDS * SR)
_UNFINISHED = "labels.csv.part"  # the labels to be, in a corpus that is not complete


def make_demo(
    folder: str | os.PathLike[str],
    *,
    n_clips: int = 240,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make a labelled corpus of synthesised music, or what is missing of it.

    The clips are MP3, 16 kHz, mono, 32 kb/s, about 118 kB each. A clip depends on its labels, the
    seed and its number, so neither the number of workers nor an interruption shows in the result.
    The labels are written last: when ``labels.csv`` is there, the corpus is complete.

    Parameters
    ----------
    folder : path
        Made if need be. It must be empty, or hold this corpus, whole or in part.
    n_clips : int
        Clips in all: a sixth each for validation and test, the rest for training. Each tag holds
        for half the clips of each split, independently of the other tags.
    seed : int
        What the whole corpus is drawn from.
    workers : int or None
        Processes to work in; None for one a core.
    progress : callable or None
        Called with the number of clips that are there and `n_clips`: before the first is made,
        and after each.

    Returns
    -------
    Path
        Of ``labels.csv``, with the columns ``path`` (relative to the folder), ``split`` (``train``,
        ``validation``, ``test``) and one a tag (0 or 1).

    Raises
    ------
    SettingsError
        If a number is out of range, or the folder holds anything but this corpus.
    """
    for name, value, low in (("n_clips", n_clips, 12), ("seed", seed, 0), ("workers", workers, 1)):
        if value is not None and value < low:
            raise SettingsError(f"{name} is {value}; it must be at least {low}")
    folder = Path(folder)
    clips = _draw_clips(n_clips, seed)
    labels = _labels_csv(clips)
    _claim(folder, labels)

    missing = [clip for clip in clips if not (folder / clip.path).exists()]
    n_done = n_clips - len(missing)
    report = progress or (lambda done, total: None)
    report(n_done, n_clips)
    make = functools.partial(_make_clip, folder)
    for _ in _map(make, missing, min(workers or os.cpu_count() or 1, len(missing))):
        n_done += 1
        report(n_done, n_clips)
    if not (folder / "labels.csv").exists():
        _write(folder / "labels.csv", labels)
    (folder / _UNFINISHED).unlink(missing_ok=True)
    return folder / "labels.csv"


# The corpus: what its clips are, and how they come into the folder.


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Clip:
    path: str
    split: str
    tags: frozenset[str]
    entropy: tuple[int, int]


def _draw_clips(n_clips: int, seed: int) -> list[_Clip]:
    rng = np.random.default_rng(seed)
    sixth = n_clips // 6
    clips: list[_Clip] = []
    for split, n in (("train", n_clips - 2 * sixth), ("validation", sixth), ("test", sixth)):
        holds = rng.permuted(np.tile(np.arange(n) % 2 == 1, (len(TAGS), 1)), axis=1)
        for column in holds.T:
            number = len(clips)
            tags = frozenset(tag for tag, held in zip(TAGS, column, strict=True) if held)
            path = f"demo-{number:04d}.mp3"
            clips.append(_Clip(path=path, split=split, tags=tags, entropy=(seed, number)))
    return clips


def _labels_csv(clips: Iterable[_Clip]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "split", *TAGS])
    table.writerows([clip.path, clip.split, *(int(t in clip.tags) for t in TAGS)] for clip in clips)
    return text.getvalue().encode()


def _claim(folder: Path, labels: bytes) -> None:
    """Mark a new folder as that of this corpus; refuse one that is something else."""
    for name in ("labels.csv", _UNFINISHED):
        if (folder / name).exists():
            if (folder / name).read_bytes() != labels:
                raise SettingsError(
                    f"{folder / name} is not that of the demo corpus asked for; "
                    "it was made with another n_clips or seed, or by someone else: "
                    "give another folder, or remove this one"
                )
            return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SettingsError(
            f"{folder} exists and holds no demo corpus; give an empty folder, or a new one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / _UNFINISHED, labels)


def _map(make: Callable[[_Clip], None], clips: Sequence[_Clip], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(make, clips)
        return
    # Spawned, since a fork of a process that has used torch's threads can hang.
    spawn = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(workers, spawn, _follow_parent)
    except OSError:  # there is no room in /dev/shm for what processes share
        yield from map(make, clips)
        return
    with pool:
        yield from pool.map(make, clips)


def _follow_parent() -> None:
    """Leave interrupts to the parent process, and end when it does, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in spawned processes only

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _make_clip(folder: Path, clip: _Clip) -> None:
    audio = compose(clip.tags, np.random.default_rng(clip.entropy))
    mp3 = io.BytesIO()
    # libsndfile takes the bit rate as a place between 160 kb/s (0) and 8 kb/s (1): 32 kb/s.
    soundfile.write(
        mp3,
        audio,
        SR,
        format="MP3",
        bitrate_mode="CONSTANT",
        compression_level=0.85,
    )
    _write(folder / clip.path, mp3.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


# A piece: what the instruments play.


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Score:
    """What the players share: when the beats fall, and the chord on each.

    Parameters
    ----------
    beats : np.ndarray [shape=(n_beats,)]
        Evenly spaced, from 0 [s].
    chords : np.ndarray [shape=(n_beats, 3)]
        Root, third and fifth as MIDI notes.
    """

    beats: npt.NDArray[np.float64]
    chords: npt.NDArray[np.int64]

    @property
    def beat(self) -> float:
        """Length of a beat [s]."""
        return float(self.beats[1])


def compose(tags: frozenset[str], rng: np.random.Generator) -> Audio:
    """Make up a piece that has these `TAGS` and no others.

    Chords and a shaker are always there, and carry the tags that say how; the other instruments
    play or are silent. What no tag speaks of is drawn: key, tempo, rates, timbres, levels, hiss.
    Levels reach down to where an instrument is hard to hear, and those of loud and of soft pieces
    overlap, so that no model can be right always.

    Returns
    -------
    np.ndarray [shape=(472000,), dtype=float32]
        29.5 s at 16 kHz, its peak below 0.6.
    """
    tempo = rng.uniform(105, 150) if "fast" in tags else rng.uniform(60, 95)  # beats a minute
    beats = np.arange(0, SECONDS, 60 / tempo)
    roots = 60 + rng.integers(5) + rng.permutation((0, 0, 5, 7))
    triad = (0, 3 if "minor" in tags else 4, 7)
    score = _Score(beats=beats, chords=roots[np.arange(len(beats)) // 4 % 4, np.newaxis] + triad)

    layers = [
        _level(_chords(score, tags, rng), 0),
        _level(_shaker(score, tags, rng), rng.uniform(-20, -8)),
        _level(rng.standard_normal(_N, np.float32), rng.uniform(-50, -30)),
    ]
    for tag, play in _PLAYERS.items():
        if tag in tags:
            layers.append(_level(play(score, rng), rng.uniform(-22, -2)))
    mix = _level(np.sum(layers, axis=0), rng.normal(-17 if "loud" in tags else -25, 3))
    # Squeezed, not clipped, and well short of full scale, since MP3 overshoots.
    return np.asarray(0.6 * np.tanh(mix / 0.6), np.float32)


def _chords(score: _Score, tags: frozenset[str], rng: np.random.Generator) -> Audio:
    """Three pairs of players hold the chords, swelling or trembling, and stress every beat."""
    roll_off = rng.uniform(0.8, 1.4) if "strings" in tags else rng.uniform(1.3, 2.5)
    harmonics = [h**-roll_off for h in range(1, 9)]
    sour = rng.choice((-1, 1)) * rng.uniform(40, 55) if "detuned" in tags else 0  # [cents]
    spread = rng.uniform(1, 8)  # [cents]
    t = np.arange(_N) / SR
    now = np.searchsorted(score.beats, t, "right") - 1
    choir = np.zeros(_N, np.float32)
    for line, off in zip(score.chords.T + 12, (0, 0, sour), strict=True):
        cents = (off - spread, off + spread)
        choir += synth.unison(synth.midi_to_hz(line)[now], harmonics, cents, SR, rng)
    rate = rng.uniform(6, 8.5) if "tremolo" in tags else rng.uniform(0.5, 1.5)
    choir *= synth.tremolo(_N, rate, rng.uniform(0.6, 0.9), SR)
    choir *= (0.6 + 0.4 * np.exp((score.beats[now] - t) / 0.15)).astype(np.float32)
    return choir


def _shaker(score: _Score, tags: frozenset[str], rng: np.random.Generator) -> Audio:
    # The strokes swell alike either way: only how often they come tells a roll.
    rate = rng.uniform(8, 11) if "roll" in tags else 2 / score.beat
    return synth.shake(_N, rate, rng.uniform(0.7, 0.95), SR, rng)


def _bass(score: _Score, rng: np.random.Generator) -> Audio:
    notes = _each_pitch_once(lambda hz: synth.bass(hz, score.beat, SR), score.chords[:, 0] - 24)
    return _lay(score.beats, notes, rng)


def _bells(score: _Score, rng: np.random.Generator) -> Audio:
    struck = rng.random(len(score.beats)) < 0.5
    pitches = _melody(score.chords[struck], rng) + 12
    notes = _each_pitch_once(lambda hz: synth.bell(hz, 1.5, SR), pitches)
    return _lay(score.beats[struck], notes, rng)


def _drums(score: _Score, rng: np.random.Generator) -> Audio:
    strokes = (synth.kick(SR), synth.snare(SR, rng))
    return _lay(score.beats, (strokes[i % 2] for i in range(len(score.beats))), rng)


def _plucked(score: _Score, rng: np.random.Generator) -> Audio:
    starts = np.stack([score.beats, score.beats + score.beat / 2], axis=1).ravel()
    pitches = _melody(np.repeat(score.chords, 2, axis=0), rng) - rng.choice((0, 12))
    notes = _each_pitch_once(lambda hz: synth.pluck(hz, 1.0, SR, rng), pitches)
    return _lay(starts, notes, rng)


def _voice(score: _Score, rng: np.random.Generator) -> Audio:
    pitches = _melody(score.chords[::2], rng) - rng.choice((0, 12))
    vowels = rng.choice(list(synth.VOWELS), len(pitches))
    notes = (
        synth.sing(hz, 1.8 * score.beat, vowel, SR, rng)
        for hz, vowel in zip(synth.midi_to_hz(pitches), vowels, strict=True)
    )
    return _lay(score.beats[::2], notes, rng)


_PLAYERS = {
    "bass": _bass,
    "bells": _bells,
    "drums": _drums,
    "plucked": _plucked,
    "voice": _voice,
}


def _melody(chords: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Choose a note from each chord, ``(n, 3)`` to ``(n,)``."""
    return rng.permuted(chords, axis=1)[:, 0]


def _each_pitch_once(
    play: Callable[[float], Audio], pitches: npt.NDArray[np.int64]
) -> Iterator[Audio]:
    """Play each pitch once and repeat the note wherever the pitch recurs, which saves much time."""
    notes = {pitch: play(float(synth.midi_to_hz(pitch))) for pitch in np.unique(pitches)}
    return (notes[pitch] for pitch in pitches)


def _lay(starts: Iterable[float], notes: Iterable[Audio], rng: np.random.Generator) -> Audio:
    """Lay notes on a silent line, each from its start [s] and more or less hard."""
    line = np.zeros(_N, np.float32)
    for start, note in zip(starts, notes, strict=True):
        rest = line[round(start * SR) :][: len(note)]
        rest += note[: len(rest)] * np.float32(rng.uniform(0.6, 1))
    return line


def _level(audio: Audio, level: float) -> Audio:
    """Bring the RMS to `level` [dB]."""
    return np.asarray(audio * (10 ** (level / 20) / np.sqrt(np.mean(audio**2))), np.float32)
