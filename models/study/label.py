"""Labels: the words that tell the points of a study from one another."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec

_ABBREVIATED = {"n_fft": "fft", "win_length": "win"}

_SAID_OTHERWISE = ("sr", "n_mels", "hop", "log")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecWords:
    """What is said of a spec, from its fields.

    Attributes
    ----------
    kind : str
        Of the spec: ``mel``, ``wave``.
    family : str
        What specs of one colour in a figure have in common: ``96 bands``, or a spec's whole name
        where it has no bands.
    n_bands : int
        0 where it has none.
    resolution : tuple of str
        Always said: ``mel96``, ``x2``.
    rest : tuple of str
        Said where it varies: ``16 kHz``, ``db``, then what is off its default.
    """

    kind: str
    family: str
    n_bands: int
    resolution: tuple[str, ...]
    rest: tuple[str, ...]


def words_of(spec: Spec) -> SpecWords:
    """Say a spec in words; one that is no mel-spectrogram is said by its name."""
    if not isinstance(spec, FeatureSpec):
        return SpecWords(
            kind=spec.kind, family=spec.name, n_bands=0, resolution=(spec.name,), rest=()
        )
    rest = [f"{spec.sr / 1000:g} kHz", spec.log]
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name in _SAID_OTHERWISE or value == field.default:
            continue
        name = _ABBREVIATED.get(field.name, field.name)
        if isinstance(value, Condition):
            rest.append(value.name)
        elif isinstance(value, str):
            rest.append(value.removeprefix("hann-"))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            rest.append(f"{name}{value:.10g}")
        else:
            rest.append(name if value else f"no {name}")
    return SpecWords(
        kind=spec.kind,
        family=f"{spec.n_mels} bands",
        n_bands=spec.n_mels,
        resolution=(f"mel{spec.n_mels}", hop_name(spec)),
        rest=tuple(rest),
    )


def hop_name(spec: FeatureSpec) -> str:
    """The hop as a spec's name has it: ``x2``, ``hop160``."""
    return f"x{spec.hop}" if spec.hop == int(spec.hop) else f"hop{spec.hop_length}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """What tells a point from the others of its study.

    Attributes
    ----------
    spec : SpecWords
    of_spec : tuple of str
        Those of ``spec.rest`` that not all points share.
    settings : tuple of str
        What else varies: network, width, encoding, recipe …
    """

    spec: SpecWords
    of_spec: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``mel48 x2 12 kHz musicnn``."""
        return " ".join([*self.spec.resolution, *self.of_spec, *self.settings])

    def beside(self, other: "Label") -> str:
        """The resolution alone, where the rest is as that of `other`."""
        if (self.of_spec, self.settings) == (other.of_spec, other.settings):
            return " ".join(self.spec.resolution)
        return str(self)


def label_points(
    points: Sequence[tuple[Spec, dict[str, Any]]],
) -> tuple[list[Label], tuple[str, ...]]:
    """Make the labels of all points, each a spec and its settings (`results.Identity`'s fields).

    What the specs are beyond their resolution, and how they are encoded, is said where specs of
    one kind differ in it: waveforms beside mel-spectrograms leave the words for these as they are.

    Returns
    -------
    labels : list of Label
        All different.
    common : tuple of str
        What all points have in common and no label says; of a kind among others, what its points
        have: ``mel: 16 kHz, db``. That they are of one collection goes without saying.
    """
    specs = [words_of(spec) for spec, _ in points]
    settings = [_settings_words(fields) for _, fields in points]
    of_spec = [(*s.rest, fields["encoding"]) for s, (_, fields) in zip(specs, points, strict=True)]
    shared = _shared((*s.rest, *words) for s, words in zip(specs, settings, strict=True))
    kinds = dict.fromkeys(spec.kind for spec in specs)
    by_kind = {
        kind: shared | _shared(w for s, w in zip(specs, of_spec, strict=True) if s.kind == kind)
        for kind in kinds
    }
    labels = [
        Label(
            spec=spec,
            of_spec=tuple(word for word in spec.rest if word not in by_kind[spec.kind]),
            settings=tuple(word for word in words if word not in by_kind[spec.kind]),
        )
        for spec, words in zip(specs, settings, strict=True)
    ]
    data = f"data {points[0][1]['data']}"
    common = [w for w in (*specs[0].rest, *settings[0]) if w in shared and w != data]
    for kind in kinds:
        words = next(w for s, w in zip(specs, of_spec, strict=True) if s.kind == kind)
        if own := [word for word in words if word in by_kind[kind] - shared]:
            common.append(f"{kind}: {', '.join(own)}")
    return labels, tuple(common)


def _shared(words: Iterable[Sequence[str]]) -> set[str]:
    return set.intersection(*map(set, words))


def _said_if_given(fields: dict[str, Any]) -> list[str]:
    """What goes without saying where it is as ever."""
    words = []
    if fields.get("task", "tagging") != "tagging":
        words.append(fields["task"])
    if fields.get("class_weights", "none") != "none":
        words.append(f"class weights {fields['class_weights']}")
    for field, noun in (("weight_decay", "weight decay"), ("warm_up", "warm-up")):
        if fields.get(field) is not None:
            words.append(f"{noun} {fields[field]:g}")
    return words


def _settings_words(fields: dict[str, Any]) -> tuple[str, ...]:
    return (
        fields["encoding"],
        fields["model"],
        f"width {fields['width']:g}",
        fields["recipe"],
        f"augment {fields['augment']}",
        *filter(None, (fields.get("draws"),)),
        f"{fields['epochs']} epochs",
        f"batches of {fields['batch_size']}",
        f"learning rate {fields['learning_rate']:g}",
        *_said_if_given(fields),
        f"amp {fields['amp']}",
        f"data {fields['data']}",
    )
