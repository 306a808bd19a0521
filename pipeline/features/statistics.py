"""Statistics of a clip's values, for all hops and bands of one analysis at once."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from featurestore.format.statistics import Statistics


def summarise(
    values: npt.NDArray[np.float32], steps: Collection[int], limits: tuple[float, float]
) -> dict[int, Statistics]:
    """Mean, standard deviation and share beyond the limits of every band, over every k-th frame.

    By sums in double precision, frame after frame, which do not hang on what else is summed: a
    spec's statistics are the same bits whichever other specs are computed with it.

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
        By step, as `featurestore.format.layout.STATISTICS` names them. The standard deviation is
        good to single precision, and exactly 0 where a band is constant.
    """
    from pipeline.kernels.statistics import moments

    first, ordered = values[:, 0].astype(np.float64), sorted(steps)
    outside = values.min() < limits[0] or values.max() > limits[1]
    statistics = {}
    for step, (moved, squared) in zip(ordered, moments(values, ordered), strict=True):
        made = np.zeros((3, len(values)), np.float32)
        made[0] = first + moved
        made[1] = np.sqrt(np.maximum(squared - moved**2, 0))
        if outside:
            cut = values[:, ::step]
            made[2] = ((cut < limits[0]) | (cut > limits[1])).mean(axis=1)
        statistics[step] = made
    return statistics
