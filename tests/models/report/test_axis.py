import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.report.axis import Axis

VALUES = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=8)


@pytest.mark.parametrize("kind", [Axis.linear, Axis.logarithmic])
@given(values=VALUES)
def test_an_axis_holds_its_values_in_order_and_has_ticks_inside(kind, values):
    axis = kind("cost", values)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1
    assert axis.ticks
    assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value, _ in axis.ticks)


@given(values=VALUES)
def test_ticks_say_where_they_are_and_differ(values):
    axis = Axis.linear("score", values)
    assert len({name for _, name in axis.ticks}) == len(axis.ticks)
    for value, name in axis.ticks:
        assert float(name) == pytest.approx(value, abs=1e-9 * max(values))


def test_linear_ticks_are_round_numbers_with_equal_decimals():
    axis = Axis.linear("ROC AUC", [0.812, 0.925])
    assert [name for _, name in axis.ticks] == ["0.82", "0.84", "0.86", "0.88", "0.90", "0.92"]


def test_logarithmic_ticks_are_at_1_2_5_and_fewer_over_many_decades():
    assert [n for _, n in Axis.logarithmic("c", [0.02, 0.6]).ticks] == [
        "0.02", "0.05", "0.1", "0.2", "0.5"
    ]  # fmt: skip
    assert [n for _, n in Axis.logarithmic("c", [1, 1e4]).ticks] == [
        "1", "10", "100", "1000", "10000"
    ]  # fmt: skip


def test_equal_factors_are_equally_far_apart_on_a_logarithmic_axis():
    axis = Axis.logarithmic("c", [1, 16])
    steps = [axis.place(2 * x) - axis.place(x) for x in (1, 2, 4, 8)]
    assert steps == pytest.approx([steps[0]] * 4)


def test_a_lone_value_stands_in_the_middle():
    assert Axis.linear("s", [0.9]).place(0.9) == pytest.approx(0.5)
    assert Axis.linear("s", [0.0]).place(0.0) == pytest.approx(0.5)
    assert Axis.logarithmic("c", [5]).place(5) == pytest.approx(0.5)


def test_categories_stand_side_by_side():
    axis = Axis.categories("hop", ["x1", "x2", "x10"])
    assert [axis.place(value) for value, _ in axis.ticks] == pytest.approx([1 / 6, 1 / 2, 5 / 6])
