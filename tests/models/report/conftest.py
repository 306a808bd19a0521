from collections.abc import Callable, Sequence

import numpy as np
import pytest

from featurestore import FeatureSpec
from featurestore.specs.grid import ferraro2020
from models.study.comparison import Comparison, compare
from models.study.results import Row

TAGS = ["guitar", "slow", "techno", "<script>alert(1)</script>", "声楽"]

MakeRows = Callable[..., list[Row]]


def make_rows(
    specs: Sequence[FeatureSpec],
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
        cells = spec.sr / 16000 * spec.n_mels / 96 / float(spec.hop)
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
                        "train_seconds": 12.0 * cells,
                        "inference_seconds_per_clip": 0.004 * cells,
                        "device": "cpu",
                        "bf16": False,
                        "versions": {"melgrid": "0.1.0", "torch": "2.9.0"},
                    }
                    rows.append(row | changes)
    return rows


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


@pytest.fixture(scope="session")
def many() -> list[Row]:
    """The study's 88 specs, two networks, three runs: 528 rows."""
    return make_rows(ferraro2020(), models=("vgg", "musicnn"))
