"""Labels, splits and metadata change with the table, by the real `featurize`; values stay."""

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import zarr
from click.testing import CliRunner

from cli import melgrid
from featurestore import FeatureStore
from featurestore.inspect.info import describe

SR = 8000
NAMES = [f"{number:02}.wav" for number in range(9)]

FIRST = "path,split,genre,tags,title,year\n" + "".join(
    f"{name},train,{'rock' if row % 2 else 'jazz'},live|{'loud' if row % 3 else 'quiet'},"
    f"Title {row},{1990 + row}\n"
    for row, name in enumerate(NAMES)
)
OPTIONS = ("--label", "genre", "--tags", "tags", "--meta", "title,year")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        soundfile.write(folder / name, rng.uniform(-0.5, 0.5, SR).astype(np.float32), SR)
    return folder


@pytest.fixture
def featurize(tmp_path, music, scheduler):
    """Write a table, featurize it, and give what was said and the store."""

    def featurize(table, *options, name="t.csv", code=0):
        (music / name).write_text(table)
        result = CliRunner().invoke(
            melgrid,
            ["featurize", str(music / name), "-o", str(tmp_path / "s.zarr"), "--sr", str(SR),
             "--mels", "16,8", "--duration", "1", "--scheduler", scheduler, "--json", *options],
        )  # fmt: skip
        assert result.exit_code == code, result.output
        said = json.loads(result.stdout) if code == 0 else result.output
        return said, FeatureStore.open(tmp_path / "s.zarr")

    return featurize


def values_of(store):
    """Checksums of all files of values and commits, and when they were written."""
    return {
        str(path): (zlib.crc32(path.read_bytes()), path.stat().st_mtime_ns)
        for path in Path(store.path).rglob("*")
        if path.is_file() and ("/c/" in str(path)) and not {"clips", "parts"} & set(path.parts)
    }


def test_labels_splits_and_metadata_change_and_nothing_is_decoded_again(featurize):
    said, store = featurize(FIRST, *OPTIONS)
    assert (said["ready"], said["computed"]) == (9, 9)
    assert store.tags == ["jazz", "live", "loud", "quiet", "rock"]
    clips = store.clips
    assert list(clips["rock"]) == [0, 1] * 4 + [0]
    assert list(clips["year"]) == list(range(1990, 1999))
    assert clips["year"].dtype == np.int64
    assert list(clips["title"]) == [f"Title {row}" for row in range(9)]
    before = values_of(store)

    # Other labels, new ones among them and fewer; other splits; folds; a year less.
    changed = FIRST.replace("jazz", "blues").replace("train", "test", 3).replace(",1990", ",")
    changed = changed.replace("path,", "path,fold,fast,").replace(".wav,", ".wav,1,yes,")
    said, store = featurize(changed, *OPTIONS)
    assert (said["ready"], said["computed"]) == (9, 0)
    assert store.tags == ["fast", "blues", "live", "loud", "quiet", "rock"]
    assert list(store.clips["split"]) == ["test"] * 3 + ["train"] * 6
    assert list(store.clips["blues"]) == [1, 0] * 4 + [1]
    assert (store.clips[["fast", "fold"]] == 1).all(axis=None)
    assert store.clips["year"].dtype == np.float64
    np.testing.assert_array_equal(store.clips["year"], [np.nan, *range(1991, 1999)])
    assert values_of(store) == before

    # Label columns and metadata vanish.
    said, store = featurize("path,calm\n" + "".join(f"./{name},0\n" for name in NAMES))
    assert (said["ready"], said["computed"], store.tags) == (9, 0, ["calm"])
    assert not {"year", "title"} & set(store.clips)
    assert not (Path(store.path) / "clips" / "year").exists()
    assert values_of(store) == before

    # And come back, from another kind of file.
    rows = pd.DataFrame({"path": NAMES, "genre": "rock", "tags": [["live"]] * 9, "title": "x",
                         "year": 2000})  # fmt: skip
    said, store = featurize(rows.to_json(orient="records", lines=True), *OPTIONS, name="t.jsonl")
    assert (said["ready"], said["computed"], store.tags) == (9, 0, ["live", "rock"])
    assert set(store.clips["year"]) == {2000}
    assert values_of(store) == before
    assert store.verify().is_healthy


def test_running_again_with_the_same_table_changes_no_byte(featurize, tmp_path):
    def contents():
        return {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in (tmp_path / "s.zarr").rglob("*")
            if path.is_file()
        }

    featurize(FIRST, *OPTIONS)
    before = contents()
    said, _ = featurize(FIRST, *OPTIONS)
    assert said["computed"] == 0
    assert contents() == before


def test_rows_that_leave_and_come_keep_or_get_their_metadata(featurize):
    lines = FIRST.splitlines(keepends=True)
    said, store = featurize("".join(lines[:6]), *OPTIONS)
    assert (said["clips"], said["computed"]) == (5, 5)
    said, store = featurize(lines[0] + "".join(lines[3:]), *OPTIONS)  # two leave, four come
    assert (said["left"], said["computed"]) == (2, 4)
    assert list(store.clips["year"]) == list(range(1990, 1999))
    assert list(store.clips["title"]) == [f"Title {row}" for row in range(9)]
    said, store = featurize(lines[0] + "".join(lines[3:]), *OPTIONS, "--prune")
    assert (said["left"], said["computed"]) == (0, 0)
    assert list(store.clips["active"]) == [0, 0] + [1] * 7
    assert list(store.clips["year"]) == list(range(1990, 1999))


def test_consecutive_clips_of_a_track_all_have_its_metadata(featurize, music, rng):
    soundfile.write(music / NAMES[0], rng.uniform(-0.5, 0.5, 3 * SR).astype(np.float32), SR)
    _, store = featurize(FIRST, *OPTIONS, "--take", "all")
    clips = store.clips
    assert (clips["path"] == NAMES[0]).sum() > (clips["path"] == NAMES[1]).sum() >= 1
    track = clips["path"].map(NAMES.index)
    assert list(clips["year"]) == list(1990 + track)
    assert list(clips["title"]) == [f"Title {number}" for number in track]


def test_metadata_are_seen_by_zarr_xarray_diff_gc_and_export(featurize, tmp_path):
    import h5py
    import xarray

    _, store = featurize(FIRST, *OPTIONS)
    group = zarr.open_group(store.path, mode="r")["clips"]
    assert list(group["title"][...]) == [f"Title {row}" for row in range(9)]
    clips = xarray.open_zarr(store.path, group="clips", consolidated=False, chunks=None)
    assert clips["year"].dims == ("clip",)
    assert clips["year"].values.tolist() == list(range(1990, 1999))

    def invoke(*words):
        result = CliRunner().invoke(melgrid, [str(word) for word in words])
        assert result.exit_code in (0, 1), result.output
        return result.stdout

    assert "year" not in invoke("gc", store.path)  # it is not foreign
    invoke("export", store.path, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["clips/title"].asstr()[:].tolist() == list(store.clips["title"])
        assert file["clips/year"][:].tolist() == list(range(1990, 1999))
    invoke("export", store.path, tmp_path / "maps", "--format", "memmap")
    assert list(pd.read_csv(tmp_path / "maps" / "clips.csv")["year"]) == list(range(1990, 1999))
    invoke("export", store.path, tmp_path / "npz", "--format", "npz")
    invoke("import", tmp_path / "npz", "-o", tmp_path / "back.zarr")
    back = FeatureStore.open(tmp_path / "back.zarr")
    for name in ("year", "title", "rock"):
        assert list(back.clips[name]) == list(store.clips[name])
    columns = json.loads(invoke("diff", store.path, back.path, "--json"))["columns"]
    assert not {"year", "title"} & set(columns)
    frame = pd.read_csv(io.StringIO(FIRST.replace(",1990", ",1890"))).drop(columns="title")
    table = frame.to_csv(index=False)
    _, changed = featurize(table, "--label", "genre", "--tags", "tags", "--meta", "year,genre")
    columns = json.loads(invoke("diff", changed.path, back.path, "--json"))["columns"]
    assert {name: columns[name] for name in ("year", "title", "genre")} == {
        "year": 1, "title": 9, "genre": 9,
    }  # fmt: skip


def test_metadata_of_a_column_that_is_not_there_are_refused_before_anything_is_written(
    featurize, tmp_path, music
):
    (music / "t.csv").write_text(FIRST)
    result = CliRunner().invoke(
        melgrid, ["featurize", str(music / "t.csv"), "-o", str(tmp_path / "n.zarr")]
    )
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    assert "t.csv:2: 'genre' is 'jazz'; " in result.output
    assert "--meta genre,tags,title,year, " in result.output
    assert not (tmp_path / "n.zarr").exists()


def test_tables_elsewhere_and_columns_called_otherwise_are_read_by_the_options(music, tmp_path):
    (tmp_path / "t.csv").write_text("Datei;x\n" + "".join(f"{music}/{name};1\n" for name in NAMES))
    words = ["featurize", "--dry-run", "--json", "--duration", "1", str(tmp_path / "t.csv")]
    options = ["--path-column", "Datei", "--root", str(music)]
    result = CliRunner().invoke(melgrid, [*words, *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["clips"] == 9
    result = CliRunner().invoke(melgrid, [*words, *options[:2]])
    assert result.exit_code == 0, "the music is below the table's own folder too"
    for wrong, message in (
        (options[2:], "no column 'path' (columns, separated by ';': 'Datei', 'x'); say which"),
        (["--path-column", "x", "--meta", "x"], "'x' is named in meta and has the paths"),
        ([*options[:2], "--root", str(tmp_path / "no")], "if a table's paths are below another f"),
        ([*options[:2], "--tags", ""], "tags names the column ''"),
    ):
        result = CliRunner().invoke(melgrid, [*words, *wrong])
        assert (result.exit_code, len(result.output.splitlines())) == (2, 1)
        assert message in result.output
    result = CliRunner().invoke(melgrid, ["featurize", str(music), "--label", "x"])
    assert result.exit_code == 2
    assert "--label: that is for a table of tracks, and" in result.output


def test_what_a_folder_passes_over_is_told_and_is_in_the_json(featurize, music, tmp_path):
    (music / "notes.txt").touch()
    (music / "more.zip").touch()
    words = ["featurize", str(music), "--dry-run", "--sr", str(SR), "--duration", "1"]
    result = CliRunner().invoke(melgrid, words)
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "passed over: 1 .txt, 1 .zip (what is in archives is not listed: unpack them)\n"
    )
    result = CliRunner().invoke(melgrid, [*words, "--json"])
    assert result.stderr == ""
    told = json.loads(result.stdout)
    assert (told["clips"], told["passed_over"]) == (9, {".txt": 1, ".zip": 1})
    said, _ = featurize(FIRST, *OPTIONS)
    assert said["passed_over"] == {}


def test_drawn_splits_are_kept_by_later_runs_and_by_the_store(featurize, music):
    table = "path,genre\n" + "".join(f"{n},{'rj'[i % 2]}\n" for i, n in enumerate(NAMES))
    how = ("--label", "genre")
    _, store = featurize(table, *how, "--split", "4:1:4", "--split-seed", "3")
    split = store.clips["split"].tolist()
    assert store.table.drawn == "4:1:4 seed 3"
    assert sorted(split) == ["test"] * 4 + ["train"] * 4 + ["validation"]
    before = values_of(store)
    _, store = featurize(table, *how)
    assert (store.clips["split"].tolist(), store.table.drawn) == (split, "4:1:4 seed 3")
    assert describe(store).drawn == "4:1:4 seed 3"
    _, store = featurize(table, *how, "--split", "4:1:4", "--split-seed", "4")
    assert store.clips["split"].tolist() != split
    assert values_of(store) == before
    own = "path,split\n" + "".join(f"{name},train\n" for name in NAMES)
    _, store = featurize(own)
    assert (set(store.clips["split"]), store.table.drawn) == ({"train"}, "")
    said, _ = featurize(own, "--split", "8:1:1", code=2)
    assert "t has splits of its own" in said
    said, _ = featurize(table, *how, "--split-seed", "1", code=2)
    assert "--split-seed is of --split" in said
