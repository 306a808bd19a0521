"""Files as they are found after twenty years: cut, flipped, joined, with junk, and lying."""

import dataclasses
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.files import containers
from benchmarks.files.kinds import KINDS, Kind, by_ffmpeg
from benchmarks.files.music import compose

Effect = Literal["none", "cut", "less", "any"]
"""What becomes of the audio: it is all there; some is gone from its end; there is no more of it
than there was; or nothing can be said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole file, to be injured.

    Parameters
    ----------
    kind : Kind
    data : bytes
    seconds : float
        Length of what was encoded [s].
    """

    kind: Kind
    data: bytes
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Injury:
    """A way to injure a file.

    Parameters
    ----------
    name : str
    apply : callable
        From the bytes and a generator to other bytes.
    effect : {'none', 'cut', 'less', 'any'}
    of : tuple of str
        Endings of the files that it is for; empty for all.
    weight : float
        How often it is drawn, beside others.
    """

    name: str
    apply: Callable[[bytes, np.random.Generator], bytes]
    effect: Effect
    of: tuple[str, ...] = ()
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A file that was made.

    Parameters
    ----------
    name : str
        Its number, kind and injuries, and an ending.
    kind : str
        Name of its kind, see `KINDS`; empty for what was never audio.
    tells_end : bool
        As its kind does.
    injuries : tuple of str
    data : bytes
    hole : int
        Zeros behind the data that take no room on the disk [bytes].
    effect : {'none', 'cut', 'less', 'any'}
    seconds : float
        Of the audio that was encoded [s]; how much of it is left `effect` says.
    """

    name: str
    kind: str
    tells_end: bool
    injuries: tuple[str, ...]
    data: bytes
    hole: int = 0
    effect: Effect
    seconds: float

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        with (folder / self.name).open("wb") as file:
            file.write(self.data)
            file.truncate(len(self.data) + self.hole)


def whole_files(seed: int, n_each: int) -> list[Whole]:
    """So many whole files of each kind that can be made here, 2 to 6 s long, a few of them 1 s."""
    made = []
    for number, kind in enumerate([k for k in KINDS.values() if k.can_be_made] * n_each):
        rng = np.random.default_rng([seed, 1, number])
        music = compose(
            rng,
            rng.uniform(0.8, 1.4) if number % 8 == 7 else rng.uniform(2, 6),
            int(rng.choice(kind.rates)),
            int(rng.choice(kind.channels)),
            quiet_end=bool(rng.random() < 0.4),
        )
        made.append(Whole(kind=kind, data=kind.encode(music), seconds=music.seconds))
    return made


def injure(seed: int, number: int, wholes: Sequence[Whole]) -> Made:
    """One of a series of injured files; the same for the same seed, number and whole files."""
    rng = np.random.default_rng([seed, 2, number])
    if rng.random() < 0.03:
        return _impostor(number, rng, wholes)
    mp3 = rng.random() < 0.3  # of what people have, most is
    choice = [w for w in wholes if w.kind.extension == ".mp3"] if mp3 else wholes
    whole = choice[rng.integers(len(choice))]
    data, effect, names = whole.data, "none", []
    for _ in range(rng.choice(3, p=(0.08, 0.77, 0.15))):
        fitting = [i for i in INJURIES if not i.of or whole.kind.extension in i.of]
        weights = np.array([injury.weight for injury in fitting])
        injury = fitting[rng.choice(len(fitting), p=weights / weights.sum())]
        data = injury.apply(data, rng)
        names.append(injury.name)
        effect = injury.effect if effect == "none" else _both(effect, injury.effect)
    if rng.random() < 0.05:
        other = _other(rng, whole, wholes)
        data += other.data
        names.append(f"joined-{other.kind.name}")
        # Bytes of another format behind it may seem to be audio to FFmpeg.
        alike = other.kind.extension == whole.kind.extension
        effect = "any" if alike else _both(effect, "less")
    label = "+".join(names) or "whole"
    return Made(
        name=f"{number:06}-{whole.kind.name}-{label}{whole.kind.extension}",
        kind=whole.kind.name,
        tells_end=whole.kind.tells_end,
        injuries=tuple(names),
        data=data,
        effect=effect,
        seconds=whole.seconds,
    )


def _both(one: Effect, other: Effect) -> Effect:
    if "any" in (one, other):
        return "any"
    return one if other == "none" else "less"


def _other(rng: np.random.Generator, whole: Whole, wholes: Sequence[Whole]) -> Whole:
    """What is joined to a file: most often one with the same ending, at whatever rate."""
    same = [other for other in wholes if other.kind.extension == whole.kind.extension]
    others = same if rng.random() < 0.8 else wholes
    return others[rng.integers(len(others))]


def _impostor(number: int, rng: np.random.Generator, wholes: Sequence[Whole]) -> Made:
    """What calls itself audio, and what takes more room than it seems to."""
    names = list(_IMPOSTORS)
    weights = np.array([0.1 if name.startswith(_COSTLY) else 1.0 for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    extension = ".flac" if "flac" in name else str(rng.choice([".mp3", ".wav", ".flac", ".ogg"]))
    hole, data = 0, _IMPOSTORS[name](rng)
    if name.startswith("sparse"):
        extension = ".mp3"
        hole = 6 << 30
        if name == "sparse-mp3":
            data = next(whole.data for whole in wholes if whole.kind.name == "mp3-cbr-uncounted")
    if name == "hours-of-mp3":
        extension = ".mp3"
    return Made(
        name=f"{number:06}-{name}{extension}",
        kind="",
        tells_end=False,
        injuries=(name,),
        data=data,
        hole=hole,
        effect="any" if name.startswith(_COSTLY) else "less",
        seconds=0.0,
    )


def _noise(rng: np.random.Generator, nbytes: int) -> bytes:
    return rng.integers(0, 256, nbytes, np.uint8).tobytes()


def _place(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(data) + 1))


def _span(data: bytes, rng: np.random.Generator, most: float = 0.3) -> slice:
    """A stretch of a file, of 1 byte to some share of it."""
    length = max(1, int(len(data) * most * rng.random() ** 2))
    first = int(rng.integers(0, max(1, len(data) - length)))
    return slice(first, first + length)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _cut_head(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut within the first bytes, where headers are."""
    return data[: int(rng.integers(0, min(len(data), 400) + 1))]


def _cut_tail(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: len(data) - int(rng.integers(1, 200))]


def _cut_page(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut where downloads and copies stop: at a multiple of 4 kB."""
    return data[: _place(data, rng) & ~4095]


def _without_head(data: bytes, rng: np.random.Generator) -> bytes:
    return data[int(rng.integers(1, max(2, len(data) // 2))) :]


def _flip(data: bytes, rng: np.random.Generator, *, reach: int | None, most: int) -> bytes:
    bits = np.frombuffer(data, np.uint8).copy()
    span = min(len(bits), reach or len(bits))
    if span:
        for place in rng.integers(0, span, rng.integers(1, most + 1)):
            bits[place] ^= 1 << rng.integers(8)
    return bits.tobytes()


def _zero(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + bytes(len(data[span])) + data[span.stop :]


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + _noise(rng, len(data[span])) + data[span.stop :]


def _remove(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + data[span.stop :]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng)
    return data[: span.stop] + data[span] + data[span.stop :]


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    a, b, c, d = sorted(int(rng.integers(0, len(data) + 1)) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _junk(data: bytes, rng: np.random.Generator, *, where: str) -> bytes:
    zeros, noise = bytes(30_000), _noise(rng, 64 << 10)
    text = b"<html>404 Not Found: the file should be here</html>\r\n" * 100
    junk = (zeros, noise, text)[rng.integers(3)]
    match where:
        case "before":
            return junk + data
        case "behind":
            return data + junk
    place = _place(data, rng)
    return data[:place] + junk + data[place:]


def _tag(data: bytes, rng: np.random.Generator, *, name: str) -> bytes:
    nbytes = int(10 ** rng.uniform(1, 5.3))
    match name:
        case "id3v2":
            return containers.id3v2(nbytes) + data
        case "id3v2-twice":
            return containers.id3v2(nbytes) + containers.id3v2(100) + data
        case "id3v2-inside":
            place = _place(data, rng)
            return data[:place] + containers.id3v2(nbytes) + data[place:]
        case "id3v2-liar":  # a size that is not the tag's
            tag = bytearray(containers.id3v2(nbytes))
            tag[6:10] = rng.integers(0, 128, 4).astype(np.uint8).tobytes()
            return bytes(tag) + data
        case "id3v1":
            return data + containers.id3v1()
        case "ape":
            return data + containers.ape(nbytes) + (containers.id3v1() if nbytes % 2 else b"")
        case "ape-before":
            return containers.ape(nbytes) + data
        case "lyrics3":
            return data + containers.lyrics3(min(nbytes, 90_000))
    raise ValueError(name)


def _flac_lie(data: bytes, rng: np.random.Generator, *, n_samples: int | None) -> bytes:
    if data[:4] != b"fLaC" or len(data) < 42:
        return data
    if n_samples is None:  # fewer than there are
        told = int.from_bytes(data[21:26], "big") & (1 << 36) - 1
        n_samples = int(told * rng.uniform(0.05, 0.9))
    return containers.with_flac_length(data, n_samples)


def _xing_lie(data: bytes, rng: np.random.Generator) -> bytes:
    n_frames = int(rng.choice([0, 1, 20, 100_000, 2**31, 2**32 - 1]))
    return containers.with_xing_count(data, n_frames)


def _wav_lie(data: bytes, rng: np.random.Generator) -> bytes:
    """Another size of the data, or of the file."""
    place = data.find(b"data", 12) + 4 if rng.random() < 0.8 else 4
    if place < 4 or place + 4 > len(data):
        return data
    told = int.from_bytes(data[place : place + 4], "little")
    sizes = (0, 1, told - 1, told + 1, told // 2, told * 2, 0x7FFFF000, 0x80000000, 0xFFFFFFFF)
    size = int(rng.choice(sizes)) & 0xFFFFFFFF
    return data[:place] + struct.pack("<I", size) + data[place + 4 :]


def _form_lie(data: bytes, rng: np.random.Generator) -> bytes:
    """A field of a WAV's format that is not possible, or not true."""
    place = data.find(b"fmt ") + 8
    if place < 8 or place + 16 > len(data):
        return data
    offset, size, value = (
        (0, 2, 0),
        (0, 2, 0x1234),
        (2, 2, 0),
        (2, 2, 255),
        (2, 2, 65535),
        (4, 4, 0),
        (4, 4, 1),
        (4, 4, 2**31),
        (12, 2, 0),
        (12, 2, 65535),
        (14, 2, 0),
        (14, 2, 12),
        (14, 2, 65535),
    )[rng.integers(13)]
    place += offset
    return data[:place] + value.to_bytes(size, "little") + data[place + size :]


def _mp4_lie(data: bytes, rng: np.random.Generator) -> bytes:
    """A table's number of entries, or a box's size."""
    name = rng.choice([b"stsz", b"stts", b"stsc", b"stco", b"mdat", b"moov", b"mdhd"])
    place = data.find(name)
    if place < 4:
        return data
    at = place - 4 if rng.random() < 0.3 else place + 8 + 4 * int(rng.integers(2))
    value = int(rng.choice([0, 1, 2**16, 2**28, 2**31, 2**32 - 1]))
    return data[:at] + struct.pack(">I", value) + data[at + 4 :]


def _ogg_lie(data: bytes, rng: np.random.Generator) -> bytes:
    """The last page at a position that is not the end's, its checksum made anew."""
    return containers.with_ogg_end(data, int(rng.choice([0, 1, 2**40, 2**62, 2**63 - 1])))


def _png(rng: np.random.Generator) -> bytes:
    import matplotlib.image

    file = io.BytesIO()
    matplotlib.image.imsave(file, rng.random((64, 64)))
    return file.getvalue()


@lru_cache
def _hours_of_flac(hours: float, counted: bool) -> bytes:
    return containers.flac_silence(hours, 44100, counted=counted)


@lru_cache
def _hours_of_mp3() -> bytes:
    """Two hours at 8 kb/s: a silent frame, again and again."""
    silence = compose(np.random.default_rng(0), 2, 8000, 1)
    silence = dataclasses.replace(silence, samples=silence.samples * 0)
    plain = {"write_xing": "0", "id3v2_version": "0"}
    data = by_ffmpeg("mp3", "libmp3lame", options={"b": "8k"}, muxer=plain)(silence)
    places = containers.mpeg_frames(data)
    frame = data[places[5] : places[6]]
    return data[: places[5]] + frame * round(2 * 3600 * 8000 / 576)


_EXTENSIONS_OF_MPEG = (".mp3", ".mp2", ".aac")
_RIFF = (".wav",)
_COSTLY = ("hours", "sparse")

INJURIES = (
    Injury(name="cut", apply=_cut, effect="cut", weight=4),
    Injury(name="cut-in-head", apply=_cut_head, effect="cut"),
    Injury(name="cut-in-tail", apply=_cut_tail, effect="cut"),
    Injury(name="cut-at-page", apply=_cut_page, effect="cut", weight=2),
    Injury(name="head-lost", apply=_without_head, effect="less"),
    Injury(name="flip-one", apply=partial(_flip, reach=None, most=1), effect="less", weight=2),
    Injury(name="flip-some", apply=partial(_flip, reach=None, most=50), effect="less", weight=3),
    Injury(name="flip-head", apply=partial(_flip, reach=100, most=4), effect="any", weight=3),
    Injury(name="flip-front", apply=partial(_flip, reach=4000, most=20), effect="any"),
    Injury(name="zeroed", apply=_zero, effect="less", weight=2),
    Injury(name="overwritten", apply=_overwrite, effect="less"),
    Injury(name="removed", apply=_remove, effect="less", weight=2),
    Injury(name="repeated", apply=_repeat, effect="any"),
    Injury(name="swapped", apply=_swap, effect="any"),
    Injury(
        name="junk-before", apply=partial(_junk, where="before"), effect="none", of=(".mp3",)
    ),
    Injury(
        name="junk-before-other", apply=partial(_junk, where="before"), effect="less", weight=0.3
    ),
    Injury(name="junk-behind", apply=partial(_junk, where="behind"), effect="none", weight=2),
    Injury(name="junk-inside", apply=partial(_junk, where="inside"), effect="less"),
    *(
        Injury(
            name=name,
            apply=partial(_tag, name=name),
            effect="any" if name == "id3v2-liar" else "none",
            of=(".mp3", ".mp2"),
        )
        for name in (
            "id3v2", "id3v2-twice", "id3v2-liar", "id3v1", "ape", "ape-before", "lyrics3"
        )
    ),
    Injury(
        name="id3v2-inside",
        apply=partial(_tag, name="id3v2-inside"),
        effect="less",
        of=_EXTENSIONS_OF_MPEG,
    ),
    Injury(
        name="id3v2-before-flac", apply=partial(_tag, name="id3v2"), effect="none", of=(".flac",)
    ),
    Injury(name="id3v1-behind", apply=partial(_tag, name="id3v1"), effect="none"),
    Injury(name="xing-lie", apply=_xing_lie, effect="none", of=(".mp3",), weight=2),
    *(
        Injury(
            name=f"flac-says-{name}",
            apply=partial(_flac_lie, n_samples=n_samples),
            effect="none",
            of=(".flac",),
        )
        for name, n_samples in (
            ("nothing", 0),
            ("2^36-1", 2**36 - 1),
            ("2^31", 2**31),
            ("less", None),
        )
    ),
    Injury(name="size-lie", apply=_wav_lie, effect="less", of=_RIFF, weight=2),
    Injury(name="format-lie", apply=_form_lie, effect="any", of=_RIFF),
    Injury(name="mp4-lie", apply=_mp4_lie, effect="any", of=(".m4a",), weight=2),
    Injury(name="ogg-lie", apply=_ogg_lie, effect="any", of=(".ogg", ".opus", ".oga"), weight=2),
)  # fmt: skip
"""All of them."""

_IMPOSTORS: Mapping[str, Callable[[np.random.Generator], bytes]] = {
    "empty": lambda rng: b"",
    "one-byte": lambda rng: _noise(rng, 1),
    "text": lambda rng: b"This is where the song should be.\n" * 50,
    "html": lambda rng: b"<!DOCTYPE html><title>403</title>" + b"<p>No.</p>" * 200,
    "picture": _png,
    "noise": lambda rng: _noise(rng, int(10 ** rng.uniform(1, 5.5))),
    "zeros": lambda rng: bytes(1 << 20),
    "ones": lambda rng: b"\xff" * (1 << 20),
    "syncs": lambda rng: b"\xff\xfb\x90\x64" * 50_000,
    "tag-alone": lambda rng: containers.id3v2(50_000),
    "hours-of-flac": lambda rng: _hours_of_flac(3, True),
    "hours-of-flac-uncounted": lambda rng: _hours_of_flac(3, False),
    "hours-of-mp3": lambda rng: _hours_of_mp3(),
    "sparse-mp3": lambda rng: b"",
    "sparse-nothing": lambda rng: b"",
}
