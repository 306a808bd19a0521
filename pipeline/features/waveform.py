"""Waveforms: the samples that all other specs are computed from, as they are."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from featurestore.specs.encoding import Encoding
from featurestore.specs.spec import Spec
from featurestore.specs.waveform import WaveformSpec
from pipeline.features.analysis import Made
from pipeline.features.backends import BackendName
from pipeline.features.signal import Signal
from pipeline.features.spectra import encoded, require_finite
from pipeline.features.statistics import summarise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waveform:
    """The samples."""

    spec: WaveformSpec

    @property
    def specs(self) -> tuple[WaveformSpec, ...]:
        """The one."""
        return (self.spec,)

    def compute(
        self, signal: Signal, backend: BackendName, encodings: Mapping[Spec, Encoding]
    ) -> Iterator[Made]:
        """Samples of one clip, ``(1, n_samples)``; see `Analysis`."""
        spec, encoding = self.spec, encodings[self.spec]
        values = signal.frames(spec, 1)[None]
        require_finite(values)
        valid = values[:, : spec.n_valid_frames(signal.n_valid, signal.track_sr)]
        statistics = summarise(valid, {1}, encoding.limits(spec.value_range))[1]
        yield spec, encoded(values, encoding, spec.value_range), statistics

    def lines(self) -> list[str]:
        """The steps as lines of text."""
        return ["the samples as they are"]


def arrange(specs: Sequence[WaveformSpec]) -> list[Waveform]:
    """Arrange specs of the same rate and condition: there is one."""
    return [Waveform(spec=spec) for spec in specs]
