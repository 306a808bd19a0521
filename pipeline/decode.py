"""A track's bytes to mono samples."""

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from featurestore.errors import AudioError
from pipeline.audio import Signature, opened

DECODER = f"libsndfile {soundfile.__libsndfile_version__}"

_SHORTFALL = 0.5
"""How much less than its header says a whole file may decode to [s]; gapless tags explain 0.2."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A decoded track.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        The mean of the channels.
    sr : int
        Sample rate [Hz].
    digest : str
        BLAKE2b-128 of the file's bytes, in hex.
    signature : Signature
        Of the file.
    """

    samples: npt.NDArray[np.float32]
    sr: int
    digest: str
    signature: Signature


def read_track(path: str) -> Track:
    """Read and decode a whole track; positions in it count decoded samples, not the header's.

    Raises
    ------
    AudioError
        ``Unreadable`` (no such file, not a regular file, no permission), ``EmptyFile``,
        ``DecodeError``, ``TruncatedAudio`` or ``NonFinite``.
    StorageError
        As `opened` says.
    """
    with opened(path) as (file, signature):
        data = file.read()
        if not data:
            raise AudioError("EmptyFile", "0 bytes")
        file.seek(0)
        # From the descriptor: reading from memory, libsndfile calls Python for every 70 bytes.
        samples, sr = _decode(file.fileno())
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return Track(samples=samples, sr=sr, digest=digest, signature=signature)


def digest_file(path: str) -> str:
    """Digest of a file's bytes, as in `Track`; raises as `read_track` does."""
    with opened(path) as (file, _):
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()


def _decode(descriptor: int) -> tuple[npt.NDArray[np.float32], int]:
    with _captured_stderr() as chatter:
        try:
            with soundfile.SoundFile(descriptor, closefd=False) as file:
                announced, sr = file.frames, file.samplerate
                damaged = "should be" in file.extra_info  # a chunk longer than the file
                frames = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            said = chatter()
            detail = error.error_string.rstrip(".")
            raise AudioError("DecodeError", f"{detail}{f' ({said})' if said else ''}") from None
        said = chatter()
    if not len(frames):
        raise AudioError("EmptyFile", "no audio in it")
    if announced - len(frames) > _SHORTFALL * sr or damaged:
        detail = f"{len(frames) / sr:.1f} s decoded of {announced / sr:.1f} s announced"
        raise AudioError("TruncatedAudio", f"{detail}{f' ({said})' if said else ''}")
    samples = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1)
    # A sum is finite only if all terms are; only then is the slower look worth it.
    if not np.isfinite(samples.sum()) and not np.isfinite(samples).all():
        raise AudioError("NonFinite", f"{np.count_nonzero(~np.isfinite(samples))} samples")
    return samples, sr


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what C libraries print on file descriptor 2, where libmpg123 complains.

    Yields a function that returns the first lines printed so far.
    """
    captured = _scratch().fileno()
    os.ftruncate(captured, 0)
    os.lseek(captured, 0, os.SEEK_SET)
    saved = os.dup(2)
    os.dup2(captured, 2)
    try:
        yield lambda: _first_lines(captured)
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@cache
def _scratch() -> BinaryIO:
    """A file without a name, one a process: making one takes as long as a fiftieth of a clip."""
    return tempfile.TemporaryFile()  # open as long as the process


os.register_at_fork(after_in_child=_scratch.cache_clear)


def _first_lines(descriptor: int) -> str:
    text = os.pread(descriptor, 1000, 0).decode(errors="replace")
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())[:200]
