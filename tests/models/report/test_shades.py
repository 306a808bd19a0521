import math

import pytest

from models.report.shades import SHARE, STRONGEST, class_of, colour_of, shade_of, words_of


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    dark, light = sorted(luminance(colour) + 0.05 for colour in (a, b))
    return light / dark


def mixed(colour: str, ground: str, share: float) -> str:
    """As CSS's color-mix does."""
    pairs = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def test_losses_are_coloured_by_doublings_and_gains_as_strongly():
    losses = (0.0, math.nan, 0.001, 0.00999, 0.01, 0.02, 0.05, 0.08, 0.16, 0.9, -0.03)
    assert [shade_of(x) for x in losses] == [0, 0, 1, 1, 2, 3, 4, 5, 6, 6, -3]
    assert STRONGEST == 6
    assert [class_of(shade) for shade in (0, 2, -1)] == ["", "lost-2", "won-1"]


@pytest.mark.parametrize(
    ("shade", "words"),
    [(1, "below 1 %"), (2, "1 to 2 %"), (6, "16 % or more"), (-5, "gain 8 to 16 %")],
)
def test_a_shade_is_said_in_words(shade, words):
    assert words_of(shade) == words


def test_words_on_every_shade_are_readable_and_shades_grow_darker():
    shades = [*range(-STRONGEST, 0), *range(1, STRONGEST + 1)]
    for shade in shades:
        assert contrast(colour_of(shade), "#000000") >= 4.5
    for sign in (1, -1):
        seen = [luminance(colour_of(sign * strength)) for strength in range(1, STRONGEST + 1)]
        assert seen == sorted(seen, reverse=True)
        assert len(set(seen)) == STRONGEST


@pytest.mark.parametrize(("ground", "ink"), [("#fdfdfc", "#1c1e21"), ("#16181b", "#e9eaec")])
def test_they_are_on_the_page_too_in_light_and_in_dark(ground, ink):
    for end in ("#d55e00", "#0072b2"):
        for strength in range(1, STRONGEST + 1):
            assert contrast(mixed(end, ground, SHARE * strength), ink) >= 4.5
