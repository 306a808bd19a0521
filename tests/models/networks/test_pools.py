import pytest

from models.networks.pools import cells_left, limited, pools_from_shape


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
