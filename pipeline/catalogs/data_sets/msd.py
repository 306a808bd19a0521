"""Million Song Dataset: about 242,000 previews of 30 s with the 50 top Last.fm tags.

Previews are MP3, 64 to 128 kb/s, 22.05 or 44.1 kHz, from 7digital. AUDIO is the folder that holds
them as ``3/6/36122424.clip.mp3`` and the files of Choi's split, as they come:

- ``{train,valid,test}_x_msd_id.txt``: a line a track, its MSD id;
- ``{train,valid,test}_x_filename.txt``: in the same order, its path; the ending ``.npy`` that the
  lists have stands for ``.clip.mp3``;
- ``{train,valid,test}_y.npy``: in the same order, its labels, 0 or 1, ``(n_tracks, 50)``.

The split lists that others published are pickles, which melgrid does not open: whoever trusts one
can write it as the files above. Previews that are empty or short become failed rows.
"""

import numpy as np

from featurestore.errors import CatalogError
from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.catalog.files import open_metadata

SOURCE = "https://github.com/keunwoochoi/MSD_split_for_tagging"

_REMEDY = f"take it as it is from {SOURCE}"

CITATION = """@inproceedings{bertin2011million,
  author = {Bertin-Mahieux, Thierry and Ellis, Daniel P. W. and Whitman, Brian and Lamere, Paul},
  title = {The Million Song Dataset},
  booktitle = {Proc. 12th International Society for Music Information Retrieval Conference},
  year = {2011}
}
@inproceedings{choi2016automatic,
  author = {Choi, Keunwoo and Fazekas, George and Sandler, Mark},
  title = {Automatic Tagging Using Deep Convolutional Neural Networks},
  booktitle = {Proc. 17th International Society for Music Information Retrieval Conference},
  year = {2016}
}"""

LICENCE = "Metadata for research; the previews are 7digital's, and not distributed with it"

KNOWN_BAD: tuple[str, ...] = ()

# fmt: off
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists",
    "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill",
    "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic",
    "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country",
    "easy listening", "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock",
    "60s", "rnb", "indie pop", "sad", "House", "happy",
)
# fmt: on
"""The columns of the label files."""


def list_msd(folder: str) -> Catalog:
    """List the Million Song Dataset's tagging split.

    Parameters
    ----------
    folder : str
        The folder that holds the nine files of the split and the folders ``0`` to ``9``.

    Raises
    ------
    CatalogError
        If a file is not there or does not fit the others.
    """
    ids: list[str] = []
    paths: list[str] = []
    split: list[str] = []
    labels = []
    for part, stem in (("train", "train"), ("validation", "valid"), ("test", "test")):
        with open_metadata(folder, f"{stem}_x_msd_id.txt", remedy=_REMEDY) as file:
            part_ids = file.read().split()
        with open_metadata(folder, f"{stem}_x_filename.txt", remedy=_REMEDY) as file:
            part_paths = file.read().split()
        with open_metadata(folder, f"{stem}_y.npy", remedy=_REMEDY, mode="rb") as file:
            part_labels = np.load(file, allow_pickle=False)
        if not (
            len(part_ids) == len(part_paths) and part_labels.shape == (len(part_ids), len(TAGS))
        ):
            raise CatalogError(
                f"{folder}: {stem}_x_msd_id.txt has {len(part_ids)} lines, {stem}_x_filename.txt "
                f"{len(part_paths)}, {stem}_y.npy the shape {part_labels.shape}; they must be n, n"
                f" and (n, {len(TAGS)})"
            )
        ids += part_ids
        paths += part_paths
        split += [part] * len(part_ids)
        labels.append(part_labels)
    return Catalog(
        name="msd",
        root=folder,
        track_id=ids,
        path=[
            path.removesuffix(".npy") + ".clip.mp3" if path.endswith(".npy") else path
            for path in paths
        ],
        split=split,
        tags=TAGS,
        labels=np.concatenate(labels),
    )


CATALOGS = {"msd": list_msd}
"""Its editions by name: from the folder that holds it to a catalog."""
