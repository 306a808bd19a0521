"""FMA: 106,574 tracks of the Free Music Archive, whole or as 30 s from their middle.

Tracks are MP3, mostly 44.1 kHz stereo. AUDIO is the folder into which the archives were unpacked:
``fma_metadata/tracks.csv`` and, for the edition in question, ``fma_small/000/000002.mp3`` and so
on.

=========  =======  ==========  ======================
catalog     tracks  root genres  audio
=========  =======  ==========  ======================
fma-small    8,000            8  30 s, balanced genres
fma-medium  25,000           16  30 s
fma-large  106,574           16  30 s
fma-full   106,574           16  whole tracks
=========  =======  ==========  ======================

Splits are the column ``set.split``: 80, 10 and 10 %, with no artist in two of them. The tags are
``track.genre_top``, in alphabetical order; in the two largest editions about half of the tracks
have no single top genre, hence none of the tags.
"""

from functools import partial
from typing import Literal

from featurestore.errors import CatalogError
from pipeline.catalogs.catalog import Catalog, multi_hot
from pipeline.catalogs.catalog.files import open_metadata

SOURCE = "https://github.com/mdeff/fma"

_REMEDY = f"take it as it is from {SOURCE}"

CITATION = """@inproceedings{defferrard2017fma,
  author = {Defferrard, Micha{\\"e}l and Benzi, Kirell and Vandergheynst, Pierre and
            Bresson, Xavier},
  title = {{FMA}: A Dataset for Music Analysis},
  booktitle = {Proc. 18th International Society for Music Information Retrieval Conference},
  year = {2017}
}"""

LICENCE = "Metadata CC BY 4.0; audio under the licence that each artist chose"

KNOWN_BAD = tuple(
    f"fma_{edition}/{path}"
    for edition in ("small", "medium", "large")
    for path in ("099/099134.mp3", "108/108925.mp3", "133/133297.mp3")
)
"""Excerpts without any audio in them (mdeff/fma, issue 44). They are not listed."""

Edition = Literal["small", "medium", "large", "full"]

# An edition holds the smaller ones; ``full`` is ``large``, untrimmed.
_SUBSETS = {
    "small": ("small",),
    "medium": ("small", "medium"),
    "large": ("small", "medium", "large"),
    "full": ("small", "medium", "large"),
}

_COLUMNS = {
    "subset": ("set", "subset"),
    "split": ("set", "split"),
    "genre": ("track", "genre_top"),
    "artist": ("artist", "id"),
    "album": ("album", "id"),
}


def list_fma(folder: str, *, edition: Edition) -> Catalog:
    """List one edition of FMA.

    Parameters
    ----------
    folder : str
        The folder that holds ``fma_metadata`` and ``fma_small``, or another edition.
    edition : {'small', 'medium', 'large', 'full'}
        Which tracks, and in which folder they are.

    Raises
    ------
    CatalogError
        If ``tracks.csv`` is not there or is not what it should be.
    """
    import pandas as pd

    with open_metadata(folder, "fma_metadata/tracks.csv", remedy=_REMEDY) as file:
        # Three rows of header: group, column, and the name of the index, which is the first column.
        header = pd.read_csv(file, nrows=2, header=None, dtype=str, keep_default_na=False)
        found = {pair: index for index, pair in enumerate(zip(*header.to_numpy(), strict=True))}
        if missing := [".".join(pair) for pair in _COLUMNS.values() if pair not in found]:
            raise CatalogError(
                f"tracks.csv in {folder}/fma_metadata has no column {', '.join(missing)}; {_REMEDY}"
            )
        file.seek(0)
        at = {0: "track_id"} | {found[pair]: name for name, pair in _COLUMNS.items()}
        table = pd.read_csv(
            file, skiprows=3, header=None, usecols=sorted(at), dtype=str, keep_default_na=False
        ).rename(columns=at)
    number = table["track_id"].str.zfill(6)
    table["path"] = f"fma_{edition}/" + number.str[:3] + "/" + number + ".mp3"
    table = table[table["subset"].isin(_SUBSETS[edition]) & ~table["path"].isin(KNOWN_BAD)]
    tags, labels = multi_hot([[genre] if genre else [] for genre in table["genre"]])
    return Catalog(
        name=f"fma-{edition}",
        root=folder,
        track_id=tuple(table["track_id"]),
        path=tuple(table["path"]),
        split=tuple(table["split"].replace("training", "train")),
        tags=tags,
        labels=labels,
        artist=tuple(table["artist"]),
        album=tuple(table["album"]),
    )


CATALOGS = {
    "fma-full": partial(list_fma, edition="full"),
    "fma-large": partial(list_fma, edition="large"),
    "fma-medium": partial(list_fma, edition="medium"),
    "fma-small": partial(list_fma, edition="small"),
}
"""Its editions by name: from the folder that holds it to a catalog."""
