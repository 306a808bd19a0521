import pytest

from featurestore import result


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1190, "1.19 kB"), (2.5e9, "2.5 GB"),
     (4e15, "4e+03 TB")],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(nbytes, text):
    assert result.size(nbytes) == text


def test_counts_have_a_plural():
    counts = [result.count(n, "row") for n in (0, 1, 2000)]
    assert counts == ["0 rows", "1 row", "2,000 rows"]


def test_a_table_aligns_text_to_the_left_and_numbers_to_the_right():
    rows = [{"spec": "a", "clips": 3, "s": 0.12345}, {"spec": "longer", "clips": 4321, "s": 250.0}]
    assert result.table(rows) == [
        "spec    clips      s",
        "a           3  0.123",
        "longer  4,321  250.0",
    ]


def test_sentences_are_wrapped_under_an_indent_and_keep_what_is_to_be_escaped():
    lines = result.wrapped("name\nof a file " * 10)
    assert len(lines) > 1
    assert max(map(len, lines)) <= result.WIDTH
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[0].startswith("name\nof a file name\nof")


def test_a_long_list_ends_with_how_many_are_left_out():
    lines = result.listed(str(n) for n in range(23))
    assert lines[-2:] == ["19", "… and 3 more; --json lists all"]


def test_a_fact_without_a_value_is_a_dash():
    assert [result.fact("folds", value) for value in (None, "", [], 0)] == [
        [f"{'folds':<17}-"], [f"{'folds':<17}-"], [f"{'folds':<17}-"], [f"{'folds':<17}0"],
    ]  # fmt: skip
