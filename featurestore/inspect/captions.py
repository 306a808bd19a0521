"""Words for people: what a spec, a condition and a clip are called in pictures and on pages."""

import re

from featurestore.specs.perturbation import PERTURBATIONS, Condition, Perturbation
from featurestore.specs.spec import Spec
from featurestore.store import FeatureStore


def spec_in_words(spec: Spec) -> str:
    """A spec without its condition: ``mel power, db scaling: 96 bands, 62.5 frames/s, 16 kHz``."""
    rate = f"{spec.sr / 1000:g} kHz"
    if spec.frame_step * spec.sr == 1:  # samples themselves
        return f"{spec.long_name}: {rate}"
    return f"{spec.long_name}: {resolution_in_words(spec)}, {rate}"


def resolution_in_words(spec: Spec) -> str:
    """``96 bands, 62.5 frames/s``; of one band ``16,000 values/s``."""
    rate = float(1 / spec.frame_step)
    if spec.n_bands == 1:
        return f"{rate:,.4g} values/s" if rate < 1000 else f"{rate:,.0f} values/s"
    return f"{spec.n_bands} bands, {rate:.4g} frames/s"


def condition_in_words(condition: Condition) -> str:
    """``clean``, or ``stretch to 1.414 times the speed, then noise 0.1``, or ``random draw 0``."""
    if condition.is_draw:
        return f"random draw {condition.draw}"
    return ", then ".join(map(_perturbation, condition.perturbations)) or "clean"


def meaning_of(condition: Condition) -> str:
    """What a condition does to the audio, as far as `condition_in_words` leaves that open."""
    kinds = [PERTURBATIONS[p.word] for p in condition.perturbations]
    # "faster" and "louder" say nothing more, and are wrong of 0.707 and -6 dB.
    described = [k for k in kinds if k.speed != 0 and all(a.low >= 0 for a in k.amounts)]
    return "; ".join(kind.meaning for kind in described)


def _perturbation(perturbation: Perturbation) -> str:
    kind = PERTURBATIONS[perturbation.word]
    parts = []
    for place, (value, amount) in enumerate(zip(perturbation.amounts, kind.amounts, strict=True)):
        number = f"{value:{'+' if amount.low < 0 else ''}g}".replace("-", "\N{MINUS SIGN}")
        if place == kind.speed:
            parts.append(f"to {number} times the speed")
        else:
            parts.append(f"{number} {amount.unit}".rstrip())
    return f"{perturbation.word} {', '.join(parts)}".rstrip()


def tags_of(store: FeatureStore, row: int) -> list[str]:
    """Names of the tags that a clip has."""
    labels = store.table.labels[row]
    return [tag for tag, has in zip(store.tags, labels, strict=True) if has]


def file_stem(clip_id: str) -> str:
    """A clip's id as the beginning of a file's name: letters, digits, dots and dashes."""
    stem = re.sub(r"\.(mp3|wav|flac|ogg|opus|m4a|aiff?)$", "", clip_id, flags=re.IGNORECASE)
    return re.sub(r"[^\w.]+", "-", stem).strip(".-")[-100:] or "clip"


def shortened(text: str, length: int) -> str:
    """A text on one line and at most so long, its middle left out if need be."""
    text = " ".join(text.split())
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"
