"""A grid, arranged so that each step is done once for all specs that share it.

The tree: one decode and crop per clip, one resample per rate, one perturbation per condition, and
what specs of a kind share, see `ANALYSES`.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from featurestore import result
from featurestore.specs.augmentation import Augmentation
from featurestore.specs.encoding import Encoding
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec
from pipeline.audio.clip import Clip
from pipeline.features import fbank, spectra, waveform
from pipeline.features.analysis import Analysis, Made
from pipeline.features.backends import BackendName
from pipeline.features.signal import Signals

# A line a kind of spec: what arranges specs of one rate and condition.
ANALYSES: dict[type[Spec], Callable[[Sequence[Any]], Sequence[Analysis]]] = {
    FeatureSpec: spectra.arrange,
    StftSpec: spectra.arrange,
    FbankSpec: fbank.arrange,
    WaveformSpec: waveform.arrange,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan for computing some specs together.

    Parameters
    ----------
    analyses : tuple of (int, Condition, tuple of Analysis)
        By sample rate [Hz] and condition, ordered by rate, the clean one first.
    """

    analyses: tuple[tuple[int, Condition, tuple[Analysis, ...]], ...]

    def compute(
        self,
        clip: Clip,
        backend: BackendName,
        encodings: Mapping[Spec, Encoding],
        seed: int = 0,
        augmentation: Augmentation | None = None,
    ) -> Iterator[Made]:
        """Values of every spec for one clip, encoded, and their statistics.

        Parameters
        ----------
        clip : Clip
        backend : str
        encodings : mapping of Spec to Encoding
        seed : int
            What perturbations draw from, of this clip.
        augmentation : Augmentation, optional
            What draws are made by.

        Raises
        ------
        AudioError
            ``NonFinite``, if the samples are so large that their power overflows.
        """
        signals = Signals(clip, seed, augmentation)
        for sr, condition, analyses in self.analyses:
            signal = signals.at(sr, condition)
            for analysis in analyses:
                yield from analysis.compute(signal, backend, encodings)

    def tree(self) -> list[str]:
        """The steps as lines of text, indented below those they share."""
        lines = ["decode and crop each clip once"]
        for sr, conditions in groupby(self.analyses, key=lambda group: group[0]):
            lines.append(f"  resample to {sr} Hz")
            alike: dict[tuple[str, ...], list[str]] = {}
            for _, condition, analyses in conditions:
                steps = tuple(line for analysis in analyses for line in analysis.lines())
                alike.setdefault(steps, []).append(condition.name)
            for steps, names in alike.items():
                if names == ["clean"]:
                    lines += [f"    {step}" for step in steps]
                else:
                    lines += textwrap.wrap(
                        f"{len(names)} conditions: {', '.join(names)}",
                        result.WIDTH,
                        initial_indent=" " * 4,
                        subsequent_indent=" " * 8,
                        break_on_hyphens=False,
                    )
                    lines += [f"      {step}" for step in steps]
        return lines


def arrange(specs: Iterable[Spec]) -> Plan:
    """Arrange specs into a plan."""
    groups = []
    ordered = sorted(specs, key=lambda spec: (spec.sr, spec.condition.suffix))
    for (sr, condition), members in groupby(ordered, key=lambda spec: (spec.sr, spec.condition)):
        alike: dict[Callable[[Sequence[Any]], Sequence[Analysis]], list[Spec]] = {}
        for spec in members:
            alike.setdefault(ANALYSES[type(spec)], []).append(spec)
        analyses = [a for arranged, some in alike.items() for a in arranged(some)]
        groups.append((sr, condition, tuple(analyses)))
    return Plan(analyses=tuple(groups))
