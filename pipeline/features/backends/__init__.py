"""Ways to compute power and mel power of a clip: same question, same numbers in a tolerance."""

import importlib
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from featurestore.specs.mel import FeatureSpec
    from pipeline.features.backends.stft import SharedStft

# The one line of a backend: its name is that of the module here that has its functions.
BackendName = Literal["native", "librosa", "essentia"]


class Backend(Protocol):
    """A module that computes power spectra, and mel power from them.

    Samples bring half a frame of overhang at either end (`Clip.padded`): nothing is padded here.
    """

    def require(self, spec: "FeatureSpec") -> None:
        """Refuse a spec that cannot be computed so.

        Raises
        ------
        SettingsError
        """

    def power(
        self, samples: "npt.NDArray[np.float32]", stft: "SharedStft"
    ) -> "tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]":
        """From samples to power of all bins, and to mel power.

        Returns
        -------
        bins : np.ndarray [shape=(1 + n_fft // 2, n_frames), dtype=float32]
            No rows, unless `stft` asks for them.
        bands : np.ndarray [shape=(sum of n_mels, n_frames), dtype=float32]
            The banks, stacked.
        """


def load_backend(name: BackendName) -> Backend:
    """Import a backend, and with it what it computes with."""
    backend: Backend = importlib.import_module(f"{__name__}.{name}")
    return backend
