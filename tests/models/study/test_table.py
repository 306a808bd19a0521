import re

from featurestore import FeatureSpec
from models.study.comparison import compare


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
