import math
import re

import pytest

from featurestore import FeatureSpec
from models.study import formatting
from models.study.comparison import compare


def test_numbers_are_said_with_the_digits_that_mean_something():
    assert formatting.plus_minus(0.9123, 0.0041) == "0.912 ± 0.004"
    assert formatting.plus_minus(0.9123, math.nan) == "0.912"
    assert [formatting.significant(v) for v in (12345.6, 274, 65.53, 0.05743, 0)] == [
        "12,346", "274", "65.5", "0.0574", "0"
    ]  # fmt: skip
    assert [formatting.percent(v) for v in (0.0031, -0.0031, -1e-9)] == ["+0.31", "−0.31", "+0.00"]
    assert formatting.percent_plus_minus(0.8912, 0.0023) == "89.12 ± 0.23"
    assert formatting.percent_interval((-0.01, 0.02)) == "−1.00 to +2.00"
    assert formatting.interval((0.88, 0.931)) == "0.880 to 0.931"
    assert [formatting.probability(p) for p in (0.0004, 0.0123)] == ["< 0.001", "0.012"]


def test_what_is_not_known_is_a_dash():
    unknown = (math.nan, math.nan)
    for said in (formatting.percent, formatting.significant, formatting.probability):
        assert said(math.nan) == "–"
    assert formatting.interval(unknown) == formatting.percent_interval(unknown) == "–"


@pytest.mark.parametrize(
    ("factor", "said"),
    [(4, "4 times less"), (3.66, "3.7 times less"), (23.7, "24 times less"),
     (1.02, "the same"), (0.5, "2 times more")],
)  # fmt: skip
def test_a_factor_is_said_in_words(factor, said):
    assert formatting.times(factor) == said


def test_a_point_is_described_with_its_numbers_and_verdict(compared):
    spec, runs, roc, pr, cost, verdict = formatting.describe(compared.points[0]).split("\n")
    assert (spec, runs) == ("sr16000-mel48-x10-db", "3 runs")
    assert roc.startswith("ROC AUC 0.8")
    assert pr.startswith("PR AUC 0.")
    assert cost == "0.0114 GMAC, 13.1 kB per clip, 0.200 ms"
    assert verdict.startswith("loss of ROC AUC +")
    assert verdict.endswith(": worse")
    assert formatting.describe(compared.baseline).endswith("the baseline")


def test_names_and_settings_are_what_the_labels_say(make_rows, compared):
    assert formatting.name(compared.baseline) == "96 bands, hop x1"
    assert formatting.settings(compared.baseline) == ""
    specs = [
        FeatureSpec(sr=sr, n_mels=48, log=log) for sr in (12000, 16000) for log in ("db", "log")
    ]
    mixed = compare(make_rows(specs, models=("vgg", "musicnn")))
    assert {formatting.settings(p) for p in mixed.points} == {"vgg", "musicnn"}
    assert {formatting.scaling(p.spec) for p in mixed.points} == {
        "12 kHz, dB", "12 kHz, log", "16 kHz, dB", "16 kHz, log"
    }  # fmt: skip


def test_the_table_reads_as_written(compared):
    lines = compared.lines()
    assert lines[0].startswith("16 kHz, db, float16, vgg, width 0.125")
    head = next(i for i, line in enumerate(lines) if line.startswith("spec"))
    assert lines[head].split("  ")[-1] == "verdict"
    cheapest, dearest = lines[head + 1], lines[head + len(compared.points)]
    assert re.fullmatch(
        r"mel48 x10 +3  0\.8\d+ ± 0\.\d{3} +0\.\d{3}  0\.0114  13\.1 +\+\d\.\d\d  < 0\.001  worse",
        cheapest,
    )
    assert re.fullmatch(r"mel96 x1 .* 0\.229   262 +  baseline", dearest)
    said = " ".join(lines[head + 1 + len(compared.points) :])
    assert said.startswith(f"Take {compared.recommended.label}: ")


def test_a_single_run_has_no_deviation_and_a_note_says_what_that_means(few):
    text = "\n".join(compare([row for row in few if row["seed"] == 0]).lines())
    assert "±" not in text
    assert "a single run says nothing of other runs" in text.replace("\n", " ")


def test_the_table_fits_80_columns_whatever_varies(few, make_rows):
    odd = FeatureSpec(sr=12000, n_mels=128, hop=10, log="log", n_fft=1024, fmin=27.5, fmax=5512.125,
                      window="hann-symmetric")  # fmt: skip
    rows = [*few, *make_rows([odd], models=["musicnn"], width=0.0625, epochs=100)]
    lines = compare(rows).lines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("mel128 x10") for line in lines) == 1
