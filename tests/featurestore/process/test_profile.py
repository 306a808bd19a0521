import dataclasses
import json

import numpy as np
import pytest
from matplotlib.image import imread

from featurestore.errors import OutputError
from featurestore.process.profile import Profile, StageCost, picture

PROFILE = Profile(
    work="sr16000-mel96-x1-db, vgg",
    settings={"width": 0.125, "batch_size": 32, "device": "cpu"},
    round="batch",
    n_rounds=4,
    n_clips=100,
    audio_seconds=2910.0,
    stages=(
        StageCost(stage="wait for data", seconds=0.25, nbytes=5_600_000),
        StageCost(stage="forward", seconds=1.5, nbytes=1_234_500_000),
        StageCost(stage="other", seconds=0.25, nbytes=None),
    ),
    peak_nbytes=625_000_000,
)


def test_the_table_says_time_share_and_memory_of_each_stage():
    assert PROFILE.lines() == [
        "sr16000-mel96-x1-db, vgg, width 0.125, batch size 32, device cpu: 4 batches",
        "stage           ms per batch    share   at most [MB]",
        "wait for data          62.50    12.5%            5.6",
        "forward               375.00    75.0%        1,234.5",
        "other                  62.50    12.5%",
        "total                 500.00   100.0%",
        "50 clips/s, 1,455 times faster than real time; at most 625 MB of memory",
    ]


def test_the_table_fits_80_columns_whatever_the_settings():
    long = dataclasses.replace(PROFILE, settings={f"setting_{n}": "x" * 12 for n in range(9)})
    assert max(map(len, long.lines())) <= 80


def test_a_single_round_is_no_several():
    clip = dataclasses.replace(PROFILE, round="clip", n_rounds=1)
    assert clip.lines()[0].endswith(": 1 clip")
    assert "ms per clip" in clip.lines()[1]


def test_json_holds_all_of_it():
    told = json.loads(json.dumps(PROFILE.json()))
    assert (told["work"], told["width"], told["batches"], told["clips"]) == (
        "sr16000-mel96-x1-db, vgg", 0.125, 4, 100,
    )  # fmt: skip
    assert (told["seconds"], told["clips_per_second"], told["times_real_time"]) == (2, 50, 1455)
    assert (told["peak_bytes"], told["device_peak_bytes"]) == (625_000_000, None)
    assert told["stages"][0] == {
        "stage": "wait for data", "seconds": 0.25, "share": 0.125, "bytes": 5_600_000,
    }  # fmt: skip


def test_a_gpus_memory_is_told_beside_the_process():
    both = dataclasses.replace(PROFILE, device_peak_nbytes=2_000_000_000)
    assert "\n".join(both.lines()).endswith("at most 625 MB of memory and\n2,000 MB of the GPU's")


def test_the_picture_grows_by_a_bar_a_profile(tmp_path):
    picture([PROFILE], tmp_path / "one.png")
    picture([PROFILE, PROFILE], tmp_path / "two.png")
    one, two = imread(tmp_path / "one.png"), imread(tmp_path / "two.png")
    assert one.shape[0] < two.shape[0]
    assert one[..., :3].std() > 0.1, "something is drawn"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_the_picture_tells_stages_apart_in_grey(tmp_path):
    picture([PROFILE], tmp_path / "grey.png")
    grey = imread(tmp_path / "grey.png")[..., :3].mean(axis=2)
    values, counts = np.unique(grey.round(2), return_counts=True)
    shades = values[counts > 0.004 * grey.size]
    assert len(shades) >= 1 + len(PROFILE.stages)  # and the paper


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"missing.+: No such file.+name another place"):
        picture([PROFILE], tmp_path / "missing" / "profile.png")
