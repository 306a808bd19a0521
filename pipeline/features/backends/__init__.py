"""Ways to compute the mel power of a clip: same question, same numbers within a tolerance."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.features.backends import essentia, librosa, native
from pipeline.features.mel import Analysis

BackendName = Literal["native", "librosa", "essentia"]

Backend = Callable[[npt.NDArray[np.float32], Analysis], npt.NDArray[np.float32]]
"""From samples to mel power ``(sum of n_mels, n_frames)``, the banks stacked.

The samples bring half a frame of overhang at either end (`Clip.framed`): nothing is padded here.
"""

BACKENDS: dict[BackendName, Backend] = {
    "native": native.mel_power,
    "librosa": librosa.mel_power,
    "essentia": essentia.mel_power,
}
