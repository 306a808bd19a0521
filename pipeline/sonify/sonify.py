"""Stored values back to sound: what a spec keeps of a clip, and a perturbation makes of it, heard.

Every step is undone as far as it can be, as the spec's kind has it: see
`pipeline.sonify.players`. What is lost for good, the phases and all that lies within a band or
between two frames, is made up by chance.
"""

import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from featurestore.errors import SettingsError
from featurestore.inspect.captions import file_stem
from featurestore.inspect.choice import Conditions, choose
from featurestore.inspect.picture import valid_seconds
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore
from pipeline.sonify.phases import Method
from pipeline.sonify.players import player_of

Format = Literal["wav", "flac", "mp3"]

_HIGHEST_PEAK = 0.999

_SUBTYPES: dict[Format, str] = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """Samples made from a clip's values.

    Attributes
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        Their peak is 1 at most.
    sr : int
        [Hz]
    gain : float
        How much louder than the clip it is [dB]: 0, or less where it would have been clipped.
    """

    samples: npt.NDArray[np.float32] = dataclasses.field(repr=False)
    sr: int
    gain: float

    def turned_down(self, gain: float) -> "Sound":
        """Return the sounds at a lower gain [dB]."""
        factor = np.float32(10 ** ((gain - self.gain) / 20))
        return dataclasses.replace(self, samples=self.samples * factor, gain=gain)

    def encoded(self, file_format: Format) -> bytes:
        """The bytes of an audio file; 16 bits are kept of samples, so those of 16 are the same.

        Raises
        ------
        SettingsError
            If files of that format cannot have that sample rate.
        """
        subtype, file = _SUBTYPES[file_format], io.BytesIO()
        # libsndfile multiplies by 32767.
        steps = np.clip(np.rint(self.samples * np.float32(32768)), -32768, 32767)
        try:
            soundfile.write(
                file, steps.astype(np.int16), self.sr, subtype, format=file_format.upper()
            )
        except (soundfile.LibsndfileError, ValueError):
            raise SettingsError(
                f"format is {file_format}, which cannot hold {self.sr} Hz; wav can"
            ) from None
        return file.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundFile:
    """A sound that was written.

    Attributes
    ----------
    spec : Spec
        What it was made from.
    path : Path
    seconds : float
        Its length [s].
    gain : float
        As of `Sound` [dB].
    """

    spec: Spec
    path: Path
    seconds: float
    gain: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundFiles:
    """One clip's sounds, all at the same gain.

    Attributes
    ----------
    clip_id : str
    files : tuple of SoundFile
        One per spec and condition.
    """

    clip_id: str
    files: tuple[SoundFile, ...]

    def json(self) -> list[dict[str, Any]]:
        """Return the fields as plain values."""
        return [
            {
                "clip_id": self.clip_id,
                "spec": file.spec.name,
                "file": str(file.path),
                "seconds": file.seconds,
                "gain_db": file.gain,
            }
            for file in self.files
        ]

    def lines(self) -> list[str]:
        """The files, their length and their gain."""
        lengths = sorted({f"{file.seconds:.1f}" for file in self.files}, key=float)
        seconds = (
            f"{lengths[0]} s each" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]} s"
        )
        gain = self.files[0].gain
        about = f"{seconds}, gain {gain:.1f} dB (0 is as loud as the clip)"
        return [*(str(file.path) for file in self.files), about]


def write_sounds(
    store: FeatureStore,
    row: int,
    folder: str | os.PathLike[str],
    specs: Sequence[Spec | str] | None = None,
    conditions: Conditions | None = None,
    *,
    method: Method = "griffin-lim",
    file_format: Format = "wav",
) -> SoundFiles:
    """Write one clip's sounds, a file per spec and condition: ``<clip>.<spec>.<method>.<format>``.

    The method is left out of the names of sounds that are as stored.

    Parameters
    ----------
    store : FeatureStore
    row : int
        Of the clip.
    folder : path
        Made if it is not there.
    specs : sequence of (Spec or str)
    conditions : 'all' or sequence of (Condition or str)
        Which, as in `featurestore.inspect.choice.choose`.
    method : {'griffin-lim', 'noise'}
    file_format : {'wav', 'flac', 'mp3'}

    Raises
    ------
    SettingsError
        If `method` or `file_format` is none of those, or the format cannot hold a sample rate.
    RowNotReadyError
        If the clip failed or is pending.
    SpecError, UnknownSpecError, CorruptDataError
        As the store says.
    """
    _look(method, file_format)
    sounds = sonify_clip(store, row, choose(store, specs, conditions, row=row), method=method)
    folder, stem = Path(folder), file_stem(store.table.clip_id[row])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for spec, sound in sounds.items():
        how = f"{method}." if player_of(spec).makes_phases else ""
        path = folder / f"{stem}.{spec.name}.{how}{file_format}"
        path.write_bytes(sound.encoded(file_format))
        seconds = len(sound.samples) / sound.sr
        written.append(SoundFile(spec=spec, path=path, seconds=seconds, gain=sound.gain))
    return SoundFiles(clip_id=store.table.clip_id[row], files=tuple(written))


def sonify_clip(
    store: FeatureStore,
    row: int,
    specs: Sequence[Spec],
    *,
    method: Method = "griffin-lim",
) -> dict[Spec, Sound]:
    """One clip's sounds, all at the same gain, so that they can be compared.

    As long as its audio, without the padding. Errors are those of `write_sounds`.
    """
    sounds = {
        spec: sonify(store[spec][row], spec, _valid_samples(store, row, spec), method=method)
        for spec in specs
    }
    gain = min((sound.gain for sound in sounds.values()), default=0.0)
    return {spec: sound.turned_down(gain) for spec, sound in sounds.items()}


def _valid_samples(store: FeatureStore, row: int, spec: Spec) -> int:
    """How much of a clip is audio and not padding [samples at the spec's rate]."""
    valid = round(valid_seconds(store, row, spec.condition) * spec.sr)
    return max(1, min(valid, store.window.n_samples(spec.sr)))


def sonify(
    values: npt.NDArray[np.float32],
    spec: Spec,
    n_samples: int,
    *,
    method: Method = "griffin-lim",
    seed: int = 0,
) -> Sound:
    """Make a sound that the values given are those of, as nearly as can be.

    Analysed again, cells down to 50 dB below the loudest come out with these errors [dB], over
    eight real clips at 16 kHz (``benchmarks/sound.py``): the root mean square over cells, and the
    median over bands of the error of a band's mean power.

    ===========  ===========  ========  ========  ========
    method       96 bands x1  96, x10   48, x1    8, x1
    ===========  ===========  ========  ========  ========
    noise        5.2, 0.5     4.9, 0.6  3.7, 0.3  2.0, 0.1
    griffin-lim  1.6, 0.1     1.3, 0.1  1.1, 0.1  0.8, 0.1
    ===========  ===========  ========  ========  ========

    Noise in a band of few bins fluctuates by itself: that is its 5 dB.

    Parameters
    ----------
    values : np.ndarray [shape=(n_bands, n_frames)]
        Of `spec`, decoded.
    spec : Spec
    n_samples : int
        Length of the sound [samples at ``spec.sr``].
    method : {'griffin-lim', 'noise'}
    seed : int
        Of the noise.

    Raises
    ------
    SettingsError
        If `method` is neither.
    SpecError
        If no sound is made of specs of that kind.
    """
    _look(method, "wav")
    samples = player_of(spec).play(values, spec, n_samples, method=method, seed=seed)
    peak = float(np.abs(samples).max())
    gain = _HIGHEST_PEAK / peak if peak > 1 else 1.0
    return Sound(
        samples=np.asarray(samples * np.float32(gain), np.float32),
        sr=spec.sr,
        gain=20 * float(np.log10(gain)),
    )


def _look(method: str, file_format: str) -> None:
    for field, value, choices in (
        ("method", method, get_args(Method)),
        ("format", file_format, get_args(Format)),
    ):
        if value not in choices:
            raise SettingsError(f"{field} is {value!r}; it must be one of {', '.join(choices)}")
