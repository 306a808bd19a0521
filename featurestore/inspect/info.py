"""What a store holds, in figures."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore.format.statistics import read_statistics
from featurestore.inspect.data_quality import constant_bands
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    import pandas as pd


def describe(store: FeatureStore) -> dict[str, Any]:
    """A store's clips, splits, tags and specs, as plain values for printing or JSON."""
    clips = store.clips
    active = clips["active"] == 1
    status = Counter(clips.loc[active, "status"])
    return {
        "store": store.path,
        "catalog": store.catalog,
        "duration": store.window.duration,
        "take": store.window.take,
        "short": store.window.short,
        "clips": len(clips),
        **{name: status[name] for name in ("ready", "failed", "pending")},
        "pruned": len(clips) - int(active.sum()),
        "splits": {split: n for split, n in sorted(Counter(clips["split"]).items()) if split},
        "folds": int(clips["fold"].max()) + 1 if len(clips) else 0,
        "hours": round(_seconds(clips) / 3600, 3),
        "failures": dict(sorted(Counter(clips.loc[clips["reason"] != "", "reason"]).items())),
        "checks": store.checks.to_json(),
        "tags": {tag: int(clips[tag].sum()) for tag in store.tags},
        "metadata": list(store.table.meta),
        "specs": [describe_spec(store, spec) for spec in (*store.specs, *store.views)],
    }


def _seconds(clips: "pd.DataFrame") -> float:
    ready = clips[clips["status"] == "ready"]
    return float((ready["n_valid"] / ready["sr"]).sum())


def describe_spec(store: FeatureStore, spec: Spec | str) -> dict[str, Any]:
    """One spec of a store: shape, encoding, bytes, where its values come from, and how they lie.

    Statistics by band are in `describe_values`, for they are read from as many files as shards.
    """
    array = store[spec]
    n_ready = int(np.count_nonzero(array.ready))
    nbytes = array.nbytes_stored
    return {
        "spec": array.spec.name,
        "view_of": array.view_of,
        "shape": list(array.shape),
        "ready": n_ready,
        "encoding": array.encoding,
        "unit": array.spec.unit,
        "max_error": array.max_error,
        "codec": array.layout.codec.name,
        "clips_per_shard": array.layout.clips_per_shard,
        "bytes": nbytes,
        "bytes_per_clip": nbytes / n_ready if n_ready else None,
        "settings": dict(array.layout.settings),
        "software": array.software,
    }


def describe_values(store: FeatureStore, spec: Spec | str) -> dict[str, Any]:
    """How a spec's values lie: mean and spread of each band, over frames that are audio.

    Of the training split alone, which is what a network's input is normalised by, where there is
    one; else of all clips that are ready.
    """
    array = store[spec]
    train = array.ready & (store.clips["split"] == "train").to_numpy()
    rows = np.flatnonzero(train if train.any() else array.ready)
    pooled = array.statistics(rows)
    facts: dict[str, Any] = {
        "of": "train" if train.any() else "all",
        "clips": pooled.n_clips,
        "frames": pooled.n_frames,
        "mean": pooled.mean.tolist(),
        "std": pooled.std.tolist(),
        "saturated": float(pooled.saturated.mean()),
    }
    if array.view_of is None:
        spread = read_statistics(store.files, array.layout, np.flatnonzero(array.ready))[:, 1]
        facts["constant_bands"], facts["clips_with_constant_bands"] = constant_bands(spread)
    return facts
