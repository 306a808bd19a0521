"""Stored values back to sound: what a spectrogram's resolution leaves to be heard.

Every step is undone as far as it can be: the amplitude scaling, the mel filters, the hop. What is
lost for good, the phases and all that lies within a band or between two frames, is made up by
chance.
"""

import dataclasses
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.sparse import csr_array

from featurestore.errors import SettingsError, UnknownSpecError
from featurestore.inspect.picture import file_stem, valid_seconds
from featurestore.specs.grid import subsample
from featurestore.specs.mel import FeatureSpec, require_mel
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore
from pipeline.features.backends.stft import SharedStft
from pipeline.features.scaling import decompress

Method = Literal["griffin-lim", "noise"]
Format = Literal["wav", "flac", "mp3"]

Power = npt.NDArray[np.float64]

MOST = 6
"""Specs that are heard, where it is not said which."""

_SPREADING_ROUNDS = 20
_GRIFFIN_LIM_ROUNDS = 32
_HIGHEST_PEAK = 0.999

_SUBTYPES: dict[Format, str] = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """Samples made from a clip's values.

    Attributes
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        Their peak is below 1.
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
        """The bytes of an audio file.

        Raises
        ------
        SettingsError
            If files of that format cannot have that sample rate.
        """
        subtype, file = _SUBTYPES[file_format], io.BytesIO()
        try:
            soundfile.write(file, self.samples, self.sr, subtype, format=file_format.upper())
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
        One per spec.
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
        first = self.files[0]
        about = f"{first.seconds:.1f} s each, gain {first.gain:.1f} dB (0 is as loud as the clip)"
        return [*(str(file.path) for file in self.files), about]


def write_sounds(
    store: FeatureStore,
    row: int,
    folder: str | os.PathLike[str],
    specs: Sequence[Spec | str] | None = None,
    *,
    method: Method = "griffin-lim",
    file_format: Format = "wav",
) -> SoundFiles:
    """Write one clip's sounds, a file per spec: ``<clip>.<spec>.<method>.<format>``.

    Parameters
    ----------
    store : FeatureStore
    row : int
        Of the clip.
    folder : path
        Made if it is not there.
    specs : sequence of FeatureSpec or str
        Specs, or views; None for what is stored, and `MOST` of them spread over the fineness
        where there are more.
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
    wanted = subsample(store.specs, MOST) if specs is None else specs
    sounds = sonify_clip(store, row, wanted, method=method)
    folder, stem = Path(folder), file_stem(store.table.clip_id[row])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for spec, sound in sounds.items():
        path = folder / f"{stem}.{spec.name}.{method}.{file_format}"
        path.write_bytes(sound.encoded(file_format))
        seconds = len(sound.samples) / sound.sr
        written.append(SoundFile(spec=spec, path=path, seconds=seconds, gain=sound.gain))
    return SoundFiles(clip_id=store.table.clip_id[row], files=tuple(written))


def sonify_clip(
    store: FeatureStore,
    row: int,
    specs: Sequence[Spec | str],
    *,
    method: Method = "griffin-lim",
) -> dict[Spec, Sound]:
    """One clip's sounds, all at the same gain, so that they can be compared.

    As long as its audio, without the padding. Parameters and errors are those of `write_sounds`.
    """
    arrays = [store[spec] for spec in specs]
    if not arrays:
        raise UnknownSpecError(f"{store.path} holds no specs; featurize adds some")
    sounds = {
        array.spec: sonify(
            array[row],
            require_mel(array.spec, "sounds are made of"),
            _valid_samples(store, row, array.spec),
            method=method,
        )
        for array in arrays
    }
    gain = min((sound.gain for sound in sounds.values()), default=0.0)
    return {spec: sound.turned_down(gain) for spec, sound in sounds.items()}


def _valid_samples(store: FeatureStore, row: int, spec: Spec) -> int:
    """How much of a clip is audio and not padding [samples at the spec's rate]."""
    valid = round(valid_seconds(store, row) * spec.sr)
    return max(1, min(valid, store.window.n_samples(spec.sr)))


def sonify(
    values: npt.NDArray[np.float32],
    spec: FeatureSpec,
    n_samples: int,
    *,
    method: Method = "griffin-lim",
    seed: int = 0,
) -> Sound:
    """Make a sound whose mel-spectrogram is the one given, as nearly as can be.

    The scaling is undone, the bands are spread over FFT bins (`spread`), frames are held until the
    next one, in steps of a quarter of a window or less, and the magnitudes are imposed on white
    noise: either once, or again and again until the phases agree with them (Griffin and Lim,
    *IEEE ASSP* 32(2), 1984, with Perraudin's momentum, by librosa).

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
    values : np.ndarray [shape=(n_mels, n_frames)]
        Of `spec`, decoded.
    spec : FeatureSpec
    n_samples : int
        Length of the sound [samples at ``spec.sr``].
    method : {'griffin-lim', 'noise'}
    seed : int
        Of the noise.

    Raises
    ------
    SettingsError
        If `method` is neither.
    """
    import librosa

    _look(method, "wav")
    # Frames half over one another, as stored at x1, leave the phases too free.
    step = min(spec.hop_length, (spec.win_length or spec.n_fft) // 4)
    n_frames = 1 + n_samples // step
    bins = spread(decompress(values, spec.log), spec)
    nearest = (np.arange(n_frames) * step + spec.hop_length // 2) // spec.hop_length
    magnitude = np.sqrt(bins).astype(np.float32)[:, np.minimum(nearest, bins.shape[1] - 1)]
    window = SharedStft.of(spec).window_values()
    with warnings.catch_warnings():  # of clips shorter than a frame, which are padded
        warnings.filterwarnings("ignore", message="n_fft=", category=UserWarning)
        if method == "noise":
            noise = np.random.default_rng(seed).standard_normal(n_samples, np.float32)
            spectra = librosa.stft(
                noise, n_fft=spec.n_fft, hop_length=step, window=window, pad_mode="constant"
            )
            spectra *= magnitude / np.float32(np.sqrt(np.square(window).sum()))
            samples = librosa.istft(
                spectra, n_fft=spec.n_fft, hop_length=step, window=window, length=n_samples
            )
        else:
            samples = librosa.griffinlim(
                magnitude,
                n_iter=_GRIFFIN_LIM_ROUNDS,
                n_fft=spec.n_fft,
                hop_length=step,
                window=window,
                pad_mode="constant",
                length=n_samples,
                random_state=seed,
            )
    peak = float(np.abs(samples).max())
    gain = min(1.0, _HIGHEST_PEAK / peak) if peak else 1.0
    return Sound(
        samples=np.asarray(samples * np.float32(gain), np.float32),
        sr=spec.sr,
        gain=20 * float(np.log10(gain)),
    )


def spread(mel: Power, spec: FeatureSpec, rounds: int = _SPREADING_ROUNDS) -> Power:
    """Power of FFT bins whose mel power is the one given.

    Starts from the filter bank's transpose, scaled so that an even spectrum comes back even, and
    goes on by the update of Lee and Seung (*NIPS*, 2000) for non-negative factors, which is that
    of Richardson and Lucy. It leaves 0.04 dB (rms over real clips' cells within 50 dB, 96 bands)
    where the transpose alone leaves 1.7, as it blurs neighbouring bands, and `librosa`'s
    non-negative least squares 0.8, in many times the time, as it cares for loud cells only.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames), dtype=float64]
        Not negative.
    spec : FeatureSpec
    rounds : int

    Returns
    -------
    np.ndarray [shape=(1 + n_fft // 2, n_frames), dtype=float64]
        Zero in bins that no filter covers.
    """
    dense = SharedStft.of(spec).filters()
    filters = csr_array(dense)
    back = csr_array(dense.T)
    covering = dense.sum(0)[:, None]
    highest, area = dense.max(1, keepdims=True), dense.sum(1, keepdims=True)
    # An empty filter (HTK's lowest may be) says nothing of any bin.
    triangles = np.divide(dense, highest, out=np.zeros_like(dense), where=highest > 0)
    overlap = triangles.sum(0)[:, None]
    density = np.divide(mel, area, out=np.zeros_like(mel, dtype=np.float64), where=area > 0)
    bins: Power = csr_array(triangles.T) @ density
    bins /= np.where(overlap > 0, overlap, 1)
    for _ in range(rounds):
        got = filters @ bins
        bins *= back @ np.divide(mel, got, out=np.zeros_like(mel), where=got > 0)
        bins /= np.where(covering > 0, covering, 1)
    return bins


def _look(method: str, file_format: str) -> None:
    for field, value, choices in (
        ("method", method, get_args(Method)),
        ("format", file_format, get_args(Format)),
    ):
        if value not in choices:
            raise SettingsError(f"{field} is {value!r}; it must be one of {', '.join(choices)}")
