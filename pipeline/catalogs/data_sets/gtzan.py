"""GTZAN: 1,000 excerpts of 30 s in 10 genres, of which the fault-filtered split keeps 930.

Excerpts are 22.05 kHz, mono, 16 bit, WAV. AUDIO is the folder that holds a folder a genre
(``blues/blues.00000.wav``) and, but for ``gtzan-all``, the lists
``{train,valid,test}_filtered.txt``. ``gtzan-all`` is all excerpts that are there, WAV or AU,
without splits: ``featurize --split 8:1:1`` draws some, by track, as many publications have it;
repetitions and artists are then in several of them.

The split is Kereliuk's: 443, 197 and 290 excerpts, without the repetitions, mislabellings and
distortions that Sturm found, and made to keep artists apart. The tags are the 10 genres, in
alphabetical order.
"""

import re

from featurestore.errors import CatalogError
from featurestore.storage.urls import file_system
from pipeline.catalogs.catalog import Catalog, multi_hot
from pipeline.catalogs.catalog.files import open_metadata

SOURCE = "https://github.com/coreyker/dnn-mgr/tree/master/gtzan"

_REMEDY = f"take it as it is from {SOURCE}"

CITATION = """@article{tzanetakis2002musical,
  author = {Tzanetakis, George and Cook, Perry},
  title = {Musical Genre Classification of Audio Signals},
  journal = {IEEE Transactions on Speech and Audio Processing},
  volume = {10}, number = {5}, pages = {293--302}, year = {2002}
}
@article{kereliuk2015deep,
  author = {Kereliuk, Corey and Sturm, Bob L. and Larsen, Jan},
  title = {Deep Learning and Music Adversaries},
  journal = {IEEE Transactions on Multimedia},
  volume = {17}, number = {11}, pages = {2059--2071}, year = {2015}
}"""

LICENCE = "Split lists MIT; audio without a stated licence, for research"

KNOWN_BAD: tuple[str, ...] = ()
"""None in the original. In some copies ``jazz/jazz.00054.wav`` is damaged; it is listed, and
becomes a failed row there."""


def list_gtzan(folder: str) -> Catalog:
    """List GTZAN with the fault-filtered split.

    Parameters
    ----------
    folder : str
        The folder that holds the three lists and a folder a genre.

    Raises
    ------
    CatalogError
        If a list is not there.
    """
    paths: list[str] = []
    split: list[str] = []
    for part, stem in (("train", "train"), ("validation", "valid"), ("test", "test")):
        with open_metadata(folder, f"{stem}_filtered.txt", remedy=_REMEDY) as file:
            listed = file.read().split()
        paths += listed
        split += [part] * len(listed)
    tags, labels = multi_hot([[path.split("/")[0]] for path in paths])
    return Catalog(
        name="gtzan",
        root=folder,
        track_id=paths,
        path=paths,
        split=split,
        tags=tags,
        labels=labels,
    )


_EXCERPT = re.compile(r"([a-z]+)/\1\.\d{5}\.(wav|au)")


def list_all(folder: str) -> Catalog:
    """List all excerpts of GTZAN that are there, without splits.

    Parameters
    ----------
    folder : str
        The folder that holds a folder a genre.

    Raises
    ------
    CatalogError
        If it holds none.
    """
    with file_system(folder) as (fs, root):
        inside = sorted(path[len(root) :].strip("/") for path in fs.find(root))
    paths = [path for path in inside if _EXCERPT.fullmatch(path)]
    if not paths:
        raise CatalogError(
            f"{folder} has no blues/blues.00000.wav (nor .au) nor any other excerpt in a folder a "
            f"genre; {_REMEDY}"
        )
    both = {path.removesuffix(".wav") for path in paths}
    paths = [path for path in paths if path.removesuffix(".au") not in both or path.endswith("wav")]
    tags, labels = multi_hot([[path.split("/")[0]] for path in paths])
    return Catalog(
        name="gtzan-all",
        root=folder,
        track_id=paths,
        path=paths,
        split=[""] * len(paths),
        tags=tags,
        labels=labels,
    )


CATALOGS = {"gtzan": list_gtzan, "gtzan-all": list_all}
"""Its editions by name: from the folder that holds it to a catalog."""
