import matplotlib.image
import numpy as np
import pytest

from featurestore.errors import TrainingError
from featurestore.grid import ferraro2020
from models.report import picture, summarise, table

ROW = {
    "data": "0123456789ab",
    "spec": "sr16000-mel96-x1-db",
    "encoding": "float16",
    "model": "vgg",
    "width": 0.125,
    "recipe": "ferraro2020",
    "augment": "none",
    "seed": 0,
    "fold": None,
    "epochs": 13,
    "batch_size": 32,
    "learning_rate": 0.001,
    "amp": "off",
    "roc_auc": 0.8,
    "pr_auc": 0.5,
    "gmac": 0.2289,
    "parameters": 274000,
    "bytes_per_clip": 262_144.0,
}


def rows_of(spec, aucs, **changes):
    return [
        ROW | {"spec": spec, "seed": seed, "roc_auc": auc, "pr_auc": auc / 2} | changes
        for seed, auc in enumerate(aucs)
    ]


THREE = [
    *rows_of("sr16000-mel96-x1-db", [0.90, 0.92, 0.94]),
    *rows_of("sr16000-mel16-x1-db", [0.81, 0.83], gmac=0.0487, bytes_per_clip=43_700.0),
    *rows_of("sr16000-mel48-x2-db", [0.85], gmac=0.0574, bytes_per_clip=65_500.0),
]


def test_a_line_is_the_mean_and_spread_over_seeds_and_folds():
    folds = [ROW | {"fold": fold, "roc_auc": auc} for fold, auc in ((0, 0.7), (1, 0.9))]
    _, (summary,) = summarise(folds)
    assert summary.n_runs == 2
    assert summary.roc_auc == pytest.approx(0.8)
    assert summary.roc_auc_std == pytest.approx(0.1 * 2**0.5)  # of a sample: n - 1
    assert summary.pr_auc_std == 0


def test_lines_are_sorted_by_cost_and_labelled_by_what_tells_them_apart():
    common, summaries = summarise(THREE)
    assert [s.label for s in summaries] == ["mel16 x1", "mel48 x2", "mel96 x1"]
    expected = "16 kHz, db, float16, vgg, width 0.125, 13 epochs, batches of 32"
    assert common == f"{expected}, learning rate 0.001, amp off"
    assert np.isnan(summaries[1].roc_auc_std)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"encoding": "float32"}, "float32"),
        ({"width": 0.25}, "width 0.25"),
        ({"epochs": 2}, "2 epochs"),
        ({"data": "ba9876543210"}, "data ba9876543210"),
        ({"spec": "sr12000-mel96-x1-db"}, "12 kHz"),
        ({"spec": "sr16000-mel96-x1-log"}, "log"),
    ],
)
def test_runs_that_are_not_alike_are_not_averaged_and_say_why(change, word):
    common, summaries = summarise([*rows_of("sr16000-mel96-x1-db", [0.9]), ROW | change])
    labels = sorted(s.label for s in summaries)
    assert len(labels) == 2
    assert sum(label.endswith(f" {word}") for label in labels) == 1
    assert word not in common


def test_the_table_reads_as_written():
    assert table(THREE).splitlines() == [
        "16 kHz, db, float16, vgg, width 0.125, 13 epochs, batches of 32, learning rate",
        "0.001, amp off",
        "spec      runs        ROC AUC         PR AUC    GMAC  kB/clip",
        "mel16 x1     2  0.820 ± 0.014  0.410 ± 0.007  0.0487     43.7",
        "mel48 x2     1          0.850          0.425  0.0574     65.5",
        "mel96 x1     3  0.920 ± 0.020  0.460 ± 0.010   0.229      262",
    ]


def test_the_table_fits_80_columns_whatever_varies():
    rows = [
        *THREE,
        *rows_of("sr12000-mel128-x10-log-fft1024-fmin27.5-fmax5512.125-symmetric", [0.7, 0.8]),
        *rows_of("sr16000-mel8-hop160-db", [0.1], width=0.0625, model="vgg", epochs=100),
    ]
    lines = table(rows).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("mel128 x10") for line in lines) == 1


def test_the_picture_is_a_png_with_something_in_it_and_nothing_beside_it(tmp_path):
    picture(THREE, tmp_path / "study.png")
    pixels = matplotlib.image.imread(tmp_path / "study.png")
    assert pixels.shape == (768, 1600, 4)
    colours = {tuple((255 * p).round().astype(int)) for p in pixels[::2, ::2, :3].reshape(-1, 3)}
    for marker in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):  # one a band count
        assert marker in colours
    assert [p.name for p in tmp_path.iterdir()] == ["study.png"]


def test_labels_do_not_overlap_each_other_or_a_point(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    draw = Figure.savefig

    def keep(figure, *args, **rest):
        figures.append(figure)
        draw(figure, *args, **rest)

    monkeypatch.setattr(Figure, "savefig", keep)
    rng = np.random.default_rng(0)
    rows = [
        row
        for i, spec in enumerate(ferraro2020())
        for row in rows_of(spec.name, rng.normal(0.8, 0.03, 2), gmac=0.01 + 0.002 * i)
    ]
    picture(rows, tmp_path / "study.png")
    left, _ = figures[0].axes
    boxes = [text.get_window_extent() for text in left.texts]
    assert len(boxes) >= 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    points = left.transData.transform([(s.gmac, s.roc_auc) for s in summarise(rows)[1]])
    assert not any(box.contains(x, y) for box in boxes for x, y in points)


def test_the_picture_of_one_point_is_drawn(tmp_path):
    picture(THREE[-1:], tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 5_000


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="cannot be written: No such file or directory"):
        picture(THREE, tmp_path / "none" / "study.png")


@pytest.mark.parametrize("report", [table, lambda rows: picture(rows, "none.png")])
def test_nothing_to_report_is_an_error(report):
    with pytest.raises(TrainingError, match="there are no results to report; melgrid study"):
        report([])
