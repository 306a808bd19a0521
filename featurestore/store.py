"""A store, opened for reading."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from featurestore.array import FeatureArray, nbytes_stored
from featurestore.errors import StoreNotFoundError, UnknownSpecError
from featurestore.format.clips import ClipTable
from featurestore.format.layout import Layout
from featurestore.format.metadata import StoreMetadata
from featurestore.format.status import STATUS_COLUMNS, ClipStatus
from featurestore.integrity.verify import Report, verify
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.kinds import parse_spec
from featurestore.specs.spec import Spec
from featurestore.specs.views import best_source
from featurestore.storage import open_files
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import pandas as pd


class FeatureStore:
    """A store as of when it was opened. Read-only and picklable.

    Parameters
    ----------
    files : Files
    metadata : StoreMetadata
    status : ClipStatus, optional
        Where it is known already.

    Examples
    --------
    >>> store = FeatureStore.open("features.zarr")  # doctest: +SKIP
    >>> store[store.specs[0]].read([3, 99, 7], start=[0, 40, 8], length=187)  # doctest: +SKIP
    """

    def __init__(
        self, files: Files, metadata: StoreMetadata, status: ClipStatus | None = None
    ) -> None:
        self.files = files
        self.metadata = metadata
        self.status = status or ClipStatus(files, metadata)
        self._nbytes: dict[str, int] = {}

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Files, StoreMetadata]]:
        return type(self), (self.files, self.metadata)

    def __repr__(self) -> str:
        return f"<FeatureStore {self.path}: {self.n_clips} clips, {len(self.specs)} specs>"

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the store at a path or an fsspec URL: reads one file, however many specs it holds.

        Raises
        ------
        StoreNotFoundError
            If there is none.
        StoreFormatError
            If it is of another version, or damaged.
        """
        files = open_files(path)
        metadata = StoreMetadata.read(files)
        if metadata is None:
            what = "is not a melgrid store" if files.exists() else "does not exist"
            raise StoreNotFoundError(f"{files.root} {what}; featurize makes one")
        return cls(files, metadata)

    @property
    def path(self) -> str:
        """Path or URL of the store."""
        return self.files.root

    @property
    def n_clips(self) -> int:
        """Rows of every array."""
        return self.metadata.n_clips

    @property
    def catalog(self) -> str:
        """Name of the collection."""
        return self.metadata.catalog

    @property
    def window(self) -> Excerpt:
        """Which stretch of a track a row is."""
        return self.metadata.window

    @cached_property
    def layouts(self) -> dict[Spec, Layout]:
        """Layout of each stored spec."""
        return {layout.spec: layout for layout in self.metadata.layouts}

    @cached_property
    def specs(self) -> list[Spec]:
        """Specs that are stored."""
        return list(self.layouts)

    @cached_property
    def views(self) -> list[Spec]:
        """Specs that were asked for and are served from those, without being stored."""
        return [parse_spec(name) for name in self.metadata.views]

    @property
    def table(self) -> ClipTable:
        """The clip table as stored, without the status."""
        return self.status.table

    @property
    def tags(self) -> list[str]:
        """Names of the tag columns of `clips`."""
        return list(self.table.tags)

    @cached_property
    def clips(self) -> "pd.DataFrame":
        """One row a clip: what is known of it, its status, metadata, a 0/1 column a tag.

        ``sr`` [Hz], ``start`` and ``n_valid`` [samples at ``sr``] are of the decoded track.
        """
        import pandas as pd

        table = self.table
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
        for name in (*STATUS_COLUMNS, "digest"):
            columns[name] = self.status[name]
        for name, column in table.meta.items():
            columns.setdefault(name, column)
        tags = {tag: table.labels[:, column] for column, tag in enumerate(table.tags)}
        return pd.DataFrame({**columns, **tags})

    def nbytes_stored(self, layout: Layout) -> int:
        """Size of a stored spec's values [bytes]; looked up once."""
        name = layout.spec.name
        if name not in self._nbytes:
            self._nbytes[name] = nbytes_stored(self.files, layout)
        return self._nbytes[name]

    def __contains__(self, spec: Spec | str) -> bool:
        """Whether a spec can be had, stored or as a view; errors as in `store[spec]`."""
        wanted = parse_spec(spec) if isinstance(spec, str) else spec
        return best_source(wanted, self.layouts) is not None

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
        source = best_source(wanted, self.layouts)
        if source is not None:
            return FeatureArray(wanted, self.layouts[source], self.files, self.status)
        names = ", ".join(spec.name for spec in self.specs) or "nothing"
        raise UnknownSpecError(
            f"{self.path} holds no {wanted.name}; it holds {names}, and serves multiples of their "
            "hops, and log where it holds db"
        )

    def verify(self, *, quick: bool = False) -> Report:
        """Say what is missing, damaged or unfinished; see `featurestore.integrity.verify`."""
        return verify(self.files, self.metadata, quick=quick)
