import pytest

from models.networks.pools import cells_left, limited, pools_from_shape, to_one, to_steps


@pytest.mark.parametrize(
    ("size", "pools"),
    [(1, (1, 1, 1, 1)), (16, (2, 2, 2, 2)), (64, (2, 3, 3, 3)), (1820, (6, 6, 7, 7))],
)
def test_pools_from_the_shape_are_even_and_grow(size, pools):
    assert pools_from_shape(size) == pools


@pytest.mark.parametrize("n_blocks", [1, 3, 4, 5])
def test_pools_from_the_shape_leave_one_cell(n_blocks):
    for size in (*range(1, 200), 1365, 4321, 65536):
        assert cells_left(size, pools_from_shape(size, n_blocks)) == 1, size


def test_pools_leave_whole_cells():
    assert cells_left(100, (3, 3)) == 11
    assert cells_left(100, ()) == 100
    assert cells_left(100, (2, 51)) == 0


def test_limited_pools_are_those_given_where_they_fit_and_else_take_all_that_is_left():
    assert limited(1366, (4, 5, 8, 8)) == (4, 5, 8, 8)
    assert limited(182, (4, 5, 8, 8)) == (4, 5, 8, 1)
    assert limited(60, (4, 5, 8, 8)) == (4, 5, 3, 1)
    for size in range(1, 300):
        pools = limited(size, (2, 3, 3, 4))
        assert cells_left(size, pools) >= 1
        assert all(pool <= most for pool, most in zip(pools, (2, 3, 3, 4), strict=True))


def test_pools_to_one_are_those_given_where_they_leave_one_cell():
    assert to_one(96, (2, 2, 2, 3, 4)) == to_one(191, (2, 2, 2, 3, 4)) == (2, 2, 2, 3, 4)
    assert to_one(95, (2, 2, 2, 3, 4)) == (2, 2, 2, 3, 3)  # they would leave none
    assert to_one(192, (2, 2, 2, 3, 4)) == pools_from_shape(192, 5)  # they would leave two
    for size in range(1, 400):
        assert cells_left(size, to_one(size, (2, 3, 4, 4))) == 1


def test_pools_to_steps_are_those_given_where_they_leave_enough_and_none_is_lost_otherwise():
    assert to_steps(14 * 96, (2, 3, 4, 4), 14) == to_steps(9999, (2, 3, 4, 4), 14) == (2, 3, 4, 4)
    assert to_steps(14 * 96 - 1, (2, 3, 4, 4), 14) == pools_from_shape(95, 4)
    assert to_steps(13, (2, 3, 4, 4), 14) == (1, 1, 1, 1)
    for size in range(1, 2000):
        assert cells_left(size, to_steps(size, (2, 3, 4, 4), 14)) >= min(size, 14)
