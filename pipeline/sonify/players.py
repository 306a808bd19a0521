"""How values of each kind of spec become sound."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import SpecError
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec
from pipeline.sonify import fbank, mel, stft
from pipeline.sonify.phases import Magnitudes, Method, Samples, with_phases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """A kind's way back to sound.

    Attributes
    ----------
    made : str
        How, in a sentence.
    magnitudes : callable (np.ndarray [shape=(n_bands, n_frames)], Spec) -> Magnitudes, optional
        What the values of a spec of the kind say of the STFT; None where they are the samples.
    """

    made: str
    magnitudes: Callable[[npt.NDArray[np.float32], Any], Magnitudes] | None = None

    @property
    def makes_phases(self) -> bool:
        """Return whether sounds are made up in part, by a method."""
        return self.magnitudes is not None

    def play(
        self,
        values: npt.NDArray[np.float32],
        spec: Spec,
        n_samples: int,
        *,
        method: Method = "griffin-lim",
        seed: int = 0,
    ) -> Samples:
        """Samples at the spec's rate, ``(n_samples,)``."""
        if self.magnitudes is None:
            return values[0, :n_samples]
        return with_phases(self.magnitudes(values, spec), n_samples, method=method, seed=seed)


# A line a kind.
PLAYERS: dict[str, Player] = {
    FeatureSpec.kind: Player(
        made="the amplitude scaling and the mel bands are undone, and phases are made up",
        magnitudes=mel.magnitudes,
    ),
    StftSpec.kind: Player(
        made="the amplitude scaling is undone, and phases are made up", magnitudes=stft.magnitudes
    ),
    FbankSpec.kind: Player(
        made="an approximation: the logarithm, the bands and pre-emphasis are undone, bands at "
        "the logarithm's floor are taken for silent, and phases are made up",
        magnitudes=fbank.magnitudes,
    ),
    WaveformSpec.kind: Player(made="the samples as they are stored"),
}
"""By `Spec.kind`."""


def player_of(spec: Spec) -> Player:
    """A spec's player.

    Raises
    ------
    SpecError
        If its kind has none.
    """
    player = PLAYERS.get(spec.kind)
    if player is None:
        raise SpecError(
            f"{spec.name}: no sound is made of the kind {spec.kind!r}; "
            f"kinds with sound are {', '.join(PLAYERS)}"
        )
    return player
