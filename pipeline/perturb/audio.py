"""Samples that are perturbed, and what several perturbations share of them."""

import dataclasses

from pipeline.audio.stream import Samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audio:
    """Samples that are perturbed in one way or several.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
    sr : int
        [Hz]
    """

    samples: Samples
    sr: int
