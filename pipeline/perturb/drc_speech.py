"""``drc-speech``: dynamic range compression by sox's ``compand``, as Dolby E's "speech".

The numbers are those of Won et al. 2020, *Evaluation of CNN-based automatic music
tagging models*.
"""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.compand import Compander

COMPANDER = Compander(
    attack=0.1,
    decay=0.3,
    transfer=((-90, -90), (-70, -55), (-50, -35), (-31, -31), (-21, -21), (0, -20)),
    delay=0.1,
)


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples, compressed; clipped at full scale before and after, as sox's are."""
    return COMPANDER.compress(audio.samples, audio.sr)


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""
