"""How the specs of a run are laid out: which are stored, in shards of which length."""

from collections.abc import Iterator, Sequence

from featurestore.errors import StoreMismatchError
from featurestore.format.division import Division
from featurestore.format.layout import Layout
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from featurestore.specs.views import best_source, minimal_basis
from featurestore.store import FeatureStore
from pipeline.features.backends import load_backend
from pipeline.perturb import require
from pipeline.run.settings import RunSettings

_TASK_NBYTES = 640 * 2**20
"""Values of a shard at all specs of a task, at most [bytes]; a worker holds two thirds, packed."""

_CLIPS_PER_SHARD = 8, 256
"""Fewest and most. Few enough that progress shows and that a killed run loses little."""

_SHARDS = 16
"""How many a small collection is divided into, so that all workers have work to the end."""


def division_for(n_clips: int, specs: Sequence[Spec], settings: RunSettings) -> Division:
    """Choose how the rows of a new store are divided.

    The length of a shard follows from the bytes that a clip takes at all specs together. It is
    fixed then: a store that gets many more specs later computes them in several tasks a shard
    (`batches`).
    """
    clip_nbytes = sum(_nbytes(spec, settings) for spec in specs)
    fewest, most = _CLIPS_PER_SHARD
    limit = min(_TASK_NBYTES // max(1, clip_nbytes), n_clips // _SHARDS, most)
    return Division.of(2 ** (max(limit, fewest).bit_length() - 1))


def require_computable(specs: Sequence[Spec], settings: RunSettings) -> None:
    """Make sure that specs can be computed: their conditions, and a frame of a clip at least.

    Raises
    ------
    SpecError
        If a condition cannot be at its spec's rate, or is a draw and nothing says of what; or if a
        clip is too short for a spec.
    SettingsError
        If the backend cannot compute one.
    """
    backend = load_backend(settings.backend)
    for spec in specs:
        settings.window.n_frames(spec)  # refuses
        if isinstance(spec, FeatureSpec):
            backend.require(spec)
    for condition, sr in dict.fromkeys((spec.condition, spec.sr) for spec in specs):
        require(condition, sr, settings.augmentation)


def layouts(specs: Sequence[Spec], settings: RunSettings, division: Division) -> tuple[Layout, ...]:
    """Make the layouts of specs in a store.

    Raises
    ------
    SpecError
        If a clip is too short for a spec.
    """
    return tuple(
        Layout(
            spec=spec,
            encoding=settings.encoding_of(spec),
            codec=settings.codec,
            clips_per_shard=division.clips_per_shard,
            n_frames=_n_frames(spec, settings),
            settings=_origin(settings, spec),
        )
        for spec in dict.fromkeys(specs)
    )


def stored_specs(
    specs: Sequence[Spec], settings: RunSettings, store: FeatureStore | None = None
) -> Sequence[Spec]:
    """Those of the specs that are to be stored.

    None is served from what was made otherwise (in another encoding, by another backend), into
    which this run's clips would not fit.

    Raises
    ------
    StoreMismatchError
        If what would serve one was drawn otherwise, so that it would be another condition.
    """
    if not settings.views:
        return specs
    there = {} if store is None else store.layouts
    for spec in specs if any(spec.condition for spec in specs) else ():
        source = best_source(spec, there) if spec.condition else None
        drawn = {} if source is None else there[source].settings
        for key, value in _drawn(settings, spec).items():
            if drawn.get(key, value) != value:
                raise StoreMismatchError(
                    f"{spec.name} would be a view of {source}, whose {key} is {drawn[key]}, not "
                    f"{value}; give that one, or another place with -o"
                )
    alike = [
        spec
        for spec, layout in there.items()
        if layout.encoding == settings.encoding_of(spec)
        and layout.settings == _origin(settings, spec)
    ]
    stored = minimal_basis(specs, alike)
    sources = {spec: best_source(spec, [*stored, *there]) for spec in specs}
    return [spec for spec in specs if spec in stored or sources[spec] not in {*stored, *alike}]


def batches(layouts: Sequence[Layout]) -> Iterator[tuple[Layout, ...]]:
    """Layouts that one task computes together: as many as fit into a worker's memory."""
    batch: list[Layout] = []
    nbytes = 0
    for layout in layouts:
        shard_nbytes = layout.clip_nbytes * layout.clips_per_shard
        if batch and nbytes + shard_nbytes > _TASK_NBYTES:
            yield tuple(batch)
            batch, nbytes = [], 0
        batch.append(layout)
        nbytes += shard_nbytes
    if batch:
        yield tuple(batch)


def _n_frames(spec: Spec, settings: RunSettings) -> int:
    return settings.window.n_frames(spec)


def _nbytes(spec: Spec, settings: RunSettings) -> int:
    """Size of one clip, not packed [bytes]."""
    return spec.n_bands * _n_frames(spec, settings) * settings.encoding_of(spec).dtype.itemsize


def _origin(settings: RunSettings, spec: Spec) -> dict[str, str]:
    """What a layout says of where its values come from."""
    return {"backend": settings.backend, "resampler": "soxr HQ", **_drawn(settings, spec)}


def _drawn(settings: RunSettings, spec: Spec) -> dict[str, str]:
    """What perturbed values are drawn by."""
    drawn = {"seed": str(settings.seed)} if spec.condition else {}
    if spec.condition.is_draw:
        drawn["augmentation"] = str(settings.augmentation)
    return drawn
