"""What decodes a track: the part that is needed, wherever it can be had."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from featurestore.errors import AudioError

Samples = npt.NDArray[np.float32]
"""Mono, (n_samples,): the mean of the channels."""

_MOST_SAMPLES = 2**28
"""What of a track may be wanted at once, 1 GiB: 1.7 hours at 44.1 kHz."""

SHORTFALL = 0.1
"""How much less than announced a lossy file may decode to [s]: encoders' delays are told apart."""


class Stream(Protocol):
    """A track that can be decoded.

    Attributes
    ----------
    decoder : str
        Name and version of what decodes it.
    sr : int
        Sample rate [Hz].
    n_samples : int
        Length [samples], as far as it is known before decoding.
    is_certain : bool
        Whether that is so for sure.
    """

    decoder: str
    sr: int
    n_samples: int
    is_certain: bool

    def read(self, first: int, length: int) -> tuple[Samples, int]:
        """Decode a stretch.

        Parameters
        ----------
        first, length : int
            [samples]; it may reach beyond the track's end.

        Returns
        -------
        samples : np.ndarray [shape=(<= length,), dtype=float32]
        n_samples : int
            Length of the whole track, known for sure now.

        Raises
        ------
        AudioError
            ``DecodeError`` or ``TruncatedAudio``.
        """
        ...


def mono(frames: npt.NDArray[np.float32]) -> Samples:
    """The mean of channels, (n_samples, n_channels); of two in half the time, and the same bits."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for later
        mixed: Samples = (
            (frames[:, 0] + frames[:, 1]) * np.float32(0.5)
            if frames.shape[1] == 2
            else frames.mean(axis=1)
        )
    return mixed


def crop(blocks: Iterable[Samples], first: int, length: int) -> tuple[Samples, int]:
    """Keep a stretch of what comes block by block, and count all of it."""
    kept: list[Samples] = []
    position = 0
    for block in blocks:
        part = block[max(0, first - position) : max(0, first + length - position)]
        if len(part):  # a small part would keep its whole block in memory
            kept.append(part if 2 * len(part) > len(block) else part.copy())
        position += len(block)
    if len(kept) == 1:
        return kept[0], position
    return np.concatenate(kept) if kept else np.zeros(0, np.float32), position


def require_few(n_samples: int, sr: int) -> None:
    """Make sure that a stretch of a track may be held in memory.

    Raises
    ------
    AudioError
        ``DecodeError`` if not.
    """
    if n_samples > _MOST_SAMPLES:
        raise AudioError(
            "DecodeError",
            f"{n_samples / sr / 3600:.1f} hours at {sr} Hz; at most "
            f"{_MOST_SAMPLES / sr / 3600:.1f} are taken at once: take a part, or split it",
        )


def require_announced(n_samples: int, announced: int, sr: int, *, exact: bool) -> None:
    """Make sure that a track decoded to what it announced.

    Raises
    ------
    AudioError
        ``TruncatedAudio`` if not.
    """
    if announced - n_samples > (0 if exact else SHORTFALL * sr):
        raise AudioError(
            "TruncatedAudio",
            f"{n_samples / sr:.1f} s decoded of {announced / sr:.1f} s announced",
        )
