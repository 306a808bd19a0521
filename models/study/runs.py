"""The runs of a study: networks x specs x folds x seeds, and which clips each one learns from."""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal

from featurestore.errors import TrainingError, TrainingSettingsError
from featurestore.specs.spec import Spec
from models.data import (
    ALL,
    DRAWN_FOLDS,
    Perturber,
    TrainingData,
    choose_conditions,
    clean_specs,
    folds_of,
    has_folds,
    is_split,
    training_data,
)
from models.networks.architecture import Architecture
from models.study.results import IDENTITY, Identity, Row, identity, is_of_one_network
from models.training.recipes import RECIPES
from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

Vary = Literal["weights", "clips"]
"""What differs from run to run: first weights and order, or which clips train too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training: what a process needs to do it.

    Attributes
    ----------
    store : FeatureStore
    spec, encoding : str
    fold, partition : int or None
        See `models.data.training_data`.
    tags : tuple of str
    settings : TrainSettings
    draws : bool or Perturber
        See `models.data.training_data`.
    conditions : tuple of str
        Under which the network is tested besides the one that it is trained on.
    n_train, n_test : int
        Clips of the splits.
    threads : int or None
        CPU threads; None for as many as the process has.
    """

    store: "FeatureStore"
    spec: str
    encoding: str
    fold: int | None
    partition: int | None
    tags: tuple[str, ...]
    settings: TrainSettings
    draws: bool | Perturber
    conditions: tuple[str, ...]
    n_train: int
    n_test: int
    threads: int | None

    def __str__(self) -> str:
        where = f"{self.spec} {self.settings.architecture.name} seed {self.settings.seed}"
        return where + ("" if self.fold is None else f" fold {self.fold}")

    @property
    def source(self) -> tuple[object, ...]:
        """What it learns from: equal for runs that can share what was read."""
        return self.store.path, self.spec, self.fold, self.partition, self.tags, self.draws

    def data(self) -> TrainingData:
        """What it learns from; no values are read yet."""
        return training_data(
            self.store,
            self.spec,
            tags=self.tags,
            fold=self.fold,
            partition=self.partition,
            draws=self.draws,
        )


def identity_fields(data: TrainingData, settings: TrainSettings) -> Row:
    """The fields of a row that make a run what it is.

    Raises
    ------
    TrainingSettingsError
        If there is an adapter: rows have no word for it.
    """
    if settings.adapter is not None:
        raise TrainingSettingsError("a study trains whole networks: leave the adapter out")
    known = {
        **settings.json(),
        "data": data.digest,
        "spec": data.spec.name,
        "encoding": data.encoding,
        "fold": data.fold,
    }
    drawn = {
        "draws": data.draws,
        "partition": data.partition,
        "condition": data.spec.condition.name,
    }
    recipe = RECIPES[settings.recipe]
    own = {
        field: None if known[field] == getattr(recipe, field) else known[field]
        for field in ("weight_decay", "warm_up")
    }
    learnt = {field: known[field] for field in ("task", "class_weights")}
    return {field: known[field] for field in IDENTITY} | drawn | learnt | own


def rows_wanted(wanted: Mapping[Identity, Run]) -> dict[Identity, Identity]:
    """All rows of a study, and of which training each is."""
    return {
        name._replace(condition=condition): name
        for name, run in wanted.items()
        for condition in (name.condition, *run.conditions)
    }


def rows_done(wanted: Mapping[Identity, Run], rows: Sequence[Row]) -> dict[Identity, Row]:
    """Rows that are there already; of a training that was done twice, those of its last weights."""
    names = rows_wanted(wanted)
    last = {identity(row): row for row in rows if identity(row) in names}
    return {
        name: row
        for name, row in last.items()
        if names[name] in last and is_of_one_network(row, last[names[name]])
    }


def list_runs(
    stores: Sequence["FeatureStore"],
    *,
    settings: TrainSettings,
    specs: Sequence[Spec | str] | None = None,
    models: Sequence[str] = ("vgg",),
    runs: int = 3,
    folds: Sequence[int] | None = None,
    tags: Sequence[str] | None = None,
    vary: Vary | None = None,
    conditions: Sequence[str] = (),
    perturber: Perturber | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[Identity, Run]:
    """All runs of a study by their `identity`, in the order in which they are done.

    Parameters are those of `models.study.study.study`.

    Raises
    ------
    TrainingError
        If one of the runs cannot be.
    UnknownSpecError
        If no store has one of the specs.
    """
    if runs < 1:
        raise TrainingSettingsError(f"runs is {runs}; it must be at least 1")
    if vary not in (None, "weights", "clips"):
        raise TrainingSettingsError(f"vary is {vary!r}; it must be weights or clips")
    draws = settings.draws if perturber is None else perturber
    trainings = [
        dataclasses.replace(
            settings, model=model, seed=settings.seed + run, draws=draws is not False
        )
        for run in range(runs)
        for model in dict.fromkeys(models)
    ]
    networks = [training.architecture for training in trainings if training.seed == settings.seed]
    wanted: dict[Identity, Run] = {}
    chosen: dict[Hashable, tuple[str, ...]] = {}
    digests: dict[str, list[str]] = {}
    notes: set[str] = set()
    for store in stores:
        choices = _folds(store, folds, say)
        for spec, fold in product(_specs_of(store, stores, specs, networks), choices):
            taken = [t for t in trainings if isinstance(spec, t.architecture.accepts)]
            for training, data in _data_of(store, spec, fold, tags, taken, vary, draws):
                training.require_learnable(data)
                name = f"{data.spec.name} of {store.path}"
                digests.setdefault(data.digest, []).append(name)
                if data.note is not None and data.note not in notes:
                    notes.add(data.note)
                    say(data.note)
                drawn = store.path, data.spec, fold, data.partition
                if drawn not in chosen:
                    found = choose_conditions(store, data.test, conditions)
                    chosen[drawn] = tuple(condition.name for condition in found)
                run = Run(
                    store=store,
                    spec=data.spec.name,
                    encoding=data.encoding,
                    fold=fold,
                    partition=data.partition,
                    tags=data.tags,
                    settings=training,
                    draws=draws,
                    conditions=chosen[drawn],
                    n_train=len(data.train),
                    n_test=len(data.test),
                    threads=threads,
                )
                first = wanted.setdefault(identity(identity_fields(data, training)), run)
                if first.store is not store:
                    raise TrainingError(
                        f"{run.spec} as {data.encoding} is in {first.store.path} and in "
                        f"{store.path}; leave one of them out, or choose --specs"
                    )
    for architecture in networks:
        if not any(run.settings.architecture.name == architecture.name for run in wanted.values()):
            raise TrainingError(
                f"{architecture.name} takes specs of the kind {architecture.accepts.kind}, and "
                "none of these is; leave it out, or choose other --specs"
            )
    if ALL in conditions and not any(chosen.values()):
        paths = ", ".join(store.path for store in stores)
        raise TrainingError(
            f"none of these specs is stored under another condition in {paths}; "
            "featurize --perturb smc2020, say, adds some"
        )
    if len(digests) > 1:
        firsts = ", ".join(f"{names[0]} ({digest})" for digest, names in digests.items())
        say(
            "these are not the same ready clips, splits and tags, and their scores cannot be "
            f"compared: {firsts}"
        )
    return wanted


def _folds(
    store: "FeatureStore", folds: Sequence[int] | None, say: Callable[[str], None]
) -> list[int | None]:
    """The folds to test on, one after the other."""
    if is_split(store) or has_folds(store):
        return folds_of(store) if folds is None else list(dict.fromkeys(folds))
    say(
        f"{store.path} has neither splits nor folds: {len(DRAWN_FOLDS)} folds are drawn, "
        "by artist where artists are known"
    )
    return list(DRAWN_FOLDS if folds is None else dict.fromkeys(folds))


def _data_of(
    store: "FeatureStore",
    spec: Spec,
    fold: int | None,
    tags: Sequence[str] | None,
    trainings: Sequence[TrainSettings],
    vary: Vary | None,
    draws: bool | Perturber,
) -> Iterator[tuple[TrainSettings, TrainingData]]:
    """What each training learns from; trainings of one seed share it, whatever spec and network.

    A seed is its partition's too, so that runs of one seed are paired between points, and more
    runs continue fewer.
    """
    made: dict[int | None, TrainingData] = {}
    for training in trainings:
        if vary == "clips" or (vary is None and fold is not None):
            partition: int | None = training.seed
        elif fold is None or has_folds(store):
            partition = None
        else:
            partition = trainings[0].seed  # one drawing of folds for all runs
        if partition not in made:
            made[partition] = training_data(
                store, spec, tags=tags, fold=fold, partition=partition, draws=draws
            )
        yield training, made[partition]


def _specs_of(
    store: "FeatureStore",
    stores: Sequence["FeatureStore"],
    specs: Sequence[Spec | str] | None,
    networks: Sequence[Architecture],
) -> list[Spec]:
    """Specs of `store` that some network takes."""
    if specs is None:
        chosen = [s for s in clean_specs(store) if any(isinstance(s, n.accepts) for n in networks)]
        if not chosen:
            kinds = " or ".join(dict.fromkeys(network.accepts.kind for network in networks))
            raise TrainingError(
                f"{store.path} holds no spec of the kind {kinds}, of clean audio, which "
                f"{', '.join(network.name for network in networks)} can be trained on; name specs "
                "with --specs"
            )
    else:
        # Where no store has it, asking this one says so.
        mine = [s for s in specs if s in store or not any(s in other for other in stores)]
        chosen = list(dict.fromkeys(store[spec].spec for spec in mine))
        for spec in chosen:
            if not any(isinstance(spec, network.accepts) for network in networks):
                networks[0].require(spec)
    return chosen
