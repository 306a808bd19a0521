import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from featurestore import FeatureSpec, FeatureStore
from featurestore.format.commits import ClipRecord, Commit, write_commit
from featurestore.format.division import Division
from featurestore.format.layout import Layout
from featurestore.format.statistics import statistics_of
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import ferraro2020
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from featurestore.writer import StoreWriter, write_shard
from models.study.comparison import Comparison, compare
from models.study.results import Row

DRAWN = {"augmentation": "pitch-5:5 p0.5", "seed": "0"}
"""What layouts of random draws say."""

WriteStore = Callable[..., FeatureStore]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # tiny networks are slower on more, and CI has few


@pytest.fixture
def write_store(tmp_path: Path, make_store) -> WriteStore:
    """Write values into a real store of one shard, without audio; a new one at each call."""
    numbers = itertools.count()

    def write(
        values: Mapping[FeatureSpec, np.ndarray],
        *,
        tags: Mapping[str, Sequence[int]],
        split: Sequence[str] | None = None,
        fold: Sequence[int] | None = None,
        artist: Sequence[str] | None = None,
        failed: Sequence[int] = (),
        lacking: Mapping[FeatureSpec, Sequence[int]] = MappingProxyType({}),
        n_valid: Sequence[int] | None = None,
        sr: int = 16000,
        encoding: Encoding = Encoding(),
    ) -> FeatureStore:
        n_clips = len(next(iter(values.values())))
        ids = [f"clip {i}" for i in range(n_clips)]
        table = dataclasses.replace(
            make_store.table(ids, tags),
            split=[""] * n_clips if split is None else split,
            artist=[""] * n_clips if artist is None else artist,
            fold=np.full(n_clips, -1, np.int16) if fold is None else np.array(fold, np.int16),
            tile=np.zeros(n_clips, np.int32),
            active=np.ones(n_clips, np.bool_),
            labels=np.array(list(tags.values()), np.uint8).reshape(len(tags), n_clips).T,
        )
        layouts = [
            Layout(
                spec=spec,
                encoding=encoding,
                codec=Codec(),
                clips_per_shard=n_clips,
                n_frames=array.shape[2],
                settings=DRAWN if spec.condition.is_draw else {},
            )
            for spec, array in values.items()
        ]
        with StoreWriter(tmp_path / f"{next(numbers)}.zarr", Excerpt()) as writer:
            writer.prepare(table, layouts)
            checksums = {}
            for layout in layouts:
                rows = []
                none = {*failed, *lacking.get(layout.spec, ())}
                for row, clip in enumerate(values[layout.spec]):
                    stored = layout.encoding.encode(clip, layout.spec.value_range)
                    chunks = layout.chunks_of(stored)
                    rows.append(None if row in none else (chunks, statistics_of(clip)))
                checksums[layout.spec.name] = write_shard(writer.files, layout, 0, rows)
            records = [
                ClipRecord(status="failed", reason="EmptyFile", detail="0 bytes")
                if row in failed
                else ClipRecord(
                    status="ready", sr=sr, n_valid=29 * 16000 if n_valid is None else n_valid[row]
                )
                for row in range(n_clips)
            ]
            commit = Commit(clips=tuple(records), specs=checksums)
            write_commit(writer.files, Division.of(n_clips), 0, commit)
            return writer.publish()

    return write


COARSE = FeatureSpec(sr=16000, n_mels=8, hop=10)
FINE = FeatureSpec(sr=16000, n_mels=16, hop=10)
DRAWS = tuple(COARSE.under(Condition(draw=number)) for number in range(3))


@pytest.fixture
def toy_store(write_store: WriteStore) -> FeatureStore:
    """36 clips, two specs; ``loud`` is easy to learn, ``tilted`` too, ``coin`` is not.

    Splits of 18, 9 and 9, and 4 folds of 9; the last clip failed.
    """
    rng = np.random.default_rng(5)
    loud, tilted, coin = (rng.permutation(np.arange(36) % 2) for _ in range(3))
    values = {}
    for spec in (COARSE, FINE):
        tilt = np.linspace(-10, 10, spec.n_mels)[:, None]
        noise = rng.normal(0, 2, (36, spec.n_mels, 24))
        values[spec] = (
            -40 + 15 * loud[:, None, None] + tilt * (2 * tilted[:, None, None] - 1) + noise
        ).astype(np.float32)
    return write_store(
        values,
        tags={"loud": loud, "tilted": tilted, "coin": coin},
        split=["train"] * 18 + ["validation"] * 9 + ["test"] * 9,
        fold=np.arange(36) % 4,
        failed=[35],
    )


GAIN0, NOISE = Condition.parse("gain0"), Condition.parse("noise0.1")


@pytest.fixture
def perturbed_store(toy_store: FeatureStore, write_store: WriteStore) -> FeatureStore:
    """The toy store under two conditions: ``gain0`` changes nothing, ``noise0.1`` something."""
    rng = np.random.default_rng(6)
    values = {}
    for spec in (COARSE, FINE):
        clean = np.zeros((36, spec.n_mels, 24), np.float32)
        clean[:35] = toy_store[spec].read(range(35))
        noise = rng.normal(0, 8, clean.shape).astype(np.float32)
        values |= {spec: clean, spec.under(GAIN0): clean, spec.under(NOISE): clean + noise}
    clips = toy_store.clips
    return write_store(
        values,
        tags={tag: clips[tag] for tag in toy_store.tags},
        split=clips["split"],
        fold=clips["fold"],
        failed=[35],
    )


@pytest.fixture
def drawn_store(write_store: WriteStore) -> FeatureStore:
    """36 clips and three random draws of each that trains, but for clips 3 (two) and 4 (none).

    Values of row r are 4 r, and 4 r + 1 + k in its draw k; so that the last tag, of later rows, can
    be learnt. Splits of 18, 9 and 9.
    """
    values = {
        spec: np.broadcast_to(4.0 * np.arange(36)[:, None, None] + more, (36, 8, 24)).astype("f4")
        for more, spec in enumerate((COARSE, *DRAWS))
    }
    untrained = range(18, 36)
    rows = np.arange(36)
    return write_store(
        values,
        tags={"coin": rows // 2 % 2, "late": rows % 18 // 9},
        split=["train"] * 18 + ["validation"] * 9 + ["test"] * 9,
        lacking={
            DRAWS[0]: [4, *untrained],
            DRAWS[1]: [3, 4, *untrained],
            DRAWS[2]: [4, *untrained],
        },
    )


MY_NET = """
from torch import nn


class MyNet(nn.Module):
    def __init__(self, spec, *, n_frames, n_outputs, width=1.0):
        super().__init__()
        self.dense = nn.Linear(spec.n_bands, n_outputs)

    def forward(self, values):
        return self.dense(values.mean(2))
"""


@pytest.fixture
def my_net(tmp_path: Path) -> Path:
    """A user's file with a network, ``MyNet``."""
    path = tmp_path / "my_net.py"
    path.write_text(MY_NET)
    return path


# Rows such as a study writes.

TAGS = ["guitar", "slow", "techno", "<script>alert(1)</script>", "声楽"]

MakeRows = Callable[..., list[Row]]


def make_rows(
    specs: Sequence[Spec],
    *,
    models: Sequence[str] = ("vgg",),
    runs: int = 3,
    folds: Sequence[int | None] = (None,),
    seed: int = 0,
    **changes: object,
) -> list[Row]:
    """Rows such as a study writes, with made-up scores that fall with lost resolution."""
    rng = np.random.default_rng(seed)
    clips = rng.normal(0, 0.012, (len(folds), 50))  # what a resample of the test clips does
    rows = []
    for spec in specs:
        cells = float(spec.n_bands / spec.frame_step) / 6000  # of 96 bands at x1, 16 kHz
        for model in models:
            level = 0.9 - 0.012 * np.log2(1 / cells) ** 2 / 4 + (0.012 if model == "musicnn" else 0)
            for run in range(runs):
                for fold in range(len(folds)):
                    auc = float(np.clip(level + rng.normal(0, 0.004), 0, 1))
                    replicates = auc + clips[fold] + rng.normal(0, 0.002, 50)
                    per_tag = {
                        tag: float(np.clip(auc - 0.05 * i * (1 - cells), 0, 1))
                        for i, tag in enumerate(TAGS)
                    }
                    row = {
                        "data": "0123456789ab",
                        "catalog": "listening",
                        "spec": spec.name,
                        "encoding": "float16",
                        "model": model,
                        "width": 0.125,
                        "recipe": "ferraro2020",
                        "augment": "none",
                        "seed": run,
                        "fold": folds[fold],
                        "epochs": 13,
                        "batch_size": 32,
                        "learning_rate": 0.001,
                        "amp": "off",
                        "roc_auc": auc,
                        "pr_auc": auc - 0.45,
                        "bootstrap_roc_auc": np.round(replicates, 5).tolist(),
                        "bootstrap_pr_auc": np.round(replicates - 0.45, 5).tolist(),
                        "roc_auc_per_tag": per_tag,
                        "pr_auc_per_tag": {tag: auc - 0.4 for tag, auc in per_tag.items()},
                        "gmac": (0.2289 if model == "vgg" else 0.05) * cells,
                        "parameters": 274000 if model == "vgg" else 790000,
                        "bytes_per_clip": 262_144.0 * cells,
                        "n_tags_scored": len(TAGS),
                        "tags_left_out": [],
                        "n_train": 120,
                        "n_validation": 40,
                        "n_test": 40,
                        "n_positive_per_tag": dict.fromkeys(TAGS, 12),
                        "train_seconds": 12.0 * cells,
                        "inference_seconds_per_clip": 0.004 * cells,
                        "device": "cpu",
                        "bf16": False,
                        "versions": {"melgrid": "0.1.0", "torch": "2.9.0"},
                    }
                    rows.append(row | changes)
    return rows


def with_conditions(rows: Sequence[Row], losses: Mapping[str, float], seed: int = 0) -> list[Row]:
    """Rows of conditions beside those of a study: each loses as told, run by run a little more."""
    rng = np.random.default_rng(seed)
    found = list(rows)
    for condition, loss in losses.items():
        for row in rows:
            lost = loss * (1 + 0.1 * rng.normal())
            change = rng.normal(-lost, abs(loss) / 10, len(row["bootstrap_roc_auc"]))
            found.append(
                row
                | {
                    "condition": condition,
                    "roc_auc": row["roc_auc"] - lost,
                    "pr_auc": row["pr_auc"] - lost,
                    "bootstrap_roc_auc": (row["bootstrap_roc_auc"] + change).tolist(),
                    "bootstrap_pr_auc": (row["bootstrap_pr_auc"] + change).tolist(),
                    "roc_auc_per_tag": {
                        tag: auc - lost for tag, auc in row["roc_auc_per_tag"].items()
                    },
                    "train_seconds": 0.0,
                }
            )
    return found


@pytest.fixture(name="with_conditions", scope="session")
def with_conditions_fixture() -> MakeRows:
    return with_conditions


@pytest.fixture(name="make_rows")
def make_rows_fixture() -> MakeRows:
    return make_rows


FEW = [
    FeatureSpec(sr=16000, n_mels=n_mels, hop=hop)
    for n_mels, hop in ((96, 1), (96, 2), (48, 1), (48, 2), (16, 1), (48, 10))
]


@pytest.fixture(scope="session")
def few() -> list[Row]:
    """Six specs, three runs."""
    return make_rows(FEW)


@pytest.fixture(scope="session")
def compared(few) -> Comparison:
    return compare(few)


NETWORKS = ("vgg", "fcn", "crnn", "short", "musicnn", "musicnn-original", "attention", "vit")


@pytest.fixture(scope="session")
def zoo() -> list[Row]:
    """Eight networks on two mel specs, and one each on waveforms and on spectra: 18 points."""
    mels = [FeatureSpec(sr=16000, n_mels=n_mels) for n_mels in (96, 48)]
    rows = [
        row | {"gmac": row["gmac"] * (1 + place)}
        for place, name in enumerate(NETWORKS)
        for row in make_rows(mels, models=(name,), seed=place)
    ]
    rows += make_rows([parse_spec("sr16000-wave")], models=("sample",), encoding="int16")
    return rows + make_rows([parse_spec("sr16000-stft512-x1-db")], models=("hcnn",))


@pytest.fixture(scope="session")
def compared_zoo(zoo) -> Comparison:
    return compare(zoo, baseline="sr16000-stft512-x1-db")


@pytest.fixture(scope="session")
def many() -> list[Row]:
    """The study's 88 specs, two networks, three runs: 528 rows."""
    return make_rows(ferraro2020(), models=("vgg", "musicnn"))
