"""A grid, arranged so that each step is done once for all specs that share it.

The tree: one decode and crop a clip, one resample a rate, one spectrum an `Analysis`, one product
with its stacked filter banks, one amplitude law each, and a slice a spec.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featurestore.errors import AudioError
from featurestore.format.statistics import Statistics
from featurestore.specs.encoding import Encoding
from featurestore.specs.mel import HOP_UNIT, FeatureSpec, Log, Window
from pipeline.audio.clip import Clip
from pipeline.features.backends import BACKENDS, BackendName
from pipeline.features.mel import Analysis, Bank, amplitude
from pipeline.features.statistics import summarise


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
        self, clip: Clip, backend: BackendName, encoding: Encoding
    ) -> Iterator[tuple[FeatureSpec, npt.NDArray[Any], Statistics]]:
        """Values of every spec for one clip, encoded, ``(n_mels, n_frames)``, and their statistics.

        Encoding comes before cutting, so that frames which several hops share are encoded once.

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
                if not wanted:
                    continue
                values = amplitude(power, log)
                steps = {spec: spec.hop_length // analysis.hop_length for spec in wanted}
                valid = values[:, : clip.n_valid_frames(analysis.sr, analysis.hop_length)]
                statistics = summarise(valid, set(steps.values()), encoding.limits(log))
                stored = _encoded(values, encoding, log)
                for spec, step in steps.items():
                    rows = analysis.rows(Bank.of(spec))
                    cut = np.ascontiguousarray(stored[rows, ::step])
                    yield spec, cut, statistics[step][:, rows]

    def tree(self) -> list[str]:
        """The steps as lines of text, indented below those they share."""
        lines = ["decode and crop each clip once"]
        for sr, analyses in groupby(self.analyses, key=lambda pair: pair[0].sr):
            lines.append(f"  resample to {sr} Hz")
            for analysis, specs in analyses:
                bands = [bank.n_mels for bank in analysis.banks]
                lines += [
                    f"    STFT of {analysis.n_fft} samples, hop {analysis.hop_length}, "
                    f"{analysis.window}",
                    f"      one product with {sum(bands)} filters: "
                    f"{' + '.join(map(str, bands))} bands",
                ]
                for log in ("log", "db"):
                    cut = [spec for spec in specs if spec.log == log]
                    hops = sorted({Fraction(spec.hop) for spec in cut})
                    if cut:
                        lines.append(
                            f"        {log}: {len(cut)} spec{'s' if len(cut) > 1 else ''}, "
                            f"hops {', '.join(map(_hop_name, hops))}"
                        )
        return lines


def _encoded(values: npt.NDArray[np.float32], encoding: Encoding, log: Log) -> npt.NDArray[Any]:
    if encoding.name == "float16":  # the same bits as NumPy's, in a twentieth of the time
        return torch.from_numpy(values).half().numpy()
    return encoding.encode(values, log)


def _hop_name(hop: Fraction) -> str:
    return f"x{hop}" if hop.denominator == 1 else str(int(hop * HOP_UNIT))


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
