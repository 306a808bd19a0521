"""What a store holds, in figures."""

from collections import Counter
from typing import Any

import numpy as np

from featurestore.spec import FeatureSpec
from featurestore.store import FeatureStore


def describe(store: FeatureStore) -> dict[str, Any]:
    """A store's clips, splits, tags and specs, as plain values for printing or JSON."""
    clips = store.clips
    status = Counter(clips["status"])
    return {
        "store": store.path,
        "catalog": store.catalog,
        "duration": store.window.duration,
        "take": store.window.take,
        "short": store.window.short,
        "clips": len(clips),
        **{name: status[name] for name in ("ready", "failed", "pending")},
        "splits": {split: n for split, n in sorted(Counter(clips["split"]).items()) if split},
        "folds": int(clips["fold"].max()) + 1 if len(clips) else 0,
        "tags": {tag: int(clips[tag].sum()) for tag in store.tags},
        "specs": [describe_spec(store, spec) for spec in store.specs],
    }


def describe_spec(store: FeatureStore, spec: FeatureSpec | str) -> dict[str, Any]:
    """One spec of a store: shape, encoding, bytes, and where its values come from."""
    array = store[spec]
    n_ready = int(np.count_nonzero(array.ready))
    nbytes = array.nbytes_stored
    versions = store.outcomes.software[array.layout.clips_per_shard]
    return {
        "spec": array.spec.name,
        "view_of": None if array.layout.spec == array.spec else array.layout.spec.name,
        "shape": list(array.shape),
        "ready": n_ready,
        "encoding": array.encoding,
        "codec": array.layout.codec.name,
        "clips_per_shard": array.layout.clips_per_shard,
        "bytes": nbytes,
        "bytes_per_clip": nbytes / n_ready if n_ready else None,
        "settings": dict(array.layout.settings),
        "software": [dict(version) for version in sorted(versions)],
    }
