"""Sets of specs."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import groupby, product
from typing import Any, TypeVar

from featurestore.errors import SpecError
from featurestore.specs.fields import HOP_UNIT
from featurestore.specs.mel import FeatureSpec, Log, Norm, Window
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from featurestore.specs.views import minimal_basis

S = TypeVar("S", bound=Spec)


def grid(
    *,
    sr: Iterable[int],
    n_mels: Iterable[int],
    hop: Iterable[int | Fraction],
    log: Iterable[Log],
    n_fft: int = 512,
    fmin: float = 0.0,
    fmax: float | None = None,
    window: Window = "hann",
    win_length: int | None = None,
    htk: bool = False,
    norm: Norm = "slaney",
) -> tuple[FeatureSpec, ...]:
    """Every combination of the values given, each once, in the order given.

    Raises
    ------
    SpecError
        If one of the combinations cannot be; the first such is reported.
    """
    return tuple(
        dict.fromkeys(
            FeatureSpec(
                sr=a,
                n_mels=b,
                hop=c,
                log=d,
                n_fft=n_fft,
                fmin=fmin,
                fmax=fmax,
                window=window,
                win_length=win_length,
                htk=htk,
                norm=norm,
            )
            for a, b, c, d in product(sr, n_mels, hop, log)
        )
    )


def every(kind: type[Spec], given: Mapping[str, Sequence[Any]]) -> tuple[Spec, ...]:
    """Every combination of the values given for the fields of a kind, each once.

    Parameters
    ----------
    kind : type
    given : mapping of str to sequence
        Values by field. Those of none are the kind's defaults; 16,000 Hz, and 96 bands of mel. A
        `hop` of a kind that counts samples is 256 times as many.

    Raises
    ------
    SpecError
        If the kind has no such field, or one of the combinations cannot be.
    """
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Sequence[Any]] = {"sr": [16000], **given}
    if "n_mels" in fields and kind is FeatureSpec:
        values.setdefault("n_mels", [96])
    if "hop" in values and "hop_length" in fields:
        values["hop_length"] = [int(hop * HOP_UNIT) for hop in values.pop("hop")]
    if "norm" in values:
        values["norm"] = [None if norm == "none" else norm for norm in values["norm"]]
    unknown = values.keys() - fields
    if unknown:
        raise SpecError(
            f"{', '.join(sorted(unknown))}: specs of the kind {kind.kind} have no such field; "
            f"they have {', '.join(sorted(fields - {'condition'}))}"
        )
    order = [name for name in ("sr", "n_mels", "hop", "hop_length", "log") if name in values]
    names = [*order, *(name for name in values if name not in order)]
    return tuple(
        dict.fromkeys(
            kind(**dict(zip(names, combination, strict=True)))
            for combination in product(*(values[name] for name in names))
        )
    )


def under(specs: Iterable[S], conditions: Iterable[Condition]) -> tuple[S, ...]:
    """The specs as they are, and then of audio under each of the conditions."""
    clean = tuple(specs)
    return tuple(dict.fromkeys((*clean, *(spec.under(c) for c in conditions for spec in clean))))


def subsample(specs: Iterable[S], limit: int) -> tuple[S, ...]:
    """At most `limit` specs, finest first: the finest, the coarsest, and some evenly between.

    Resolution is values a second, bands times frame rate. Where there are too many, those that
    can be derived from another one of the same resolution (``log`` from ``db``) are left out.
    """
    ordered = sorted(specs, key=lambda spec: (-_resolution(spec), spec.name))
    if len(ordered) <= limit:
        return tuple(ordered)
    ordered = [
        spec for _, alike in groupby(ordered, key=_resolution) for spec in minimal_basis(alike)
    ]
    if len(ordered) <= limit:
        return tuple(ordered)
    step = (len(ordered) - 1) / max(1, limit - 1)
    return tuple(ordered[round(place * step)] for place in range(limit))


def _resolution(spec: Spec) -> Fraction:
    return spec.n_bands / spec.frame_step


def ferraro2020(window: Window = "hann") -> tuple[FeatureSpec, ...]:
    """The 88 configurations of Ferraro et al. 2020 (their section 3.2).

    The study's own numbers come from Essentia's symmetric window: ``window='hann-symmetric'``.
    """
    specs: list[FeatureSpec] = []
    logs: tuple[Log, ...] = ("log", "db")
    for sr, log in product((12000, 16000), logs):
        for n_mels, hop in (
            *product((128, 96, 48), (1, 2, 3, 4, 5, 10)),
            *product((32, 24, 16, 8), (1,)),
        ):
            specs.append(FeatureSpec(sr=sr, n_mels=n_mels, hop=hop, log=log, window=window))
    return tuple(specs)


GRIDS: dict[str, Callable[[Window], tuple[FeatureSpec, ...]]] = {"ferraro2020": ferraro2020}
"""Named grids: functions of the window."""
