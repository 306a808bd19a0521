from hypothesis import given
from hypothesis import strategies as st

from models.report.placement import Box, place_labels

WITHIN = Box(left=0, bottom=0, right=400, top=300)
POINTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), min_size=1, max_size=30)


def box_of(point, size, place):
    (x, y), (width, height), (dx, dy) = point, size, place
    left = x + dx - (0 if dx > 0 else width)
    bottom = y + dy - (0 if dy > 0 else height if dy < 0 else height / 2)
    return Box(left=left, bottom=bottom, right=left + width, top=bottom + height)


@given(points=POINTS)
def test_labels_touch_neither_each_other_nor_a_point_and_stay_within(points):
    sizes = [(60.0, 12.0)] * len(points)
    places = place_labels(points, sizes, WITHIN)
    boxes = [box_of(*z) for z in zip(points, sizes, places, strict=True) if z[2]]
    for i, box in enumerate(boxes):
        assert WITHIN.holds(box)
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.left < x < box.right and box.bottom < y < box.top for x, y in points)


def test_a_lone_point_has_its_label_beside_it():
    ((dx, dy),) = place_labels([(200, 150)], [(60, 12)], WITHIN)
    assert dx > 0
    assert dy == 0


def test_a_line_is_covered_only_where_there_is_no_other_place():
    line = Box(left=200, bottom=148, right=400, top=152)
    ((dx, dy),) = place_labels([(200, 150)], [(60, 12)], WITHIN, soft=[line])
    assert (dx < 0) or dy
    assert place_labels([(200, 150)], [(60, 12)], WITHIN, soft=[WITHIN]) != [None]


def test_what_comes_first_covers_points_rather_than_go_without():
    points = [(200, 150), *((x, y) for x in range(120, 290, 8) for y in range(100, 200, 8))]
    sizes = [(60, 12), *((0, 0) for _ in points[1:])]
    assert place_labels(points, sizes, WITHIN)[0] is None
    assert place_labels(points, sizes, WITHIN, first=[0])[0] is not None


def test_a_label_without_width_is_none():
    assert place_labels([(5, 5)], [(0, 12)], WITHIN) == [None]


@given(points=POINTS)
def test_what_is_written_there_is_never_covered(points):
    sizes = [(60.0, 12.0)] * len(points)
    words = [Box(left=100, bottom=100, right=300, top=200)]
    places = place_labels(points, sizes, WITHIN, words=words, first=[0])
    for place in (z for z in zip(points, sizes, places, strict=True) if z[2]):
        assert not box_of(*place).overlaps(words[0])
