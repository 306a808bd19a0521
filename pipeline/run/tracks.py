"""Tracks' files to values: the one way from a path to what is stored, or used as it is."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from featurestore.errors import AudioError
from featurestore.specs.augmentation import Augmentation
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec
from pipeline.audio.clip import Clip, Cropper
from pipeline.audio.decode import Track, read_track
from pipeline.features.analysis import Made
from pipeline.features.backends import BackendName
from pipeline.features.plan import Plan, arrange
from pipeline.features.signal import reach


class Tracks:
    """Computes clips, and keeps the last track decoded: the next clip may be its next tile.

    Parameters
    ----------
    specs : sequence of Spec
        All that may be asked for.
    window : Excerpt
    backend : str
    augmentation : Augmentation, optional
        What draws are made by.
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        window: Excerpt,
        backend: BackendName = "native",
        augmentation: Augmentation | None = None,
    ) -> None:
        self._window = window
        self._backend = backend
        self._augmentation = augmentation
        self._reach = reach(specs, window, augmentation)
        self._path = ""

    def compute(
        self, path: str, tile: int, encodings: Mapping[Spec, Encoding], seed: int = 0
    ) -> tuple[Track, Clip, Iterator[Made]]:
        """A track, one of its clips, and that clip's values at the specs that have an encoding.

        The values are computed as they are taken.

        Parameters
        ----------
        path : str
        tile : int
        encodings : mapping of Spec to Encoding
        seed : int
            What perturbations draw from, of this clip.

        Raises
        ------
        AudioError
            If the clip cannot be made, here or as its values are taken.
        StorageError
            As `pipeline.audio.file.opened` says.
        """
        track, cropper = self._open(path)
        clip = cropper.clip(tile)
        plan = _plan(tuple(encodings))
        return (
            track,
            clip,
            plan.compute(clip, self._backend, encodings, seed, self._augmentation),
        )

    def _open(self, path: str) -> tuple[Track, Cropper]:
        if path != self._path:
            self._path = ""  # what follows may fail
            track = read_track(path, self._window, self._reach)
            self._cropper = Cropper(
                track.samples,
                track.sr,
                self._window,
                first=track.first,
                n_samples=track.n_samples,
            )
            self._track = track
            self._path = path
        return self._track, self._cropper


@contextlib.contextmanager
def memory_errors_told() -> Iterator[None]:
    """Have a clip fail that does not fit into memory, and its neighbours be made."""
    try:
        yield
    except MemoryError:
        raise AudioError("Unreadable", "there is not enough memory for it") from None


_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End this process when the time is up.

    The kernel does it (SIGALRM, whose default is that), for a decoder that hangs in C may hold
    the GIL. A process has one such timer, and one file descriptor 2 that is captured while
    decoding: a worker with several threads computes one clip at a time.
    """
    with _ONE_AT_A_TIME:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def why_died(seconds: float, timeout: float) -> str:
    """Say why a file ended the process that was at it, after so many seconds, for its failure."""
    return f"not done after {timeout:g} s" if seconds >= timeout else "it crashed its process"


@lru_cache(maxsize=64)
def _plan(specs: tuple[Spec, ...]) -> Plan:
    return arrange(specs)
