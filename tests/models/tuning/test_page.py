import dataclasses
import math
import re

import pytest

from models.tuning.outcome import TrialOutcome, Tuning
from models.tuning.page import history, importance, render, settings, write_page
from models.tuning.space import Space

SPACES = (
    Space.parse("learning_rate=log:1e-4:1e-1"),
    Space.parse("recipe=modern,<script>alert(1)</script>"),
    Space.parse("epochs=int:2:9"),
)


def trial(number, value, state="complete", **changes):
    fields = {
        "number": number, "state": state, "value": value, "epochs": (0.1, value), "reason": "",
        "seconds": 1.0, "test": {"accuracy": 0.5},
        "settings": {"learning_rate": 10.0 ** (-1 - number), "epochs": 2 + number,
                     "recipe": SPACES[1].choices[number % 2]},
    }  # fmt: skip
    return TrialOutcome(**fields | changes)


@pytest.fixture
def tuning(tmp_path):
    trials = (
        trial(0, 0.5),
        trial(1, 0.7),
        trial(2, 0.6, "pruned", reason="given up after epoch 2, at 0.6000"),
        trial(3, math.nan, "running", epochs=()),
    )
    return Tuning(
        path=str(tmp_path / "tune.jsonl"), metric="accuracy", maximise=True, total=4,
        spaces=SPACES, trials=trials, importance={"epochs": 0.9, "learning_rate": 0.1},
    )  # fmt: skip


def test_the_history_has_a_dot_for_each_trial_with_a_score_and_the_best_until_then(tuning):
    (panel,) = history(tuning).rows[0]
    assert [(dot.x, dot.y, dot.hollow) for dot in panel.dots] == [
        (0, 0.5, False),
        (1, 0.7, False),
        (2, 0.6, True),
    ]
    assert [dot.recommended for dot in panel.dots] == [False, True, False]
    assert panel.lines[0].points[-1] == (2, 0.7)
    assert "given up after epoch 2" in panel.dots[2].tip
    smaller = dataclasses.replace(tuning, maximise=False)
    assert history(smaller).rows[0][0].lines[0].points[-1] == (2, 0.5)


def test_settings_are_drawn_by_what_matters_and_importance_only_where_it_is_known(tuning):
    titles = [panel.x.title for row in settings(tuning).rows for panel in row]
    assert titles == ["epochs", "learning_rate", "recipe"]
    assert settings(tuning).rows[0][1].x.log
    assert [name for _, name in importance(tuning)[0].rows[0][0].y.ticks] == [
        "learning_rate",
        "epochs",
    ]
    assert importance(dataclasses.replace(tuning, importance={})) == ()


def test_the_page_runs_nothing_but_its_own_script_and_loads_nothing(tuning):
    text = render(tuning)
    assert "<script>alert(1)" not in text
    assert len(re.findall("<script>", text)) == 1
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert text.count("<tr") == 1 + len(tuning.trials)


def test_a_page_and_a_picture_lie_beside_the_file(tuning, tmp_path):
    found = write_page(tuning)
    assert found.page == str(tmp_path / "tune.html")
    assert (tmp_path / "tune.png").read_bytes().startswith(b"\x89PNG")
    assert found.lines()[-1] == f"page in {found.page}"


def test_a_single_trial_has_a_page_too(tuning):
    one = dataclasses.replace(tuning, trials=tuning.trials[:1], importance={})
    assert "accuracy 0.5000" in render(one)
