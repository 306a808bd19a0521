import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SettingsError
from featurestore.format.division import Division, numbers_in, spans_of

DIVISIONS = st.builds(
    Division, clips_per_shard=st.integers(1, 300), shards_per_part=st.integers(1, 50)
)


@pytest.mark.parametrize("field", ["clips_per_shard", "shards_per_part"])
@pytest.mark.parametrize("value", [0, -1, True, 8.0, "8", 2**17])
def test_a_length_that_is_invalid_is_refused(field, value):
    with pytest.raises(SettingsError, match=f"{field} is .*; it must be a whole number from 1"):
        Division(**{"clips_per_shard": 8, "shards_per_part": 8, field: value})


@pytest.mark.parametrize("length", [1, 8, 100, 256, 2**16])
def test_a_part_is_as_many_shards_as_fit_in_65536_rows(length):
    division = Division.of(length)
    assert 2**16 - length < division.rows_per_part <= 2**16


@given(DIVISIONS, st.integers(0, 5000))
def test_parts_have_every_shard_and_row_once(division, n_clips):
    parts = range(division.n_parts(n_clips))
    shards = [shard for part in parts for shard in division.shards_of(part, n_clips)]
    rows = [row for part in parts for row in range(n_clips)[division.rows_of(part, n_clips)]]
    assert shards == list(range(division.n_shards(n_clips)))
    assert rows == list(range(n_clips))


def test_numbers_are_kept_as_spans():
    spans = spans_of([0, 1, 2, 5, 7, 8])
    assert spans == [[0, 3], [5, 6], [7, 9]]
    assert numbers_in(spans) == {0, 1, 2, 5, 7, 8}
    assert spans_of([]) == []
