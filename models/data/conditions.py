"""Conditions of a store: the same clips, of perturbed audio, to test a network on.

What a network learnt stays as it is, the statistics by which it normalises among it: those of the
clips that it was trained on.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featurestore.errors import TrainingError
from featurestore.specs.perturbation import Condition, conditions_named
from featurestore.specs.spec import Spec
from models.data.dataset import ClipDataset

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

ALL = "all"
"""Names all conditions that are stored."""


def clean_specs(store: "FeatureStore", kind: type[Spec] | None = None) -> list[Spec]:
    """Stored specs of audio as it is, of a kind or any: those to train on where none is named."""
    return [
        spec
        for spec in store.specs
        if not spec.condition and (kind is None or isinstance(spec, kind))
    ]


def conditions_of(store: "FeatureStore", dataset: ClipDataset) -> list[Condition]:
    """Conditions under which `store` has some of the clips, other than their own, as stored.

    What is stored of none of them is left out, and so are draws, which are for training.
    """
    own = dataset.spec
    there = dict.fromkeys(spec.condition for spec in store.specs if spec.sr == own.sr)
    return [
        condition
        for condition in there
        if condition != own.condition
        and not condition.is_draw
        and own.under(condition) in store
        and store[own.under(condition)].ready[dataset.rows].any()
    ]


def choose_conditions(
    store: "FeatureStore", dataset: ClipDataset, names: Sequence[str]
) -> list[Condition]:
    """Conditions that are named, each once, and not the data set's own; all can be had.

    Parameters
    ----------
    store : FeatureStore
    dataset : ClipDataset
    names : sequence of str
        ``all``, which may be none; names of sets of conditions; names of conditions.

    Raises
    ------
    SpecError
        If one is no condition's name.
    TrainingError
        If `store` does not hold one of them, or not all of the clips under it.
    """
    chosen: list[Condition] = []
    for name in names:
        if name == ALL:
            chosen += conditions_of(store, dataset)
        else:
            chosen += conditions_named(name)
    chosen = [c for c in dict.fromkeys(chosen) if c != dataset.spec.condition]
    for condition in chosen:
        under(store, dataset, condition)
    return chosen


def under(store: "FeatureStore", dataset: ClipDataset, condition: Condition) -> ClipDataset:
    """Make a data set of the same clips under another condition.

    Raises
    ------
    TrainingError
        If `store` does not hold it, or not all of the clips.
    """
    spec = dataset.spec.under(condition)
    if spec not in store:
        there = ", ".join(c.name for c in conditions_of(store, dataset)) or "none"
        raise TrainingError(
            f"{store.path} holds no {spec.name}; the conditions of {dataset.spec.name} are: "
            f"{there}; featurize --perturb {condition} adds this one"
        )
    array = store[spec]
    n_missing = int((~array.ready[dataset.rows]).sum())
    if n_missing:
        raise TrainingError(
            f"{n_missing} of {len(dataset)} clips of {spec.name} are not ready; run featurize "
            f"--perturb {condition} again to compute them"
        )
    return dataset.of(array)
