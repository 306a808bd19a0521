"""A tiny folder of every data set, in the format that the data set really has."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalogs.data_sets import msd, mtat

SHARED = Path(__file__).parents[4] / "shared" / "data"


def make_mtat(folder: Path) -> None:
    names = ["clip_id", *reversed(mtat.TOP50), "lol", "mp3_path"]
    clips = {
        "2": ("f/b-1.mp3", "guitar"),
        "6": ("0/a-1.mp3", "choral"),
        "7": ("c/NA-1.mp3", "lol"),
        "8": (mtat.KNOWN_BAD[0], "guitar"),
        "9": (mtat.CLEAN_LACKS[0], "guitar"),
    }
    rows = [names]
    for clip_id, (path, tag) in clips.items():
        rows.append([clip_id, *(str(int(name == tag)) for name in names[1:-1]), path])
    info = [
        ["clip_id", "title", "artist", "album", "mp3_path"],
        ["3", "none", "Nobody", "Not listed", ""],
        ["6", "1", "A", 'The "A" album', "0/a-1.mp3"],
        ["2", "1", "B", "B's", "f/b-1.mp3"],
        ["7", "1", "NA", "null", "c/NA-1.mp3"],
        ["8", "8", "C", "", mtat.KNOWN_BAD[0]],
        ["9", "9", "D", "", mtat.CLEAN_LACKS[0]],
    ]
    (folder / "annotations_final.csv").write_bytes(_quoted_tsv(rows))
    (folder / "clip_info_final.csv.gz").write_bytes(gzip.compress(_quoted_tsv(info)))


def _quoted_tsv(rows: list[list[str]]) -> bytes:
    quoted = (['"' + field.replace('"', '""') + '"' for field in row] for row in rows)
    return "".join("\t".join(row) + "\r\n" for row in quoted).encode()


def make_jamendo(folder: Path) -> None:
    header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\r\n"
    rows = {
        "train": "track_0000002\tartist_01\talbum_1\t02/2.mp3\t9.1\tgenre---rock\tmood/theme---sad",
        "validation": "track_0000003\tartist_02\talbum_2\t03/3.mp3\t30.2\tgenre---jazz",
        "test": "track_0000104\tartist_03\talbum_3\t04/104.mp3\t240.0\tgenre---rock\tgenre---jazz",
    }
    for split, row in rows.items():
        (folder / f"autotagging_top50tags-{split}.tsv").write_bytes(f"{header}{row}\r\n".encode())


def make_gtzan(folder: Path) -> None:
    (folder / "train_filtered.txt").write_text("blues/blues.00029.wav\nrock/rock.00001.wav\n")
    (folder / "valid_filtered.txt").write_text("blues/blues.00000.wav\n")
    (folder / "test_filtered.txt").write_text("jazz/jazz.00012.wav\n")
    for name in ("blues.00000.wav", "blues.00000.au", "blues.00001.wav", "rock.00001.au"):
        genre = folder / name.split(".")[0]
        genre.mkdir(exist_ok=True)
        (genre / name).touch()
    (folder / "blues" / "cover.wav").touch()


def make_msd(folder: Path) -> None:
    for number, stem in enumerate(("train", "valid", "test")):
        (folder / f"{stem}_x_msd_id.txt").write_text(f"TRAA{number}\nTRAB{number}\n")
        (folder / f"{stem}_x_filename.txt").write_text(
            f"1/{number}/1{number}.npy\n2/2/2{number}.mp3"
        )
        labels = np.zeros((2, len(msd.TAGS)), np.int64)
        labels[0, number] = 1
        np.save(folder / f"{stem}_y.npy", labels)


def make_fma(folder: Path) -> None:
    (folder / "fma_metadata").mkdir()
    (folder / "fma_metadata" / "tracks.csv").write_text(
        ",album,album,artist,artist,set,set,track,track\n"
        ",id,title,id,name,split,subset,genre_top,title\n"
        "track_id,,,,,,,,\n"
        '2,1,"An album, in\ntwo lines",10,A,training,small,Hip-Hop,Food\n'
        "140,2,B,20,B,validation,small,Folk,NA\n"
        "99134,3,C,30,C,training,small,Hip-Hop,no audio in the excerpt\n"
        "1023,4,D,40,D,test,medium,Rock,D\n"
        "123456,5,E,50,E,test,large,,E\n"
    )


MAKERS: dict[str, Callable[[Path], None]] = {
    "fma": make_fma,
    "gtzan": make_gtzan,
    "jamendo": make_jamendo,
    "msd": make_msd,
    "mtat": make_mtat,
}


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], str]:
    """Make the sample of a data set, and give its folder."""

    def make(data_set: str) -> str:
        MAKERS[data_set](tmp_path)
        return str(tmp_path)

    return make


@pytest.fixture
def shared() -> Path:
    """The folder of real data, which only some machines have."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no {SHARED}")
    return SHARED
