"""Groups of labelled clips dealt to parts, so that each part has about its share of each tag."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def stratify(
    positive: npt.NDArray[np.generic],
    groups: npt.NDArray[np.int64],
    shares: Sequence[int],
    *,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Draw the part of each clip, from 0: iterative stratification [1]_, of groups.

    Groups stay together, parts are about as large as they should be, and each has about its share
    of the clips of each tag. The rarest tag goes first; of its groups, in random order, each goes
    to the part that lacks the tag most, then clips most, then by lot.

    Parameters
    ----------
    positive : array, shape (n_clips, n_tags)
        1 where the clip has the tag, else 0.
    groups : array of int, shape (n_clips,)
        Number of each clip's group, from 0.
    shares : sequence of int
        How large the parts are to be, in proportion.
    seed : int

    References
    ----------
    .. [1] Sechidis, Tsoumakas and Vlahavas: On the stratification of multi-label data. ECML PKDD
       2011.
    """
    n_clips, n_tags = positive.shape
    rng = np.random.default_rng(seed)
    # The last column counts clips: all groups have it, so that what no tag placed comes last.
    sizes = np.zeros((groups.max(initial=-1) + 1, n_tags + 1))
    np.add.at(sizes, groups, np.column_stack([positive, np.ones(n_clips)]))
    wanted = sizes.sum(axis=0) * np.array(shares)[:, None] / sum(shares)
    part = np.full(len(sizes), -1)
    order = rng.permutation(len(sizes))
    for column in [*np.argsort(sizes[:, :-1].sum(axis=0), kind="stable"), n_tags]:
        for group in order[(part[order] < 0) & (sizes[order, column] > 0)]:
            lots = rng.random(len(shares))
            part[group] = np.lexsort((lots, wanted[:, -1], wanted[:, column]))[-1]
            wanted[part[group]] -= sizes[group]
    return np.asarray(part[groups], np.int64)
