"""What of a store is exported: some specs of some clips, read a few clips at a time."""

import dataclasses
import fnmatch
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from featurestore.array import FeatureArray
from featurestore.errors import SettingsError, UnknownSpecError
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    import pandas as pd

BATCH_NBYTES = 32 * 2**20
"""Values that are in memory at once, or one clip's [bytes]."""

Kept = Literal["float32", "stored"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Some specs of some clips.

    Parameters
    ----------
    store : FeatureStore
    arrays : tuple of FeatureArray
        Of stored specs or of views.
    rows : np.ndarray [shape=(n_rows,), dtype=int64]
        The store's rows, ascending; those that failed or are pending may be among them.
    encoding : {'float32', 'stored'}
        Decoded values, or what the store keeps of them.
    """

    store: FeatureStore
    arrays: tuple[FeatureArray, ...]
    rows: npt.NDArray[np.int64]
    encoding: Kept = "float32"

    @classmethod
    def of(
        cls,
        store: FeatureStore,
        specs: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        encoding: Kept = "float32",
    ) -> Self:
        """Select by name.

        Parameters
        ----------
        store : FeatureStore
        specs : sequence of str
            Names of specs, or patterns of those that are stored or were asked for as views, such
            as ``sr16000-*``; None for all that are stored.
        splits : sequence of str
            Names of splits; None for all clips. Clips that were pruned never count.
        encoding : {'float32', 'stored'}

        Raises
        ------
        UnknownSpecError, SpecError
            If a spec is not there.
        SettingsError
            If no clip is in those splits, or a spec is converted from what is stored.
        """
        known = [spec.name for spec in (*store.specs, *store.views)]
        names = [spec.name for spec in store.specs] if specs is None else []
        for wanted in specs or ():
            found = fnmatch.filter(known, wanted)
            if not found and any(sign in wanted for sign in "*?["):
                there = ", ".join(known) or "nothing"
                raise UnknownSpecError(f"{store.path} holds no {wanted}; it holds {there}")
            names += found or [wanted]
        arrays = tuple(store[name] for name in dict.fromkeys(names))
        for array in arrays:
            if encoding == "stored" and array.is_converted:
                raise SettingsError(
                    f"{array.spec.name} is computed from {array.view_of}, and not stored as it is; "
                    "leave --encoding out"
                )
        chosen = store.table.active.copy()
        if splits is not None:
            chosen &= np.isin(np.array(store.table.split, object), list(splits))
            if not chosen.any():
                there = ", ".join(sorted(set(store.table.split) - {""})) or "none"
                raise SettingsError(
                    f"{store.path} has no clip in {', '.join(splits)}; its splits are: {there}"
                )
        return cls(
            store=store,
            arrays=arrays,
            rows=np.flatnonzero(chosen),
            encoding=encoding,
        )

    @cached_property
    def clips(self) -> "pd.DataFrame":
        """The rows' part of `FeatureStore.clips`, with each one's ``row`` in the store."""
        clips = self.store.clips.iloc[self.rows].reset_index(drop=True)
        clips.insert(0, "row", self.rows)
        return clips

    def ready(self, array: FeatureArray) -> npt.NDArray[np.bool_]:
        """Which of `rows` hold values, ``(n_rows,)``."""
        ready: npt.NDArray[np.bool_] = array.ready[self.rows]
        return ready

    def dtype(self, array: FeatureArray) -> np.dtype[Any]:
        """Type of the values as they are exported."""
        return np.dtype("<f4") if self.encoding == "float32" else array.layout.encoding.dtype

    def fill_value(self, array: FeatureArray) -> float | int:
        """Value of rows that are not ready: nan, or the encoding's code for none."""
        return float("nan") if self.encoding == "float32" else array.layout.encoding.fill_value

    def nbytes(self, array: FeatureArray) -> int:
        """Size of an array's rows [bytes]."""
        _, n_bands, n_frames = array.shape
        return len(self.rows) * n_bands * n_frames * self.dtype(array).itemsize

    def batches(self, array: FeatureArray) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """All rows, some at a time: the place of the first among `rows`, and their values.

        Rows that are not ready are all `fill_value`.
        """
        _, n_bands, n_frames = array.shape
        ready = self.ready(array)
        step = max(1, BATCH_NBYTES // (4 * n_bands * n_frames))
        for first in range(0, len(self.rows), step):
            here = slice(first, first + step)
            shape = len(self.rows[here]), n_bands, n_frames
            values = np.full(shape, self.fill_value(array), self.dtype(array))
            read = array.read(self.rows[here][ready[here]])
            if self.encoding == "stored":  # decoding and encoding again gives the same codes
                read = array.layout.encoding.encode(read, array.spec.value_range)
            values[ready[here]] = read
            yield first, values

    def facts(self, array: FeatureArray) -> dict[str, Any]:
        """Meaning and provenance of a spec's values, as plain values.

        The spec's fields under librosa's names, units, the largest error of the encoding that
        they were stored in, and provenance.
        """
        spec, stored = array.spec, array.layout
        layout = dataclasses.replace(stored, spec=spec, n_frames=array.shape[2]).to_json()
        kept = ("codec", "clips_per_shard", "settings")
        affine = None if self.encoding == "float32" else stored.encoding.affine(spec.value_range)
        return {
            **{key: value for key, value in layout.items() if key not in kept},
            "long_name": spec.long_name,
            "units": spec.unit,
            "dtype": self.dtype(array).name,
            **({} if affine is None else dict(zip(_AFFINE, affine, strict=True))),
            "max_error": array.max_error,
            "view_of": array.view_of or "",
            "settings": dict(stored.settings),
            "software": array.software,
        }


_AFFINE = "scale_factor", "add_offset"
