import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from featurestore import FeatureSpec
from models.report.page import Figures, facts, headline, render
from models.robustness import compare_conditions
from models.study.comparison import compare
from models.study.formatting import describe


def rendered(rows, *, listen=False):
    comparison = compare(rows)
    return render(rows, comparison, Figures.of(comparison), listen=listen)


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and each element's own text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and data.strip():
            self.texts.append((self.tags[-1][0], data))

    def texts_of(self, tag):
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def html(few, compared):
    return rendered(few)


def test_the_page_asks_for_nothing_from_anywhere(html):
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "video", "audio")
        assert not {"src", "srcset", "style", "onclick"} & attributes.keys()
        href = attributes.get("href", "#")
        assert href.startswith(("#", "data:,")) or re.fullmatch(r"[\w-]+\.(png|svg|html)", href)
    (style,) = page.texts_of("style")
    assert "@import" not in style
    assert "url(" not in style
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (text,) = page.texts_of(tag)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_what_users_wrote_is_inert(few, compared):
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    rows = [
        row
        | {
            "roc_auc_per_tag": {evil: 0.8},
            "device": evil,
            "catalog": evil,
            "versions": {evil: evil},
        }
        for row in few
    ]
    page = Page(rendered(rows))
    plain = Page(rendered(few))
    for tag in ("script", "img"):
        assert [name for name, _ in page.tags].count(tag) == [n for n, _ in plain.tags].count(tag)
    assert evil in page.texts_of("th")
    assert evil in page.texts_of("dd")


def test_the_headline_is_the_recommendation(few, compared, html):
    assert headline(compared) == "Take 48 bands, hop x1: 2 times less to compute and to store"
    assert headline(compared) in Page(html).texts_of("h1")
    own = compare(few, margin=0.0)
    assert headline(own) == "Stay with 96 bands, hop x1"
    assert headline(compare(few[:3])).endswith(": nothing to compare it with yet")


def test_every_point_has_a_row_with_its_numbers_and_verdict(compared, html):
    page = Page(html)
    for point in compared.points:
        assert any(text.strip() == str(point.label) for text in page.texts_of("th"))
        assert f"{point.roc_auc:.3f} ± {point.roc_auc_std:.3f}" in page.texts_of("td")
        assert point.verdict in page.texts_of("td")
    dots = [a for _, a in page.tags if a.get("class") == "dot"]
    assert len(dots) == 2 * (3 + 3) * len(compared.points)  # for wide windows and narrow ones
    assert {a["aria-label"] for a in dots} == {describe(point) for point in compared.points}
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_sections_are_left_out_where_there_is_nothing_to_say(few, html):
    assert 'id="tags"' in html
    assert 'id="published"' not in html
    assert "listen.html" not in html
    changes = {"roc_auc_per_tag": {}, "catalog": "mtat", "n_test": 5329, "n_tags_scored": 50}
    other = rendered([row | changes for row in few], listen=True)
    assert 'id="tags"' not in other
    assert 'id="published"' in other
    assert "MagnaTagATune" in other
    assert "89.12 ± 0.23" in other
    assert other.count(">difference<") == 2
    assert 'href="listen.html"' in other


def test_a_table_that_differs_in_its_split_says_so_and_gives_no_difference(make_rows):
    rows = make_rows([FeatureSpec(sr=16000, n_mels=96, n_fft=1024)], models=("crnn2d",))
    page = rendered(
        [row | {"catalog": "mtat", "n_test": 5329, "n_tags_scored": 50} for row in rows]
    )
    assert "compare the order of the networks, not the values" in page
    assert "91.02" in page
    assert ">difference<" not in page
    assert "width 0.125</small>" in page


def test_a_page_of_clean_clips_is_the_same_whether_rows_say_so_or_not(few, html):
    """Rows of old hold no condition, and their page knows of none."""
    assert rendered([row | {"condition": "clean", "weights": "abc"} for row in few]) == html
    assert "obust" not in Page(html).texts_of("h2") + Page(html).texts_of("a")
    assert 'id="robustness"' not in html


def test_conditions_add_a_section_and_leave_the_others_as_they_are(few, html, with_conditions):
    rows = with_conditions(few, {"gain0": 0.0, "noise0.1": 0.08})
    comparison = compare(rows)
    found = compare_conditions(rows, comparison)
    more = render(rows, comparison, Figures.of(comparison, found), robustness=found)
    section = re.search(r'\n<section id="robustness".*?</section>\n', more, re.DOTALL)[0]
    left = more.replace(section, "").replace(' <a href="#robustness">Robustness</a>', "")
    left = re.sub(r"<div><dt>tested under</dt>.*?</div>", "", left)
    assert left == html
    page = Page(section)
    assert found.sentence in "".join(page.texts_of("p"))
    cells = [text.strip() for text in page.texts_of("td")]
    assert {"worse", "no worse", "baseline"} <= set(cells)
    assert section.count("<tr>") == 1 + len(found.points) + 1 + len(found.losses)
    heat = [a for tag, a in page.tags if tag == "td" and "told" in (a.get("class") or "")]
    heat = [a for a in heat if a["class"].startswith("number ")]
    told = [a for a in heat if " told " in a["class"]]
    assert len(told) == len(found.points)
    assert all("lost-" in a["class"] and "under noise0.1" in a["title"] for a in told)
    assert all("lost-" not in a["class"] for a in heat if " untold " in a["class"])
    ids = [a["id"] for _, a in Page(more).tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert not {"style"} & {key for _, a in page.tags for key in a}


def test_one_run_of_one_point_makes_a_page(few):
    html = rendered(few[:1])
    page = Page(html)
    said = [text for tag, text in page.texts if tag != "script"]
    said += [value for _, attributes in page.tags for value in attributes.values() if value]
    assert not [text for text in said if "nan" in text.lower()]
    assert "· 1 point, 1 training<" in html
    assert "Which tags pay" not in html  # for nothing is coarser


def test_what_was_run_is_told_without_repeating_it(few):
    told = dict(facts(few))
    assert told["seeds"] == "0, 1, 2"
    assert told["version of torch"] == "2.9.0"
    assert told["clips to train / validate / test"] == "120 / 40 / 40"
    assert "folds" not in told
    assert told["bfloat16"] == "no"
    many_seeds = [few[0] | {"seed": seed} for seed in range(30)]
    assert dict(facts(many_seeds))["seeds"].endswith("10, 11, … (30 in all)")


def test_verdicts_are_told_apart_without_colour_and_the_margin_is_drawn(few, html):
    style = next(text for tag, text in Page(html).texts if tag == "style")
    signs = dict(re.findall(r"\.([a-z-]+)::before \{ content: \"(.)\"", style))
    names = ("better", "worse", "no-worse", "not-told", "baseline")
    assert len({signs[name] for name in names}) == len(names)
    texts = Page(html).texts_of("text")
    assert texts.count("margin: 1 % below the baseline") == 6  # three costs, two widths
    assert {"mel48 x10 ▼", "mel48 x1 ✓", "mel96 x1 ○"} <= {text.strip() for text in texts}
    assert "<code>--margin</code>" in html


def test_a_tag_whose_loss_is_shown_is_marked_and_one_of_few_clips_is_not(few):
    def verdicts(n_positive):
        rows = [row | {"n_positive_per_tag": {"slow": n_positive}} for row in few]
        cells = [a for tag, a in Page(rendered(rows)).tags if tag == "td" and "title" in a]
        return {a["title"] for a in cells if "number" in (a["class"] or "")}

    assert verdicts(12) == {"worse", "not told"}
    assert verdicts(9) == {"not told"}
