"""The report as a whole, in a real browser where there is one."""

import json
import shutil

import pytest
from click.testing import CliRunner

from cli import melgrid
from featurestore import FeatureSpec
from featurestore.errors import OutputError
from models.report import write_report
from models.report.page import Figures, write_page
from models.robustness import compare_conditions
from models.study.comparison import compare

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


def test_a_page_and_its_figures_are_written_and_written_anew(few, compared, tmp_path):
    folder = tmp_path / "made" / "report"
    written = write_report(few, compared, folder)
    assert written[0].name == "index.html"
    assert sorted(written) == sorted(folder.iterdir())
    assert {path.name for path in written[1:]} == {
        "frontier.png", "frontier.svg", "resolution.png", "resolution.svg"
    }  # fmt: skip
    before = [path.read_bytes() for path in written]
    (folder / "listen.html").write_text("")
    write_report(few, compared, folder)
    assert [path.read_bytes() for path in written[1:]] == before[1:]
    assert 'href="listen.html"' in written[0].read_text()


def test_conditions_have_a_figure_too(few, with_conditions, tmp_path):
    rows = with_conditions(few, {"noise0.1": 0.08})
    comparison = compare(rows)
    written = write_report(rows, comparison, tmp_path, compare_conditions(rows, comparison))
    assert {"robustness.png", "robustness.svg"} < {path.name for path in written}
    drawn = (tmp_path / "robustness.svg").read_text()
    assert "mel96 x1 under noise0.1" in drawn
    assert drawn.count('class="cell"') == 6


def test_a_folder_that_cannot_be_is_an_error(few, compared, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written: .*; name another place"):
        write_report(few, compared, tmp_path / "file")


# Studies of which little is known: a plain sentence each, and no false certainty.

FINE, COARSE = (FeatureSpec(sr=16000, n_mels=n_mels) for n_mels in (96, 48))


def _copies(rows):
    """Seed 0 three times, under other labels."""
    first = [row for row in rows if row["seed"] == 0]
    return [row | {"seed": seed} for row in first for seed in (0, 1, 2)]


def _without_folds(rows):
    """The cheaper spec has been tested on the last fold alone, and the other one on the rest."""
    return [row for row in rows if (row["spec"] == COARSE.name) == (row["fold"] == 2)]


def _two_clips(rows):
    """One with each tag and one without: any draw that can be scored is of both."""
    return [
        row
        | {f"bootstrap_{score}": [row[score]] * 50 for score in ("roc_auc", "pr_auc")}
        | {
            "n_test": 2,
            "n_train": 6,
            "n_positive_per_tag": dict.fromkeys(row["roc_auc_per_tag"], 1),
        }
        for row in rows
    ]


def _one_tag(rows):
    """Of three clips."""
    return [
        row
        | {f"{score}_per_tag": {"slow": row[score]} for score in ("roc_auc", "pr_auc")}
        | {"n_positive_per_tag": {"slow": 3}}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("change", "made", "options", "sentence"),
    [
        (_copies, {}, (), "the runs have the same scores, so that they say nothing of other runs."),
        (list, {"runs": 1}, (), "a single run says nothing of other runs; two runs or more"),
        (_two_clips, {}, (), "too few: whichever are drawn, the scores stay the same."),
        (_one_tag, {}, (), "too few: 3 are all that the tags have with them, or without, and 10"),
        (_without_folds, {"folds": (0, 1, 2)}, (), "no fold was tested at both points."),
        (list, {}, ("--margin", "0"), "runs would tell a loss of 0.17 %."),
    ],
    ids=["seeds alone", "a run", "two clips", "a tag", "missing folds", "no margin"],
)
def test_of_a_study_that_tells_nothing_the_report_says_why(
    make_rows, tmp_path, change, made, options, sentence
):
    rows = change(make_rows([FINE, COARSE], **made))
    results = tmp_path / "results.jsonl"
    results.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    command = ["report", str(results), "-o", str(tmp_path / "report"), *options]
    written = CliRunner().invoke(melgrid, command)
    assert written.exit_code == 0, written.output
    said = " ".join(written.stdout.split())
    assert "Not told of mel48 x1: " in said
    assert sentence in said
    assert "Take mel96 x1: it has the best ROC AUC" in said
    page = " ".join((tmp_path / "report/index.html").read_text(encoding="utf-8").split())
    assert sentence in page
    told = json.loads(CliRunner().invoke(melgrid, [*command, "--json"]).stdout)
    assert [point["verdict"] for point in told["points"]] == ["not told", "baseline"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(few, many, tmp_path_factory, with_conditions):
    """Addresses of pages of few points, without and with conditions, and of the study's grid."""
    losses = {"gain0": 0.0, "stretch0.707": 0.03, "lowpass1000~mp3-64": 0.08}
    addresses = {}
    for name, rows in (
        ("few", few),
        ("conditions", with_conditions(few, losses)),
        ("many", many),
    ):
        folder, comparison = tmp_path_factory.mktemp(name), compare(rows)
        found = compare_conditions(rows, comparison)
        figures = Figures.of(comparison, found)
        addresses[name] = write_page(rows, comparison, figures, folder, found).as_uri()
    return addresses


@pytest.fixture(params=WIDTHS)
def size(request, browser):
    width, height = WIDTHS[request.param]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", metrics | {"mobile": request.param == "phone"}
    )
    for log in ("browser", "performance"):
        browser.get_log(log)  # what was before
    return width


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def assert_clean(browser, address, width):
    """No word on the console, no request but for the page, nothing wider than the window."""
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    # The browser's own first tab may still be loading.
    asked = {r["request"]["url"] for r in requests if not r["documentURL"].startswith("chrome:")}
    assert asked - {"data:,"} == {address}
    wide = "const e = document.documentElement; return [e.scrollWidth - e.clientWidth, innerWidth]"
    assert browser.execute_script(wide) == [0, width]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["few", "conditions", "many"])
def test_the_page_fits_its_window_in_silence_and_asks_the_network_for_nothing(
    browser, pages, size, name
):
    browser.get(pages[name])
    assert find(browser, "h1")[0].text.startswith("Take ")
    assert_clean(browser, pages[name], size)


@pytest.mark.slow
def test_a_click_on_a_heading_sorts_and_another_turns_the_order_round(
    browser, pages, size, compared
):
    browser.get(pages["few"])
    head = find(browser, "#points-table thead th")[2]
    assert head.text == "ROC AUC"

    def column():
        return [cell.text.split(" ±")[0] for cell in find(browser, "#points-table td:nth-child(3)")]

    by_score = sorted(f"{point.roc_auc:.3f}" for point in compared.points)
    head.find_element("tag name", "button").click()
    assert (head.get_attribute("aria-sort"), column()) == ("ascending", by_score)
    head.find_element("tag name", "button").click()
    assert (head.get_attribute("aria-sort"), column()) == ("descending", by_score[::-1])
    # What is not known stands last, either way: the baseline has no p.
    button = find(browser, "#points-table thead th")[6].find_element("tag name", "button")
    for _ in range(2):
        button.click()
        assert find(browser, "#points-table tbody tr")[-1].get_attribute("class") == "base"
    assert_clean(browser, pages["few"], size)


@pytest.mark.slow
def test_a_point_says_its_numbers_to_the_pointer_and_to_the_keyboard(
    browser, pages, size, compared
):
    from selenium.webdriver import ActionChains, Keys

    browser.get(pages["few"])
    (tip,) = find(browser, "#tip")
    assert not tip.is_displayed()
    dots = [d for d in find(browser, "#chart-gmac .dot") if d.is_displayed()]
    cheapest, second = compared.points[:2]
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", dots[0]
    )
    ActionChains(browser).move_to_element(dots[0].find_element("css selector", ".hit")).perform()
    assert tip.is_displayed()
    assert tip.text.startswith(cheapest.spec.name)
    assert f"ROC AUC {cheapest.roc_auc:.3f}" in tip.text
    box = tip.rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size
    ActionChains(browser).move_to_element(find(browser, "h2")[0]).perform()
    assert not tip.is_displayed()

    browser.execute_script("arguments[0].focus()", dots[0])
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert tip.text.startswith(second.spec.name)
    assert browser.switch_to.active_element == dots[1]
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not tip.is_displayed()
    assert_clean(browser, pages["few"], size)


@pytest.mark.slow
def test_the_heat_map_is_sorted_by_a_condition_and_its_shades_show(browser, pages, size):
    browser.get(pages["conditions"])
    table = find(browser, "#heat-table")[0]
    assert len(find(browser, "#heat-table tbody tr")) == 6
    assert len(find(browser, "#robustness-table tbody tr")) == 18
    told, untold = (find(browser, f"#heat-table td.{word}") for word in ("told", "untold"))
    assert len(told) == 12  # of the harsher two conditions

    def colours(cells):
        return {cell.value_of_css_property("background-color") for cell in cells}

    assert len(colours(told)) > 1
    assert not colours(told) & colours(untold)
    button = table.find_elements("css selector", "thead button")[-1]
    browser.execute_script("arguments[0].click()", button)
    values = [
        float(cell.get_attribute("data-value"))
        for cell in find(browser, "#heat-table td:last-child")
    ]
    assert values == sorted(values)
    assert_clean(browser, pages["conditions"], size)


@pytest.mark.slow
def test_the_axis_is_switched_with_pointer_and_keyboard(browser, pages, size):
    from selenium.webdriver import ActionChains, Keys

    browser.get(pages["few"])

    def shown():
        return [c.get_attribute("id") for c in find(browser, ".chart") if c.is_displayed()]

    assert shown() == ["chart-gmac"]
    find(browser, "label[for=cost-bytes]")[0].click()
    assert shown() == ["chart-bytes"]
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert shown() == ["chart-seconds"]
    assert_clean(browser, pages["few"], size)


@pytest.mark.slow
def test_words_leave_the_rows_that_hold_them_all(browser, pages, size):
    browser.get(pages["many"])
    find(browser, "input[type=search]")[0].send_keys("mel48 12 KHZ x10")
    left = [row.text for row in find(browser, "#points-table tbody tr") if row.is_displayed()]
    assert len(left) == 4  # two laws, two networks
    assert all(row.startswith("mel48 x10 12 kHz") for row in left)
    assert_clean(browser, pages["many"], size)


@pytest.mark.slow
def test_a_tag_that_is_a_script_is_not_run(browser, pages, size):
    browser.get(pages["few"])
    assert any("<script>alert(1)</script>" in th.text for th in find(browser, "#tags-table th"))
    assert len(find(browser, "script")) == 1
