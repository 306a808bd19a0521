"""What a store holds, in figures."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore import result
from featurestore.format.clips import UNLABELLED
from featurestore.inspect.data_quality import Checks, check, constant_bands
from featurestore.specs.perturbation import Condition, by_condition
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValuesInfo:
    """Statistics of a spec's values, over frames that are audio.

    Attributes
    ----------
    of : {'train', 'all'}
        The clips they are of: the training split where there is one, as a network's input is
        normalised by that; else all clips that are ready.
    clips, frames : int
    mean, std : list of float [len=n_mels]
        By band.
    saturated : float
        Share of the values that the encoding has clipped.
    constant_bands : int or None
        Bands that never change, in any clip; None for a view.
    clips_with_constant_bands : int or None
        Clips with a band that does not change within; None for a view.
    """

    of: str
    clips: int
    frames: int
    mean: list[float]
    std: list[float]
    saturated: float
    constant_bands: int | None = None
    clips_with_constant_bands: int | None = None

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    def sentences(self, unit: str) -> list[str]:
        """Statistics in sentences; none where there are no clips."""
        if not self.clips:
            return []
        unit = "" if unit == "1" else f" {unit}"
        lines = [
            f"{name} {min(by_band):.3g} to {max(by_band):.3g}{unit} by band"
            for name, by_band in (("mean", self.mean), ("standard deviation", self.std))
        ]
        lines.append(f"of {self.of} clips ({self.clips:,}, {self.frames:,} frames)")
        if self.saturated:
            lines.append(f"{self.saturated:.2g} of the values clipped by the encoding")
        if self.clips_with_constant_bands:
            lines.append(
                f"{result.count(self.clips_with_constant_bands, 'clip')} with a constant band "
                f"({result.count(self.constant_bands or 0, 'band')} constant in all clips)"
            )
        return lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecInfo:
    """One spec of a store: shape, encoding, bytes, and where its values come from.

    Attributes
    ----------
    spec : str
    condition : str
    view_of : str or None
        The spec that it is served from, if it is not stored itself.
    shape : list of int
    ready : int
        Clips that can be read.
    encoding, unit : str
    max_error : float
        By how much a value can differ from the one computed [`unit`].
    codec : str
    clips_per_shard : int
    bytes : int
        On disk; of a view, those of the spec that it is served from.
    bytes_per_clip : float or None
        None where no clip is ready.
    settings : mapping of str to str
    software : sequence of mapping
        Names and versions of what computed the values.
    values : ValuesInfo or None
        Statistics by band, if asked for.
    """

    spec: str
    condition: str
    view_of: str | None
    shape: list[int]
    ready: int
    encoding: str
    unit: str
    max_error: float
    codec: str
    clips_per_shard: int
    bytes: int
    bytes_per_clip: float | None
    settings: Mapping[str, str]
    software: Sequence[Mapping[str, Any]]
    values: ValuesInfo | None = None

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        facts = dataclasses.asdict(self)
        del facts["values"]
        return facts if self.values is None else {**facts, "values": self.values.json()}

    def lines(self) -> list[str]:
        """A fact per line."""
        facts = self.json()
        if self.values is not None:
            facts["values"] = "; ".join(self.values.sentences(self.unit))
        return [line for key, value in facts.items() for line in result.fact(key, value)]


def _n_ready(specs: Sequence[SpecInfo]) -> int:
    """Clips that can be read at all of some specs; draws, which few clips have, do not count."""
    all_clips = [s for s in specs if not Condition.parse(s.condition).is_draw]
    return min(spec.ready for spec in all_clips or specs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecList:
    """The specs of a store.

    Attributes
    ----------
    specs : tuple of SpecInfo
        Those that are stored, then those that it was asked to serve as views.
    """

    specs: tuple[SpecInfo, ...]

    def json(self) -> list[dict[str, Any]]:
        """Return the fields as plain values."""
        return [spec.json() for spec in self.specs]

    def lines(self) -> list[str]:
        """A table with a row for each spec, all of its conditions together, and what these are."""
        groups: dict[tuple[str, tuple[int, ...], str, bool], list[SpecInfo]] = {}
        for spec in self.specs:
            clean = spec.spec.partition("~")[0]
            key = clean, tuple(spec.shape), spec.encoding, spec.view_of is None
            groups.setdefault(key, []).append(spec)
        perturbed = any(spec.condition != "clean" for spec in self.specs)
        rows = []
        for (clean, *_), alike in groups.items():
            rows.append(
                {
                    "spec": clean,
                    "shape": result.shape(alike[0].shape),
                    "ready": _n_ready(alike),
                    "encoding": alike[0].encoding,
                    **({"conditions": len(alike)} if perturbed else {}),
                    "stored": "view"
                    if alike[0].view_of
                    else result.size(sum(spec.bytes for spec in alike)),
                }
            )
        sets = {tuple(spec.condition for spec in alike) for alike in groups.values()}
        return [
            *(result.table(rows) if rows else []),
            *(
                line
                for names in sorted(sets if perturbed else ())
                for line in result.wrapped(
                    f"{result.count(len(names), 'condition')}: {', '.join(names)}"
                )
            ),
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """Contents of a store, in figures.

    Attributes
    ----------
    store, catalog : str
    duration : float
        Of a clip [s].
    take, short : str
    clips, ready, failed, pending, pruned : int
        All clips, and those of each status.
    splits : mapping of str to int
        Clips by split.
    drawn : str
        How the splits were drawn, from which seed; empty where they are the collection's own.
    folds : int
        How many.
    hours : float
        Audio of the clips that are ready [h].
    failures : mapping of str to int
        Clips that failed, by reason.
    checks : Checks
    tags : mapping of str to int
        Clips by tag, without those of the split ``unlabelled``.
    metadata : list of str
        Further columns of the clip table.
    specs : tuple of SpecInfo
    """

    store: str
    catalog: str
    duration: float
    take: str
    short: str
    clips: int
    ready: int
    failed: int
    pending: int
    pruned: int
    splits: Mapping[str, int]
    drawn: str
    folds: int
    hours: float
    failures: Mapping[str, int]
    checks: Checks
    tags: Mapping[str, int]
    metadata: list[str]
    specs: tuple[SpecInfo, ...]

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        facts = dataclasses.asdict(self)
        specs = [spec.json() for spec in self.specs]
        return {**facts, "checks": self.checks.json(), "specs": specs}

    def lines(self) -> list[str]:
        """A fact per line."""
        facts = {
            **dataclasses.asdict(self),
            "checks": "; ".join(self.checks.lines()) or "nothing found",
            "specs": [
                name if conditions == ["clean"] else f"{name} ({len(conditions)} conditions)"
                for name, conditions in by_condition(spec.spec for spec in self.specs).items()
            ],
        }
        return [line for key, value in facts.items() for line in result.fact(key, value)]


def describe(store: FeatureStore) -> StoreInfo:
    """Count a store's clips, splits and tags, and describe its specs."""
    clips = store.clips
    active = clips["active"] == 1
    labelled = clips[clips["split"] != UNLABELLED]
    status = Counter(clips.loc[active, "status"])
    return StoreInfo(
        store=store.path,
        catalog=store.catalog,
        duration=store.window.duration,
        take=store.window.take,
        short=store.window.short,
        clips=len(clips),
        ready=status["ready"],
        failed=status["failed"],
        pending=status["pending"],
        pruned=len(clips) - int(active.sum()),
        splits={split: n for split, n in sorted(Counter(clips["split"]).items()) if split},
        drawn=store.table.drawn,
        folds=int(clips["fold"].max()) + 1 if len(clips) else 0,
        hours=round(_seconds(clips) / 3600, 3),
        failures=dict(sorted(Counter(clips.loc[clips["reason"] != "", "reason"]).items())),
        checks=check(store),
        tags={tag: int(labelled[tag].sum()) for tag in store.tags},
        metadata=list(store.table.meta),
        specs=list_specs(store).specs,
    )


def _seconds(clips: "pd.DataFrame") -> float:
    ready = clips[clips["status"] == "ready"]
    return float((ready["n_valid"] / ready["sr"]).sum())


def list_specs(store: FeatureStore) -> SpecList:
    """Describe all specs that a store has, without their statistics."""
    specs = (*store.specs, *store.views)
    return SpecList(specs=tuple(describe_spec(store, spec) for spec in specs))


def describe_spec(store: FeatureStore, spec: Spec | str, *, with_values: bool = False) -> SpecInfo:
    """Describe one spec of a store.

    Parameters
    ----------
    store : FeatureStore
    spec : FeatureSpec or str
    with_values : bool
        Whether to add `describe_values`, which reads as many files as there are shards.
    """
    array = store[spec]
    n_ready = int(np.count_nonzero(array.ready))
    nbytes = array.nbytes_stored
    return SpecInfo(
        spec=array.spec.name,
        condition=array.spec.condition.name,
        view_of=array.view_of,
        shape=list(array.shape),
        ready=n_ready,
        encoding=array.encoding,
        unit=array.spec.unit,
        max_error=array.max_error,
        codec=array.layout.codec.name,
        clips_per_shard=array.layout.clips_per_shard,
        bytes=nbytes,
        bytes_per_clip=nbytes / n_ready if n_ready else None,
        settings=dict(array.layout.settings),
        software=array.software,
        values=describe_values(store, spec) if with_values else None,
    )


def describe_values(store: FeatureStore, spec: Spec | str) -> ValuesInfo:
    """Mean and standard deviation of each band of a spec."""
    array = store[spec]
    train = array.ready & (store.clips["split"] == "train").to_numpy()
    rows = np.flatnonzero(train if train.any() else array.ready)
    pooled = array.statistics(rows)
    bands = clips_with_bands = None
    if array.view_of is None:
        std = array.read_statistics(np.flatnonzero(array.ready))[:, 1]
        bands, clips_with_bands = constant_bands(std)
    return ValuesInfo(
        of="train" if train.any() else "all",
        clips=pooled.n_clips,
        frames=pooled.n_frames,
        mean=pooled.mean.tolist(),
        std=pooled.std.tolist(),
        saturated=float(pooled.saturated.mean()),
        constant_bands=bands,
        clips_with_constant_bands=clips_with_bands,
    )
