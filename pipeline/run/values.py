"""Audio files to values in memory: the bits that a run would store in float32, without a store."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Generator, Iterable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from featurestore.errors import AudioError, MelgridError, SettingsError
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec
from pipeline.kernels import COMPILED
from pipeline.run.processes import ProcessDiedError, begin, in_order
from pipeline.run.settings import RunSettings
from pipeline.run.task import seed_of
from pipeline.run.tracks import Tracks, memory_errors_told, time_limit, why_died

_FLOAT32 = Encoding(name="float32")

_LEAST_TILE = 10
"""A whole track is computed in pieces of about so long, or of a window if that is longer [s]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """Values of one file: of its clip, or of the windows that were drawn from it.

    Parameters
    ----------
    values : np.ndarray [shape=(n, n_bands, n_frames), dtype=float32]
        A clip's alone, or as many as there are windows.
    n_valid : np.ndarray [shape=(n,), dtype=int64]
        Frames of each that are audio; what comes after them is padding.
    """

    values: npt.NDArray[np.float32]
    n_valid: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomWindows:
    """Windows drawn from a whole track; every frame is as likely to be a window's first.

    What is drawn follows from the seed and the file's bytes, wherever the file lies. From a track
    that is no longer than a window there is one.

    Parameters
    ----------
    n_windows : int
        From a track.
    n_frames : int
        Of a window.
    seed : int

    Raises
    ------
    SettingsError
        If a number is below 1, or the seed below 0.
    """

    n_windows: int
    n_frames: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_windows", 1), ("n_frames", 1), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                raise SettingsError(f"invalid {name} {value}: must be at least {least}")

    def starts(self, n_valid: int, digest: str) -> list[int]:
        """First frames of the windows of a track with so many frames of audio, in order."""
        n_places = n_valid - self.n_frames + 1
        if n_places <= 1:
            return [0]
        generator = np.random.default_rng(seed_of(self.seed, digest))
        return sorted(generator.integers(n_places, size=self.n_windows).tolist())


def compute_values(
    paths: Iterable[str],
    spec: Spec,
    window: Excerpt,
    *,
    windows: RandomWindows | None = None,
    workers: int | None = None,
    timeout: float = RunSettings.timeout,
) -> Generator[Values | AudioError, None, None]:
    """Values of files at a spec, in the files' order, each decoded once.

    Files are read ahead, in a bounded number. One that ends its process, or takes too long, becomes
    an error as one that cannot be decoded does, and the others are done.

    Parameters
    ----------
    paths : iterable of str
        Local paths, or fsspec URLs.
    spec : Spec
        Of any kind.
    window : Excerpt
        Which stretch of a file is its clip; of ``take='all'``, the first tile.
    windows : RandomWindows, optional
        Drawn from the whole of each file instead.
    workers : int, optional
        Processes, one thread each; None is one a core. 0 is none: files are computed here one after
        the other, and one that crashes or hangs its decoder ends or stops all.
    timeout : float
        How long one file may take [s], where there are processes.

    Raises
    ------
    SettingsError
        If a setting is out of range.
    StorageError
        If object storage cannot be reached.
    RunError
        If processes cannot be started.
    """
    if workers is not None and workers < 0:
        raise SettingsError(f"invalid workers {workers}: must be at least 0")
    settings = RunSettings(timeout=timeout)  # refuses
    request = _Request(spec=spec, window=window.fitted([spec]), windows=windows)
    if workers == 0:
        return _computed_here(request, paths)
    n_processes = workers or os.cpu_count() or 1
    return _computed_in_processes(request, paths, n_processes, settings.timeout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    """What is wanted of each file."""

    spec: Spec
    window: Excerpt
    windows: RandomWindows | None

    def worker(self) -> "_OfClips | _OfWindows":
        """Make what does it."""
        if self.windows is None:
            return _OfClips(self.spec, self.window)
        return _OfWindows(self.spec, self.windows)


class _OfClips:
    """Values of files' clips."""

    def __init__(self, spec: Spec, window: Excerpt) -> None:
        self._spec = spec
        self._tracks = Tracks([spec], window)

    def __call__(self, path: str) -> Values:
        track, clip, made = self._tracks.compute(path, 0, {self._spec: _FLOAT32})
        [(_, values, _)] = made
        n_valid = min(self._spec.n_valid_frames(clip.n_valid, track.sr), values.shape[1])
        return Values(values=values[None], n_valid=np.array([n_valid]))


class _OfWindows:
    """Values of windows that are drawn from files: cut from those of the whole track, tile by tile.

    Tiles' frames side by side are the track's, see `Excerpt`.
    """

    def __init__(self, spec: Spec, windows: RandomWindows) -> None:
        self._spec, self._windows = spec, windows
        seconds: Fraction = windows.n_frames * spec.frame_step
        n_windows = max(1, _LEAST_TILE // seconds)
        window = Excerpt(duration=float(n_windows * seconds), take="all")
        self._window = window.fitted([spec])
        self._tracks = Tracks([spec], self._window)

    def __call__(self, path: str) -> Values:
        tiles: list[npt.NDArray[np.float32]] = []
        n_tiles = 1
        while len(tiles) < n_tiles:
            track, _, made = self._tracks.compute(path, len(tiles), {self._spec: _FLOAT32})
            n_tiles = self._window.n_tiles(track.n_samples, track.sr)
            [(_, values, _)] = made
            tiles.append(values)
        whole = np.concatenate(tiles, axis=1)
        n_valid = min(self._spec.n_valid_frames(track.n_samples, track.sr), whole.shape[1])
        n_frames = self._windows.n_frames
        starts = self._windows.starts(n_valid, track.digest)
        return Values(
            values=np.stack([whole[:, start : start + n_frames] for start in starts]),
            n_valid=np.full(len(starts), min(n_valid, n_frames)),
        )


def _computed_here(
    request: _Request, paths: Iterable[str]
) -> Generator[Values | AudioError, None, None]:
    compute = request.worker()
    for path in paths:
        try:
            with memory_errors_told():
                outcome: Values | AudioError = compute(path)
        except AudioError as error:
            outcome = error
        yield outcome


def _computed_in_processes(
    request: _Request, paths: Iterable[str], n_processes: int, timeout: float
) -> Generator[Values | AudioError, None, None]:
    begin(__name__, *COMPILED)
    make = functools.partial(_in_process, request, timeout)
    with contextlib.closing(in_order(make, paths, n_processes=n_processes)) as outcomes:
        for _, outcome in outcomes:
            if isinstance(outcome, ProcessDiedError):
                yield AudioError("Unreadable", why_died(outcome.seconds, timeout))
            elif isinstance(outcome, MelgridError) and not isinstance(outcome, AudioError):
                raise outcome
            else:
                yield outcome


def _in_process(request: _Request, timeout: float) -> Callable[[str], Values]:
    compute = request.worker()

    def limited(path: str) -> Values:
        with time_limit(timeout), memory_errors_told():
            return compute(path)

    return limited
