"""What a file holds according to FFmpeg, and its mel-spectrogram according to librosa.

Nothing here uses melgrid's own decoding, resampling or spectrum: it is what they are held against.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import av
import librosa
import numpy as np
import numpy.typing as npt
import soxr

from featurestore.specs.mel import FeatureSpec

Samples = npt.NDArray[np.float32]

MOST_DB = 0.05
"""How far a cell may be from librosa's [dB]."""

FLOOR_DB = -80.0
"""Cells below are decoders' rounding noise; silence is at -100."""

MP2_FLOOR_DB = -40.0
"""libmpg123 and FFmpeg agree on Layer II to 16 bits alone."""

OPUS_DB = 1.0
"""FFmpeg has an Opus decoder of its own, which is not libopus."""

OPUS_MEAN_DB = 0.2
"""On average over cells: libopus decodes at the rate that was encoded, and FFmpeg at 48 kHz."""

UNHEARD = ("ogg-chained", "caf-alac16", "wav-ms")
"""FFmpeg reads an Ogg file's second link 256 samples late, loses the end of libsndfile's ALAC,
and decodes the ADPCM of libsndfile's encoder otherwise, not that of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What FFmpeg decodes of a file, errors passed over as its program does.

    Parameters
    ----------
    n_samples : int
        Of the first frame's rate.
    sr : int
        The first frame's [Hz].
    seconds : float
        Length at the rate that most of it has: a frame or two of another file, cut, are junk [s].
    n_errors : int
        Packets that could not be decoded.
    """

    n_samples: int
    sr: int
    seconds: float
    n_errors: int


def hear(path: str) -> Heard:
    """Decode a whole file and count; a file that FFmpeg refuses has no samples."""
    n_samples, sr, n_errors = 0, 0, 0
    seconds: Counter[int] = Counter()
    for frame in _frames(path):
        if frame is None:
            n_errors += 1
            continue
        sr = sr or frame.sample_rate
        seconds[frame.sample_rate] += frame.samples
        n_samples += frame.samples
    longest = max((n / rate for rate, n in seconds.items()), default=0.0)
    return Heard(n_samples=n_samples, sr=sr, seconds=longest, n_errors=n_errors)


def stretch(path: str, start: int, length: int) -> Samples:
    """Samples of a file, the mean of its channels; decoded from its beginning.

    Returns
    -------
    samples : np.ndarray [shape=(n,), dtype=float32]
        `length`, or fewer if the file ends.
    """
    parts, place = [], 0
    for frame in _frames(path):
        if frame is None:
            continue
        first, last = max(0, start - place), start + length - place
        place += frame.samples
        if last <= 0:
            break
        if first < frame.samples:
            parts.append(_mono(frame)[first:last])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def mel_db(samples: Samples, sr: int, spec: FeatureSpec, n_samples: int) -> npt.NDArray[np.float64]:
    """A clip's mel-spectrogram by librosa, in double precision.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Of the clip, at the track's rate.
    sr : int
        The track's rate [Hz].
    spec : FeatureSpec
    n_samples : int
        The clip's length at the spec's rate; what is missing is silence [samples].

    Returns
    -------
    values : np.ndarray [shape=(n_mels, n_frames), dtype=float64]
        [dB]
    """
    resampled = samples if sr == spec.sr else soxr.resample(samples, sr, spec.sr, quality="HQ")
    clip = np.zeros(n_samples)
    clip[: len(resampled)] = resampled[:n_samples]
    power = librosa.feature.melspectrogram(
        y=clip,
        sr=spec.sr,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        n_mels=spec.n_mels,
        pad_mode="constant",
    )
    return 10 * np.log10(np.maximum(power, 1e-10))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A row as a store has it: what was decoded at which rate, and the values.

    Parameters
    ----------
    sr : int
        [Hz]
    start, n_valid : int
        [samples at `sr`]
    values : np.ndarray [shape=(n_mels, n_frames), dtype=float32]
        [dB]
    """

    sr: int
    start: int
    n_valid: int
    values: npt.NDArray[np.float32]


def deviation(
    path: str, kind: str, heard: Heard, clip: Clip, spec: FeatureSpec, n_samples: int
) -> tuple[float, float]:
    """How far a row's values are from librosa's of what FFmpeg decodes there.

    Parameters
    ----------
    path : str
        The file.
    kind : str
        Name of its kind, see `kinds.KINDS`.
    heard : Heard
        Of the file.
    clip : Clip
        The row.
    spec : FeatureSpec
    n_samples : int
        The clip's length at the spec's rate [samples].

    Returns
    -------
    error, most : float
        The deviation, and the most that is right for the kind [dB].
    """
    scale = heard.sr / clip.sr
    samples = stretch(path, round(clip.start * scale), round(clip.n_valid * scale))
    right = mel_db(samples, heard.sr, spec, n_samples)
    loud = right > (MP2_FLOOR_DB if kind == "mp2" else FLOOR_DB)
    if scale != 1:  # near the end of the band that was encoded, resamplers differ
        loud &= spec.mel_frequencies[:, None] < 0.35 * clip.sr
    errors = np.abs(clip.values - right)[loud]
    if not len(errors):
        return 0.0, MOST_DB
    if "opus" not in kind:
        return float(errors.max()), MOST_DB
    return (float(errors.max()), OPUS_DB) if scale == 1 else (float(errors.mean()), OPUS_MEAN_DB)


def _frames(path: str) -> Iterator[av.AudioFrame | None]:
    """Decoded frames; None for a packet that cannot be decoded."""
    try:
        with av.open(path) as file:
            stream = file.streams.best("audio")
            if stream is None:
                return
            for packet in _packets(file, stream):
                try:
                    decoded = packet.decode()
                except (av.error.FFmpegError, ValueError):
                    yield None
                    continue
                yield from (frame for frame in decoded if frame.samples and frame.sample_rate)
    except (av.error.FFmpegError, ValueError):
        return


def _packets(file: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    """A stream's packets, to the end or to where its container is broken."""
    try:
        yield from file.demux(stream)
    except (av.error.FFmpegError, ValueError):
        return


def _mono(frame: av.AudioFrame) -> Samples:
    n_channels = frame.layout.nb_channels
    if frame.format.is_planar and n_channels >= 8:
        # PyAV 18 looks for planes beyond the last one, and the process ends.
        [frame] = av.AudioResampler(format=frame.format.packed.name).resample(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, n_channels).T
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values / np.float64(2 ** (8 * values.dtype.itemsize - 1))
    return values.astype(np.float32).mean(axis=0, dtype=np.float32)
