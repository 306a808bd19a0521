"""A vote of a clip's windows: each says its most probable class, and the most frequent one wins."""

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Vote:
    """What the windows of a clip voted for.

    Attributes
    ----------
    winner : int
        The class that most windows say; of as many votes, the one of the lowest number.
    confidence : float
        Mean probability of that class over the windows that voted for it.
    shares : np.ndarray [shape=(n_classes,), dtype=float32]
        Share of the windows that voted for each class.
    """

    winner: int
    confidence: float
    shares: npt.NDArray[np.float32]


def vote(probabilities: npt.NDArray[np.float32]) -> Vote:
    """Let windows vote.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
        Of at least one window. A window votes for its most probable class, the first of equals.
    """
    said = probabilities.argmax(axis=1)
    votes = np.bincount(said, minlength=probabilities.shape[1])
    winner = int(votes.argmax())
    return Vote(
        winner=winner,
        confidence=float(probabilities[said == winner, winner].mean()),
        shares=(votes / len(said)).astype(np.float32),
    )
