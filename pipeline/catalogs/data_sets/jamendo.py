"""MTG-Jamendo: 54,380 full-length tracks with the 50 most frequent of 195 tags.

Tracks are MP3, 44.1 kHz, stereo, 320 kb/s, 30 s or longer, or mono at a lower rate in the
``audio-low`` edition. AUDIO is the folder that holds the folders ``00`` to ``99`` and, as they
come, unpacked or as ``.gz``, ``autotagging_top50tags-{train,validation,test}.tsv`` of the
split ``split-0``.

Splits are the three files: 32,136, 10,888 and 11,356 tracks. No artist is in two of them. Tags are
``category---tag`` (genre, instrument, mood/theme), in alphabetical order.
"""

from featurestore.errors import CatalogError
from pipeline.catalogs.catalog import SPLITS, Catalog, multi_hot
from pipeline.catalogs.catalog.files import has_metadata, open_metadata

SOURCE = "https://github.com/MTG/mtg-jamendo-dataset"

_REMEDY = f"take it as it is from {SOURCE}"

CITATION = """@inproceedings{bogdanov2019mtg,
  author = {Bogdanov, Dmitry and Won, Minz and Tovstogan, Philip and Porter, Alastair and
            Serra, Xavier},
  title = {The {MTG-Jamendo} Dataset for Automatic Music Tagging},
  booktitle = {Machine Learning for Music Discovery Workshop, ICML},
  year = {2019}
}"""

LICENCE = "Metadata CC BY-NC-SA 4.0; audio under the Creative Commons licence of each track"

KNOWN_BAD: tuple[str, ...] = ()

_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


def list_jamendo(folder: str) -> Catalog:
    """List MTG-Jamendo's top-50 tagging subset.

    Parameters
    ----------
    folder : str
        The folder that holds the three split files and the folders ``00`` to ``99``.

    Raises
    ------
    CatalogError
        If a split file is not there or is not what it should be.
    """
    rows: list[list[str]] = []
    split: list[str] = []
    places: list[str] = []
    for part in SPLITS:
        name = f"autotagging_top50tags-{part}.tsv"
        with open_metadata(folder, name, remedy=_REMEDY) as file:
            header, *lines = (line.split("\t") for line in file.read().splitlines())
        if header != _HEADER or any(len(line) < len(_HEADER) for line in lines):
            raise CatalogError(
                f"{name} in {folder} does not have the columns {', '.join(_HEADER)}; {_REMEDY}"
            )
        rows += lines
        split += [part] * len(lines)
        places += [f"{name}:{number}" for number in range(2, len(lines) + 2)]
    # The last column repeats: a tag each.
    tags, labels = multi_hot([row[5:] for row in rows])
    paths = [row[3] for row in rows]
    if paths and has_metadata(folder, _low(paths[0])):
        paths = [_low(path) for path in paths]
    return Catalog(
        name="jamendo",
        root=folder,
        track_id=[row[0] for row in rows],
        path=paths,
        split=split,
        tags=tags,
        labels=labels,
        artist=[row[1] for row in rows],
        album=[row[2] for row in rows],
        where=places.__getitem__,
    )


def _low(path: str) -> str:
    """Name of a track in the ``audio-low`` edition."""
    return path.removesuffix(".mp3") + ".low.mp3"


CATALOGS = {"jamendo": list_jamendo}
"""Its editions by name: from the folder that holds it to a catalog."""
