"""MagnaTagATune: 25,863 clips of 29 s with 188 tags, from a game played by listeners.

Clips are MP3, 16 kHz, mono, 32 kb/s, cut from 5,405 recordings of the label Magnatune.
AUDIO is the folder that holds the folders ``0`` to ``f`` and, as they come, unpacked or as
``.gz``, ``annotations_final.csv`` and, for artists and albums, ``clip_info_final.csv``.

Splits go by the folder that a clip is in, so that clips of one recording stay together:
``0`` to ``b`` train, ``c`` validation, ``d`` to ``f`` test.

===========  ======  ==========  =====
catalog       train  validation   test
===========  ======  ==========  =====
mtat         18,706       1,825  5,329
mtat-all     18,706       1,825  5,329
mtat-clean   15,244       1,529  4,332
===========  ======  ==========  =====

``mtat`` has the 50 most frequent tags, ``mtat-all`` all 188, in the file's order. ``mtat-clean``
has the 50, and leaves out clips without any of them: scores on it and on ``mtat`` are not
comparable.
"""

from functools import partial
from typing import Any, Literal

from featurestore.errors import CatalogError
from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.catalog.files import has_metadata, open_metadata

SOURCE = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"

_REMEDY = f"take it as it is from {SOURCE}"

CITATION = """@inproceedings{law2009evaluation,
  author = {Law, Edith and West, Kris and Mandel, Michael and Bay, Mert and Downie, J. Stephen},
  title = {Evaluation of Algorithms Using Games: The Case of Music Tagging},
  booktitle = {Proc. 10th International Society for Music Information Retrieval Conference},
  year = {2009},
  pages = {387--392}
}"""

LICENCE = "Annotations free to use; audio CC BY-NC-SA 1.0 (Magnatune), for research"

KNOWN_BAD = (
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-"
    "le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
)
"""Files that are empty (0 bytes) in the distribution. They are not listed."""

_BACH = "0/american_bach_soloists-j_s__bach__cantatas_volume_v-"
CLEAN_LACKS = (
    _BACH + "01-gleichwie_der_regen_und_schnee_vom_himmel_fallt_bwv_18_i_sinfonia-117-146.mp3",
    _BACH + "03-gleichwie_der_regen_und_schnee_vom_himmel_fallt_bwv_18_iii_recitative_and_litany_"
    "_mein_gott_hier_wird_mein_herze_sein-204-233.mp3",
    _BACH + "03-gleichwie_der_regen_und_schnee_vom_himmel_fallt_bwv_18_iii_recitative_and_litany_"
    "_mein_gott_hier_wird_mein_herze_sein-233-262.mp3",
)
"""Tagged clips that the published lists of the clean split lack: the first three by path, for no
stated reason. They are left out here as well, so that the split is the published one."""

# fmt: off
TOP50 = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "female voice", "metal", "choral",
)
# fmt: on
"""The 50 most frequent tags, most frequent first, as the literature orders them."""

_SPLIT = {**dict.fromkeys("0123456789ab", "train"), "c": "validation"} | dict.fromkeys(
    "def", "test"
)


def list_mtat(
    folder: str,
    *,
    tags: Literal["top50", "all"] = "top50",
    split: Literal["folder", "clean"] = "folder",
) -> Catalog:
    """List MagnaTagATune.

    Parameters
    ----------
    folder : str
        The folder that holds ``annotations_final.csv`` and the folders ``0`` to ``f``.
    tags : {'top50', 'all'}
        The 50 most frequent tags, or all 188.
    split : {'folder', 'clean'}
        All clips, or those that carry one of the 50 tags.

    Raises
    ------
    CatalogError
        If ``annotations_final.csv`` is not there or is not what it should be.
    """
    import pandas as pd

    with open_metadata(folder, "annotations_final.csv", remedy=_REMEDY) as file:
        # Columns that are not named here are tags; a value that is no small number is an error.
        dtype: Any = {"clip_id": str, "mp3_path": str}
        table = pd.read_csv(file, sep="\t", dtype=dtype, keep_default_na=False)
        if missing := [c for c in ("clip_id", "mp3_path", *TOP50) if c not in table]:
            raise CatalogError(
                f"annotations_final.csv in {folder} has no column {missing[0]!r}; {_REMEDY}"
            )
    table = table[~table["mp3_path"].isin(KNOWN_BAD)]
    if split == "clean":
        tagged = table[list(TOP50)].any(axis="columns")
        table = table[tagged & ~table["mp3_path"].isin(CLEAN_LACKS)]
    names = TOP50 if tags == "top50" else tuple(table.columns.drop(["clip_id", "mp3_path"]))
    parent = table["mp3_path"].str.split("/").str[0]
    artist, album = _artists_and_albums(folder, table["clip_id"])
    return Catalog(
        name="mtat" + ("-all" if tags == "all" else "") + ("-clean" if split == "clean" else ""),
        root=folder,
        track_id=tuple(table["clip_id"]),
        path=tuple(table["mp3_path"]),
        split=tuple(parent.map(_SPLIT).fillna(parent)),
        tags=names,
        labels=table[list(names)].to_numpy(),
        artist=artist,
        album=album,
    )


def _artists_and_albums(
    folder: str, clip_ids: Any
) -> tuple[tuple[str, ...], tuple[str, ...]] | tuple[None, None]:
    """Artist and album of each clip, if the file that knows them is there."""
    import pandas as pd

    if not has_metadata(folder, "clip_info_final.csv"):
        return None, None
    columns = ["clip_id", "artist", "album"]
    with open_metadata(folder, "clip_info_final.csv", remedy=_REMEDY) as file:
        info = pd.read_csv(file, sep="\t", usecols=columns, dtype=str, keep_default_na=False)
    info = info.drop_duplicates("clip_id").set_index("clip_id").reindex(clip_ids, fill_value="")
    return tuple(info["artist"]), tuple(info["album"])


CATALOGS = {
    "mtat": list_mtat,
    "mtat-all": partial(list_mtat, tags="all"),
    "mtat-clean": partial(list_mtat, split="clean"),
}
"""Its editions by name: from the folder that holds it to a catalog."""
