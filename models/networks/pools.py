"""Pools that fit a size: so that networks adapt to the resolution."""

from collections.abc import Sequence


def pools_from_shape(size: int, n_blocks: int = 4) -> tuple[int, ...]:
    """Pools that bring `size` cells down to one, as evenly as whole numbers allow.

    With r blocks to go, a block pools by the largest p with ``p**r <= size``, so that the larger
    pools come last, as in Ferraro et al. 2020; the last one takes all that is left.

    >>> pools_from_shape(64), pools_from_shape(1820), pools_from_shape(3)
    ((2, 3, 3, 3), (6, 6, 7, 7), (1, 1, 1, 3))
    """
    pools = []
    for blocks_left in range(n_blocks, 0, -1):
        pool = 1
        while (pool + 1) ** blocks_left <= size:
            pool += 1
        pools.append(pool)
        size //= pool
    return tuple(pools)


def cells_left(size: int, pools: Sequence[int]) -> int:
    """What `pools` leave of `size` cells; 0 if one of them is longer than what is left."""
    for pool in pools:
        size //= pool
    return size


def limited(size: int, pools: Sequence[int]) -> tuple[int, ...]:
    """`pools`, each no longer than what those before it leave of `size` cells.

    >>> limited(100, (3, 3, 3, 3, 3)), limited(300, (3, 3, 3, 3, 3))
    ((3, 3, 3, 3, 1), (3, 3, 3, 3, 3))
    """
    fitting = []
    for pool in pools:
        fitting.append(min(pool, size))
        size //= fitting[-1]
    return tuple(fitting)


def to_one(size: int, pools: Sequence[int]) -> tuple[int, ...]:
    """`pools` where they leave exactly one of `size` cells, otherwise `pools_from_shape`.

    >>> to_one(128, (2, 2, 2, 3, 4)), to_one(24, (2, 2, 2, 3, 4))
    ((2, 2, 2, 3, 4), (1, 2, 2, 2, 3))
    """
    if cells_left(size, pools) == 1:
        return tuple(pools)
    return pools_from_shape(size, len(pools))


def to_steps(size: int, pools: Sequence[int], least: int) -> tuple[int, ...]:
    """`pools` where they leave `least` of `size` cells or more, otherwise some that leave as many.

    These are `pools_from_shape` of the cells that there are for each of the `least`, so that all
    cells are left where there are fewer than `least`.

    >>> to_steps(1813, (2, 3, 4, 4), 14), to_steps(182, (2, 3, 4, 4), 14)
    ((2, 3, 4, 4), (1, 2, 2, 3))
    """
    if cells_left(size, pools) >= least:
        return tuple(pools)
    return pools_from_shape(max(1, size // least), len(pools))
