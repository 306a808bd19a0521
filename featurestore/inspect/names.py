"""What specs and perturbations there are, by name."""

import dataclasses
from typing import Any

from featurestore import result
from featurestore.specs.perturbation import CONDITIONS, PERTURBATIONS, Amount
from featurestore.specs.presets import PRESETS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
    """Names, and what they stand for.

    Attributes
    ----------
    entries : tuple of dict
        One each, with the same keys.
    """

    entries: tuple[dict[str, Any], ...]

    def json(self) -> list[dict[str, Any]]:
        """Return the entries as they are."""
        return list(self.entries)

    def lines(self) -> list[str]:
        """A paragraph each: the name, then the rest."""
        lines = []
        for entry in self.entries:
            name, *others = entry.values()
            texts = [", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in others]
            lines += result.fact(name, "; ".join(text for text in texts if text))
        return lines


def list_presets() -> Names:
    """Presets, with the networks and specs of each."""
    return Names(
        entries=tuple(
            {
                "preset": preset.name,
                "networks": list(preset.networks),
                "specs": [spec.name for spec in preset.specs],
                "source": preset.source,
            }
            for preset in PRESETS.values()
        )
    )


def list_perturbations() -> Names:
    """Perturbations, with the numbers that each takes, and sets of conditions."""
    words = [
        {
            "perturbation": word,
            "meaning": kind.meaning,
            "amounts": [_range(amount) for amount in kind.amounts],
        }
        for word, kind in PERTURBATIONS.items()
    ]
    sets = [
        {
            "perturbation": name,
            "meaning": "a set",
            "amounts": [condition.name for condition in conditions],
        }
        for name, conditions in CONDITIONS.items()
    ]
    return Names(entries=(*words, *sets))


def _range(amount: Amount) -> str:
    unit = f" {amount.unit}" if amount.unit else ""
    return f"{amount.meaning} {amount.low:g} to {amount.high:g}{unit}"
