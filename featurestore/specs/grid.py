"""Sets of specs."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import groupby, product
from typing import TypeVar

from featurestore.specs.mel import FeatureSpec, Log, Norm, Window
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
