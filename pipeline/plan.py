"""A grid, arranged so that each step is done once for all specs that share it.

The tree: one decode and crop a clip, one resample a rate, one spectrum an `Analysis`, one product
with its stacked filter banks, one amplitude law each, and a slice a spec.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt

from featurestore.errors import AudioError
from featurestore.spec import FeatureSpec, Window
from pipeline.backends import BACKENDS, BackendName
from pipeline.clip import Clip
from pipeline.mel import Analysis, Bank, amplitude


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How to compute some specs together.

    Parameters
    ----------
    analyses : tuple of (Analysis, tuple of FeatureSpec)
        Each with the specs cut from it, ordered by sample rate.
    """

    analyses: tuple[tuple[Analysis, tuple[FeatureSpec, ...]], ...]

    def compute(
        self, clip: Clip, backend: BackendName
    ) -> Iterator[tuple[FeatureSpec, npt.NDArray[np.float32]]]:
        """Values of every spec for one clip, each ``(n_mels, n_frames)``.

        Raises
        ------
        AudioError
            ``NonFinite``, if the samples are so large that their power overflows.
        """
        mel_power = BACKENDS[backend]
        for analysis, specs in self.analyses:
            power = mel_power(clip.framed(analysis.sr, analysis.n_fft), analysis)
            if not np.isfinite(power.sum()) and not np.isfinite(power).all():
                raise AudioError("NonFinite", "the samples' power overflows")
            for log in ("db", "log"):
                wanted = [spec for spec in specs if spec.log == log]
                values = amplitude(power, log) if wanted else power
                for spec in wanted:
                    step = spec.hop_length // analysis.hop_length
                    yield spec, values[analysis.rows(Bank.of(spec)), ::step]


def arrange(specs: Iterable[FeatureSpec]) -> Plan:
    """Arrange specs into a plan."""
    analyses = []
    ordered = sorted(specs, key=_spectrum)
    for (sr, n_fft, window), sharing in groupby(ordered, key=_spectrum):
        members = list(sharing)
        for hop_length in _shared_hops({spec.hop_length for spec in members}):
            cut = tuple(spec for spec in members if spec.hop_length % hop_length == 0)
            members = [spec for spec in members if spec not in cut]
            banks = tuple(dict.fromkeys(Bank.of(spec) for spec in cut))
            analysis = Analysis(
                sr=sr, n_fft=n_fft, window=window, hop_length=hop_length, banks=banks
            )
            analyses.append((analysis, cut))
    return Plan(analyses=tuple(analyses))


def _spectrum(spec: FeatureSpec) -> tuple[int, int, Window]:
    return spec.sr, spec.n_fft, spec.window


def _shared_hops(hops: set[int]) -> list[int]:
    """Hop lengths to analyse at, so that each of `hops` is a multiple of one of them.

    The greatest common divisor, unless that means more frames than analysing anew for each hop
    that no other one divides (for 160 and 256 samples it would: every 32).
    """
    common = math.gcd(*hops)
    minimal = [hop for hop in sorted(hops) if not any(hop % h == 0 for h in hops if h < hop)]
    return [common] if 1 / common <= sum(1 / hop for hop in minimal) else minimal
