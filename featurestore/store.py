"""A store, opened for reading."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from featurestore.array import FeatureArray
from featurestore.errors import (
    StoreFormatError,
    StoreNotFoundError,
    UnknownSpecError,
)
from featurestore.format.clips import TABLE, ClipTable
from featurestore.format.commits import read_commit
from featurestore.format.layout import Layout, Root, read_attributes
from featurestore.format.status import OUTCOMES, Outcomes
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.kinds import parse_spec
from featurestore.specs.spec import Spec
from featurestore.specs.views import best_source
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import pandas as pd

    from featurestore.inspect.data_quality import Checks
    from featurestore.maintenance.verify import Report


class FeatureStore:
    """What a store holds, as of when it was opened. Read-only and picklable.

    Examples
    --------
    >>> store = FeatureStore.open("features.zarr")  # doctest: +SKIP
    >>> store[store.specs[0]].read([3, 99, 7], start=[0, 40, 8], length=187)  # doctest: +SKIP
    """

    def __init__(self, files: Files, root: Root) -> None:
        self.files = files
        self._root = root
        self._nbytes: dict[str, int] = {}

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Files, Root]]:
        return type(self), (self.files, self._root)

    def __repr__(self) -> str:
        return f"<FeatureStore {self.path}: {self.n_clips} clips, {len(self.specs)} specs>"

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the store at a path or an fsspec URL.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        StoreFormatError
            If it is of another version, or damaged.
        """
        files = Files(path)
        root = Root.read(files)
        if root is None:
            what = "is not a melgrid store" if files.exists() else "does not exist"
            raise StoreNotFoundError(f"{files.root} {what}; featurize makes one")
        return cls(files, root)

    @property
    def path(self) -> str:
        """Where the store is."""
        return self.files.root

    @property
    def n_clips(self) -> int:
        """Rows of every array."""
        return self._root.n_clips

    @property
    def catalog(self) -> str:
        """Name of the collection."""
        return self._root.catalog

    @cached_property
    def window(self) -> Excerpt:
        """Which stretch of a track a row is."""
        return Excerpt.from_json(dict(self._root.window))

    @cached_property
    def specs(self) -> list[Spec]:
        """Specs that are stored."""
        return [parse_spec(name) for name in self._root.specs]

    @cached_property
    def views(self) -> list[Spec]:
        """Specs that were asked for and are served from those, without being stored."""
        return [parse_spec(name) for name in self._root.views]

    @cached_property
    def layouts(self) -> dict[Spec, Layout]:
        """How each stored spec is laid out."""
        layouts = {}
        found = read_attributes(self.files, [spec.name for spec in self.specs])
        for spec, attributes in zip(self.specs, found, strict=True):
            if attributes is None:
                raise StoreFormatError(
                    f"{self.path}: the group {spec.name} is missing; "
                    "melgrid verify --repair mends it"
                )
            layout = Layout.from_json(attributes, f"{self.path}/{spec.name}")
            if layout.spec != spec:
                raise StoreFormatError(
                    f"{self.path}: the group {spec.name} is that of {layout.spec.name}; "
                    "melgrid verify --repair mends it"
                )
            layouts[spec] = layout
        return layouts

    @cached_property
    def table(self) -> ClipTable:
        """The clip table as stored, without what became of the clips."""
        digest = self._root.digests.get(TABLE)
        if digest is None and not self.n_clips:
            return ClipTable.empty()
        try:
            return ClipTable.read(self.files, digest or "", self.n_clips)
        except StoreFormatError:
            if Root.read(self.files) != self._root:
                raise StoreFormatError(
                    f"{self.path} was changed by a run since it was opened; open it again"
                ) from None
            raise

    @property
    def tags(self) -> list[str]:
        """Names of the tag columns of `clips`."""
        return list(self.table.tags)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What became of each clip."""
        return Outcomes(self.files, self.layouts.values(), self.table.active, self._root.records)

    def ready(self, layout: Layout) -> npt.NDArray[np.bool_]:
        """Rows that can be read, ``(n_clips,)``; computed once, not to be written to."""
        return self.outcomes.ready[layout.spec.name]

    def checksums(self, layout: Layout) -> npt.NDArray[np.uint32]:
        """What the rows' chunks must end with, ``(n_clips,)``; not to be written to."""
        return self.outcomes.checksums[layout.spec.name]

    @cached_property
    def clips(self) -> "pd.DataFrame":
        """One row a clip: what is known of it, what became of it, metadata, a 0/1 column a tag.

        ``sr`` [Hz], ``start`` and ``n_valid`` [samples at ``sr``] are of the decoded track.
        """
        import pandas as pd

        table, outcomes = self.table, self.outcomes
        columns: dict[str, object] = {
            "clip_id": list(table.clip_id),
            "path": list(table.path),
            "split": list(table.split),
            "fold": table.fold,
            "tile": table.tile,
            "active": table.active.astype(np.uint8),
            "artist": list(table.artist),
            "album": list(table.album),
        }
        for name in OUTCOMES:
            columns[name] = getattr(outcomes, name)
        columns["digest"] = [digest.decode() for digest in outcomes.digest]
        for name, column in table.meta.items():
            columns.setdefault(name, column)
        tags = {tag: table.labels[:, column] for column, tag in enumerate(table.tags)}
        return pd.DataFrame({**columns, **tags})

    @cached_property
    def checks(self) -> "Checks":
        """What may be wrong with its clips even so; see `featurestore.inspect.data_quality`."""
        from featurestore.inspect.data_quality import check

        return check(self)

    def nbytes_stored(self, layout: Layout) -> int:
        """Size of a stored spec's values [bytes]; looked up once."""
        name = layout.spec.name
        if name not in self._nbytes:
            self._nbytes[name] = sum(self.files.sizes(f"{name}/values/c"))
        return self._nbytes[name]

    def __contains__(self, spec: Spec | str) -> bool:
        """Whether a spec can be had, stored or as a view; errors as in `store[spec]`."""
        wanted = parse_spec(spec) if isinstance(spec, str) else spec
        return best_source(wanted, self.specs) is not None

    def __getitem__(self, spec: Spec | str) -> FeatureArray:
        """The array of a spec; a view where it is not stored but can be derived.

        Raises
        ------
        UnknownSpecError
            If it is neither; the message lists what can be had.
        SpecError
            If `spec` is a text that is not a spec's name.
        """
        wanted = parse_spec(spec) if isinstance(spec, str) else spec
        source = best_source(wanted, self.specs)
        if source is not None:
            return FeatureArray(self, wanted, self.layouts[source])
        names = ", ".join(spec.name for spec in self.specs) or "nothing"
        raise UnknownSpecError(
            f"{self.path} holds no {wanted.name}; it holds {names}, and serves multiples of their "
            "hops, and log where it holds db"
        )

    def verify(self, *, quick: bool = False) -> "Report":
        """Say what is missing, damaged or unfinished; see `featurestore.maintenance.verify`."""
        from featurestore.maintenance.verify import verify

        return verify(self, quick=quick)

    def explain(self, spec: Spec, layout: Layout, row: int) -> str:
        """Why a row cannot be read."""
        shard, position = divmod(row, layout.clips_per_shard)
        commit = read_commit(self.files, layout.clips_per_shard, shard)
        where = f"row {row} of {spec.name} ({self.table.clip_id[row]})"
        if position < len(commit.clips) and commit.clips[position].status == "failed":
            record = commit.clips[position]
            return f"{where} holds no values: {record.reason}: {record.detail}"
        if not self.table.active[row]:
            return f"{where} was pruned: its track is no longer in the collection"
        return f"{where} holds no values yet: run featurize again to compute it"
