"""Statistics of a clip's values, for all hops and bands of one analysis at once."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from featurestore.statistics import Statistics


def summarise(
    values: npt.NDArray[np.float32], steps: Collection[int], limits: tuple[float, float]
) -> dict[int, Statistics]:
    """Mean, spread and share beyond the limits of every band, over every k-th frame.

    Two matrix products for all hops together: a fifth of the time that NumPy's mean and std take
    one hop after the other (0.46 against 2.0 ms for 352 bands x 1819 frames and six hops).

    Parameters
    ----------
    values : np.ndarray [shape=(n_bands, n_frames), dtype=float32]
        Valid frames only; at least one.
    steps : collection of int
        The k.
    limits : (float, float)
        What the encoding keeps.

    Returns
    -------
    dict of int to np.ndarray [shape=(3, n_bands), dtype=float32]
        By step, as `featurestore.layout.STATISTICS` names them. Spread is good to a thousandth of
        the range of the values, and exactly 0 where a band is constant.
    """
    # A column of zeros more: of a single column, BLAS would sum in another order, and a spec's
    # statistics would depend on which other specs are computed with it.
    weights = np.zeros((values.shape[1], len(steps) + 1), np.float32)
    for column, step in enumerate(steps):
        weights[::step, column] = 1
    n_frames = np.maximum(weights.sum(axis=0), 1)
    first = values[:, :1]  # differences to it are small, and 0 where a band is constant
    moved = values - first
    mean = moved @ weights / n_frames
    moved *= moved
    std = np.sqrt(np.maximum(moved @ weights / n_frames - mean**2, 0))
    saturated = np.zeros_like(mean)
    if values.min() < limits[0] or values.max() > limits[1]:
        beyond = ((values < limits[0]) | (values > limits[1])).astype(np.float32)
        saturated = beyond @ weights / n_frames
    mean += first
    return {
        step: np.stack([mean[:, column], std[:, column], saturated[:, column]])
        for column, step in enumerate(steps)
    }
