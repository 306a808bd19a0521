from featurestore.specs.grid import ferraro2020
from featurestore.specs.kinds import parse_spec
from models.report.marks import MARKS, mark_of, marks_of, marks_of_networks
from models.study.label import SpecWords, words_of


def words(n_bands):
    return SpecWords(kind="mel", family=f"{n_bands} bands", n_bands=n_bands, resolution=(), rest=())


def test_every_number_of_bands_of_the_study_has_colour_and_shape_of_its_own():
    marks = marks_of(words_of(spec) for spec in ferraro2020())
    assert list(marks) == [f"{n} bands" for n in (128, 96, 48, 32, 24, 16, 8)]
    used = [MARKS[i] for i in marks.values()]
    for field in ("light", "dark", "marker"):
        assert len({getattr(mark, field) for mark in used}) == len(marks)


def test_more_bands_than_marks_begin_anew():
    marks = marks_of(map(words, range(1, 10)))
    assert marks["1 bands"] == marks["8 bands"]


def test_a_spec_without_bands_comes_last():
    wave = words_of(parse_spec("sr16000-wave"))
    assert marks_of([wave, words(8)]) == {"8 bands": 0, "sr16000-wave": 1}


def test_every_network_of_many_has_a_mark_of_its_own():
    places = marks_of_networks([*(f"net{i:02}" for i in range(40)), "vgg"])
    assert list(places)[:2] == ["vgg", "net00"]
    found = [mark_of(i) for i in places.values()]
    assert len({(m.light, m.marker, m.hollow) for m in found}) == len(found) == 41
    assert found[:7] == list(MARKS)
    # Grey print has shapes and fillings alone: those of the first fourteen differ.
    assert len({(m.marker, m.hollow) for m in found[:14]}) == 14


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_marks_stand_out_from_a_dark_ground():
    ground = luminance("#16181b") + 0.05
    assert all((luminance(mark.dark) + 0.05) / ground >= 4.5 for mark in MARKS)
