"""``bundle600_0.8``: a low-pass filter of one pole, another tempo, and two echoes.

The study that it comes from gave FFmpeg
``lowpass=frequency=600:poles=1,atempo=0.8,aecho=in_gain=0.8:out_gain=0.9:delays=200:decays=0.3|delays=400:decays=0.3``
and meant two echoes, of 200 ms and of 400 ms: they are here. FFmpeg reads ``decays`` twice, keeps
the last, and makes one, of 200 ms. Other differences: the tempo is `tempo`'s, not ``atempo``'s, and
the end is that of the slower samples, not of their last echo.
"""

import numpy as np

from featurestore.specs.perturbation import Perturbation
from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.biquad import Biquad, require_cutoff
from pipeline.perturb.dsp.wsola import stretch
from pipeline.perturb.echo import add_echoes


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples, ``round(n / rate)`` of them, clipped at full scale by the echo."""
    require(audio.sr, amounts)
    cutoff, rate = amounts
    filtered = Biquad.one_pole_lowpass(audio.sr, cutoff).filter(audio.samples)
    slower = Audio(samples=stretch(filtered, audio.sr, rate), sr=audio.sr)
    return add_echoes(slower, before=0.8, after=0.9, echoes=((200, 0.3), (400, 0.3)))


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Refuse a cut-off that is not below half the rate.

    Raises
    ------
    SpecError
    """
    require_cutoff(Perturbation(word="bundle", amounts=amounts), sr)
