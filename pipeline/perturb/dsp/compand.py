"""Dynamic range compression as sox's ``compand`` has it.

A level follows the samples' magnitudes; a transfer function says how loud that level shall be; the
samples, delayed so that the gain is there before a loud passage begins, are multiplied by it.
"""

import dataclasses

import numpy as np

from pipeline.audio.stream import Samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compander:
    """Settings of sox's ``compand ATTACK,DECAY TRANSFER 0 0 DELAY``.

    Parameters
    ----------
    attack, decay : float
        Time constants of a level that rises, and of one that falls [s].
    transfer : tuple of (float, float)
        Level of the input and of the output, by rising input [dB of full scale]; straight lines
        between. sox rounds the corners within 0.01 dB of them; here they are sharp, which changes
        the gain by less than 0.003 dB.
    delay : float
        How much later than the level the samples are [s]; the output is not late.
    """

    attack: float
    decay: float
    transfer: tuple[tuple[float, float], ...]
    delay: float

    def compress(self, samples: Samples, sr: int) -> Samples:
        """Samples times their gain, ``(n,)`` float32.

        The level begins at full scale. What is beyond full scale, before or after, is clipped.
        Both are sox's ways; samples beyond full scale are what a lossy file decodes to.
        """
        from pipeline.kernels.loudness import follow, gains

        samples = np.clip(samples, -1, 1)
        inputs, outputs = np.array(self.transfer).T / (20 * np.log10(2))  # octaves
        gain = np.empty(samples.shape, np.float32)
        follow(samples, _step(self.attack, sr), _step(self.decay, sr), gain)
        # Below the lowest input the gain is constant, so that the level's floor changes nothing.
        gains(gain, inputs, outputs)
        late = min(int(self.delay * sr), len(samples))
        result = np.empty_like(samples)
        np.multiply(samples[: len(samples) - late], gain[late:], out=result[: len(samples) - late])
        if late:
            np.multiply(samples[-late:], gain[-1], out=result[-late:])
        return np.clip(result, -1, 1, out=result)


def _step(seconds: float, sr: int) -> float:
    """The part of the way to a sample's magnitude that the level goes in one sample."""
    return float(1 - np.exp(-1 / (sr * seconds))) if seconds * sr > 1 else 1.0
