"""How a table of tracks is read: which of its columns is what, and where its paths lead from."""

import dataclasses
import os
from collections.abc import Sequence

from featurestore.errors import SettingsError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Settings for reading a table: what it does not say of itself.

    Parameters
    ----------
    path_column : str
        The column with each track's path.
    label : sequence of str
        Columns of which each value is a tag: ``rock`` in ``genre``. One name may be given alone.
    tags : sequence of str
        Columns of lists of tags: ``rock|pop``, ``["rock", "pop"]``, or lists where the file has
        such. One name may be given alone.
    meta : sequence of str
        Columns kept in the clip table as they are, numbers or text. One may also be a label.
    root : str or None
        Folder (a path or an fsspec URL) that paths are relative to, and below which absolute ones
        are; None for the table's own.

    Raises
    ------
    SettingsError
        If a name is empty or no text, or if a column is to be of two kinds that exclude each other.
    """

    path_column: str = "path"
    label: Sequence[str] = ()
    tags: Sequence[str] = ()
    meta: Sequence[str] = ()
    root: str | None = None

    def __post_init__(self) -> None:
        for field in ("label", "tags", "meta"):
            given = getattr(self, field)
            names = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, field, tuple(dict.fromkeys(names)))
        if self.root is not None:  # a pathlib.Path is taken too
            object.__setattr__(self, "root", os.fspath(self.root))
        for field, names in self.roles().items():
            for name in names:
                if not isinstance(name, str) or not name.strip():
                    raise SettingsError(f"{field} names the column {name!r}; give it its name")
        if both := set(self.label) & set(self.tags):
            raise SettingsError(
                f"the column {min(both)!r} is named in label and in tags; a label is one tag a "
                "track, tags are lists: name it in one of them"
            )
        for field in ("label", "tags", "meta"):
            if self.path_column in getattr(self, field):
                raise SettingsError(
                    f"the column {self.path_column!r} is named in {field} and has the paths; "
                    "leave it out there"
                )

    def roles(self) -> dict[str, tuple[str, ...]]:
        """The columns that are named, by what for."""
        return {
            "path_column": (self.path_column,),
            "label": tuple(self.label),
            "tags": tuple(self.tags),
            "meta": tuple(self.meta),
        }

    def given(self) -> list[str]:
        """The options, as the command line has them, that are not as they are by default."""
        default = TableSettings()
        return [
            f"--{field.name.replace('_', '-')}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(default, field.name)
        ]
