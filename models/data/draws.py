"""Random draws of clips: those that a store has, or what makes them while clips are read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featurestore.errors import SpecError, TrainingError
from featurestore.specs.spec import Spec
from featurestore.specs.waveform import WaveformSpec
from models.data.dataset import Perturber

if TYPE_CHECKING:
    from featurestore.array import FeatureArray
    from featurestore.store import FeatureStore


def draws_of(store: "FeatureStore", spec: Spec) -> list["FeatureArray"]:
    """The random draws of a clean spec that a store has.

    Raises
    ------
    TrainingError
        If it has none, or the spec is of perturbed audio.
    """
    _require_clean(spec)
    found = stored_draws(store, spec)
    if not found:
        raise TrainingError(
            f"{store.path} holds no random draws of {spec.name}; featurize --draws 4 makes them"
        )
    return found


def stored_draws(store: "FeatureStore", spec: Spec) -> list["FeatureArray"]:
    """The random draws of a spec that a store has, in order; none of one of perturbed audio."""
    if spec.condition:
        return []
    conditions = dict.fromkeys(s.condition for s in store.specs if s.condition.is_draw)
    found = [spec.under(condition) for condition in sorted(conditions, key=lambda c: c.draw or 0)]
    return [store[draw] for draw in found if draw in store]


def require_perturbable(spec: Spec, perturber: Perturber) -> None:
    """Refuse a spec that cannot be perturbed while it is read.

    Raises
    ------
    SpecError
        If it is no waveform, or of a rate that `perturber` cannot perturb at.
    TrainingError
        If it is of perturbed audio already.
    """
    if not isinstance(spec, WaveformSpec):
        raise SpecError(
            f"{spec.name} cannot be perturbed while it is read, which waveforms alone can; "
            "featurize --draws stores draws of it"
        )
    _require_clean(spec)
    perturber.require(spec.sr)


def _require_clean(spec: Spec) -> None:
    if spec.condition:
        raise TrainingError(f"{spec.name} is of perturbed audio; draws are of clean clips: "
                            "train on the clean spec, or without draws")  # fmt: skip


def draws_text(draws: Sequence["FeatureArray"], perturber: Perturber | None) -> str:
    """How many draws, and of what: the same text, the same draws of the same clips."""
    if perturber is not None:
        return f"a draw each time of {perturber.name}"
    made = {(a.layout.settings["augmentation"], a.layout.settings["seed"]) for a in draws}
    by = [text if seed == "0" else f"{text} seed {seed}" for text, seed in sorted(made)]
    return f"{len(draws)} draws of {' and '.join(by)}"
