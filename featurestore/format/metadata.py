"""The store's own metadata: one file that says what it holds, read by whoever opens it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from featurestore.errors import SettingsError, StoreFormatError
from featurestore.format.division import MAX_CLIPS, Division
from featurestore.format.layout import Layout
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.kinds import parse_spec
from featurestore.storage.documents import MOST_NBYTES, parse
from featurestore.storage.files import Files

FORMAT = 1
"""Version of the store's format; a reader refuses a newer one."""

ROOT_KEY = "zarr.json"
"""Where they lie: in the attributes of the root group."""

_MAX_NAMES = 10_000
"""Most specs, and most views, of a store."""

_REMEDY = "put it back from a copy, or featurize into another place with -o"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreMetadata:
    """Specs, rows and layouts of a store, as of its last change.

    Parameters
    ----------
    window : Excerpt
        Which stretch of a track a row is.
    division : Division
    catalog : str
        Name of the collection.
    n_clips : int
        Rows of every array; rows beyond are being added.
    layouts : tuple of Layout
        Of the specs stored.
    views : tuple of str
        Names of the specs that were asked for and are served from those.
    digests : mapping of str to str
        `digest_of` the metadata and coordinates of each spec, by its name, and of the arrays of
        the clip table (``clips``, ``clips/status``), of commit records (``commits``) and of parts
        (``parts``), so that half-written or damaged ones are found out.

    Raises
    ------
    SettingsError, SpecError
        If a value is invalid.
    """

    window: Excerpt
    division: Division
    catalog: str = ""
    n_clips: int = 0
    layouts: tuple[Layout, ...] = ()
    views: tuple[str, ...] = ()
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.n_clips) is not int or not 0 <= self.n_clips <= MAX_CLIPS:
            raise SettingsError(
                f"n_clips is {self.n_clips!r}; it must be a whole number from 0 to {MAX_CLIPS}"
            )
        if not isinstance(self.catalog, str):
            raise SettingsError(f"catalog is {self.catalog!r}; it must be a text")
        for field, names in (("specs", self.names), ("views", self.views)):
            if len(names) > _MAX_NAMES:
                raise SettingsError(f"there are {len(names):,} {field}; {_MAX_NAMES:,} may be")
            if len(set(names)) < len(names):
                raise SettingsError(f"{field} names one twice")
        for name in self.views:
            parse_spec(name)
        for layout in self.layouts:
            if layout.clips_per_shard != self.division.clips_per_shard:
                raise SettingsError(
                    f"{layout.spec.name} has shards of {layout.clips_per_shard} clips; those of "
                    f"the store are of {self.division.clips_per_shard}"
                )
        for key, digest in self.digests.items():
            if not isinstance(digest, str):
                raise SettingsError(f"the digest of {key} is {digest!r}; it must be a text")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the specs stored."""
        return tuple(layout.spec.name for layout in self.layouts)

    def to_bytes(self) -> bytes:
        """As the metadata of the store's Zarr group; with a digest of itself."""
        fields = {
            "format": FORMAT,
            "window": dataclasses.asdict(self.window),
            **dataclasses.asdict(self.division),
            "catalog": self.catalog,
            "n_clips": self.n_clips,
            "specs": {layout.spec.name: layout.stored_json() for layout in self.layouts},
            "views": list(self.views),
            "digests": dict(sorted(self.digests.items())),
        }
        attributes = {"melgrid": {**fields, "digest": _own_digest(fields)}}
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        return json.dumps(document, indent=2).encode()

    @classmethod
    def read(cls, files: Files) -> Self | None:
        """The metadata of the store; None where there is no store.

        Raises
        ------
        StoreFormatError
            If the store is of another version, or its metadata is damaged.
        """
        (data,) = files.read_several([ROOT_KEY], MOST_NBYTES)
        try:
            fields = data and parse(data).get("attributes", {}).get("melgrid")
            if fields is None:
                return None
            if not isinstance(fields, dict):
                raise ValueError("it is no group's")  # noqa: TRY004, as all of it
        except (ValueError, AttributeError) as error:
            raise StoreFormatError(
                f"{files.root}: {ROOT_KEY} is damaged: {error}; {_REMEDY}"
            ) from None
        version = fields.get("format")
        if version != FORMAT:
            raise StoreFormatError(
                f"{files.root} has format {version}; this melgrid reads format {FORMAT}: "
                "use the melgrid that wrote it, or a newer one"
            )
        if "records" in fields:
            raise StoreFormatError(
                f"{files.root} is from before melgrid's first release, whose format was not "
                "final; featurize into another place with -o"
            )
        try:
            return cls._from_json(fields)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            message = f"no {error}" if type(error) is KeyError else error
            raise StoreFormatError(
                f"{files.root}: {ROOT_KEY} is damaged: {message}; {_REMEDY}"
            ) from None

    @classmethod
    def _from_json(cls, fields: Mapping[str, Any]) -> Self:
        division = Division(
            clips_per_shard=fields["clips_per_shard"], shards_per_part=fields["shards_per_part"]
        )
        if not isinstance(fields["digests"], dict):
            raise TypeError("digests must be an object")
        if len(fields["specs"]) > _MAX_NAMES:
            raise ValueError(f"there are {len(fields['specs']):,} specs; {_MAX_NAMES:,} may be")
        metadata = cls(
            window=Excerpt.from_json(dict(fields["window"])),
            division=division,
            catalog=fields["catalog"],
            n_clips=fields["n_clips"],
            layouts=tuple(
                Layout.from_stored_json(name, layout, division.clips_per_shard)
                for name, layout in fields["specs"].items()
            ),
            views=tuple(fields["views"]),
            digests=dict(fields["digests"]),
        )
        covered = {key: value for key, value in fields.items() if key != "digest"}
        if fields["digest"] != _own_digest(covered):
            raise ValueError("the digest of its attributes does not match")
        return metadata


def _own_digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
