"""Which specs and conditions of a clip are looked at or listened to."""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

from featurestore.errors import SettingsError, UnknownSpecError
from featurestore.specs.grid import subsample
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import CLEAN, Condition, conditions_named
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore

MOST = 9
"""Spectrograms of a picture, or sounds of a clip, where it is not said which."""

ROWS = 3
"""Specs that are shown even where so many conditions of them do not fit."""

Conditions = Literal["all"] | Sequence[Condition | str]

T = TypeVar("T")


def choose(
    store: FeatureStore,
    specs: Sequence[Spec | str] | None = None,
    conditions: Conditions | None = None,
    *,
    row: int | None = None,
) -> tuple[Spec, ...]:
    """Specs to show, each under its conditions; the finest spec first, and the clean one of it.

    Without `conditions`, `specs` are those named and no others. Without either, all that is
    stored where that is at most `MOST`. Else at least `ROWS` specs, spread over the fineness, and
    of each as many conditions as then fit, clean first, spread over the order they are stored in.
    Random draws are left out unless they are named, or all conditions are asked for.

    Parameters
    ----------
    store : FeatureStore
    specs : sequence of (Spec or str)
        Or views. With `conditions`, of clean audio.
    conditions : 'all' or sequence of (Condition or str)
        Names of conditions, or of sets of them such as ``smc2020``. All of them are taken, and
        where `specs` are not named, fewer specs.
    row : int, optional
        Clip of which all conditions are: random draws are of clips that may train. None for
        conditions of any clip.

    Raises
    ------
    SettingsError
        If `conditions` is empty, or if a spec that goes with it has a condition already.
    SpecError, UnknownSpecError
        If a name is that of no spec or condition, or if the store cannot give it, or holds none.
    """
    if not store.specs:
        raise UnknownSpecError(f"{store.path} holds no specs; featurize adds some")
    named = None if specs is None else [parse_spec(s) if isinstance(s, str) else s for s in specs]
    if named is not None and conditions is None:
        return tuple(store[spec].spec for spec in named)
    stored = sorted(dict.fromkeys(s.condition for s in store.specs), key=bool)  # clean first
    if row is not None and not store.table.may_train[row]:
        stored = [c for c in stored if not c.is_draw]
    if named is not None:
        _refuse_perturbed(named)
        if conditions == "all":
            return tuple(u for spec in named for u in _all_of(store, spec, stored))
        wanted = parse_conditions(conditions or ())
        return tuple(store[spec.under(c)].spec for spec in named for c in wanted)
    if conditions is None:
        wanted = [c for c in stored if not c.is_draw] or stored
    else:
        wanted = stored if conditions == "all" else parse_conditions(conditions)
    clean = list(dict.fromkeys(spec.under(CLEAN) for spec in store.specs))
    clean = [spec for spec in clean if any(spec.under(c) in store.layouts for c in wanted)]
    if not clean:
        raise UnknownSpecError(
            f"{store.path} holds no spec under {', '.join(map(str, wanted))}; "
            f"its conditions are {', '.join(map(str, stored))}"
        )
    rows = max(ROWS if conditions is None else 1, MOST // len(wanted))
    chosen = subsample(clean, rows)
    if conditions is None:
        wanted = spread(wanted, MOST // len(chosen))
    every = (spec.under(condition) for spec in chosen for condition in wanted)
    return tuple(spec for spec in every if spec in store.layouts)


def parse_conditions(names: Sequence[Condition | str]) -> list[Condition]:
    """Conditions by their names, each once; a name may be that of a set of them.

    Raises
    ------
    SettingsError
        If there is none.
    SpecError
        If a name is that of no condition.
    """
    found: list[Condition] = []
    for name in names:
        if isinstance(name, Condition):
            found.append(name)
        else:
            found += conditions_named(name)
    if not found:
        raise SettingsError("conditions is empty; name some, such as clean,noise0.1, or all")
    return list(dict.fromkeys(found))


def spread(values: Sequence[T], limit: int) -> list[T]:
    """At most so many of the values: the first, the last, and some evenly between."""
    if len(values) <= limit:
        return list(values)
    step = (len(values) - 1) / max(1, limit - 1)
    return [values[round(place * step)] for place in range(limit)]


def _all_of(store: FeatureStore, spec: Spec, stored: Iterable[Condition]) -> list[Spec]:
    """A spec under all conditions that the store can give it; an error where that is none."""
    return [u for c in stored if (u := spec.under(c)) in store] or [store[spec].spec]


def _refuse_perturbed(specs: Iterable[Spec]) -> None:
    for spec in specs:
        if spec.condition:
            raise SettingsError(
                f"specs holds {spec.name}, and conditions are given too; "
                f"name {spec.under(CLEAN).name}, or leave conditions out"
            )
