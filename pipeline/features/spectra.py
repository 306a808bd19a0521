"""Specs that are cut from power spectra: one STFT per `SharedStft`, and what follows from it.

One product with all mel filters stacked, one amplitude scaling each, and a slice per spec.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featurestore.errors import AudioError
from featurestore.specs.encoding import Encoding
from featurestore.specs.mel import HOP_UNIT, FeatureSpec, Window, n_valid_frames
from featurestore.specs.spec import Spec
from pipeline.features.analysis import Made
from pipeline.features.backends import BackendName, load_backend
from pipeline.features.backends.stft import FilterBank, SharedStft
from pipeline.features.scaling import compress
from pipeline.features.signal import Signal
from pipeline.features.statistics import summarise


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralAnalysis:
    """An STFT, and the specs cut from it.

    Parameters
    ----------
    stft : SharedStft
    specs : tuple of FeatureSpec
    """

    stft: SharedStft
    specs: tuple[FeatureSpec, ...]

    def compute(
        self, signal: Signal, backend: BackendName, encodings: Mapping[Spec, Encoding]
    ) -> Iterator[Made]:
        """Values of every spec for one clip; see `Analysis`.

        Encoding comes before cutting, so that frames which several hops share are encoded once.
        """
        stft = self.stft
        power = load_backend(backend).mel_power(signal.padded(stft.n_fft), stft)
        if not np.isfinite(power.sum()) and not np.isfinite(power).all():
            raise AudioError("NonFinite", "the samples' power overflows")
        n_valid = n_valid_frames(signal.n_valid, signal.track_sr, stft.sr, stft.hop_length)
        for log in ("db", "log"):
            wanted = [spec for spec in self.specs if spec.log == log]
            values = compress(power, log) if wanted else None
            for (encoding, value_range), alike in _grouped(wanted, encodings).items():
                assert values is not None
                steps = {spec: spec.hop_length // stft.hop_length for spec in alike}
                valid = values[:, :n_valid]
                statistics = summarise(valid, set(steps.values()), encoding.limits(value_range))
                stored = encoded(values, encoding, value_range)
                for spec, step in steps.items():
                    rows = stft.rows(FilterBank.of(spec))
                    cut = np.ascontiguousarray(stored[rows, ::step])
                    yield spec, cut, statistics[step][:, rows]

    def lines(self) -> list[str]:
        """The steps as lines of text."""
        stft = self.stft
        bands = [bank.n_mels for bank in stft.banks]
        lines = [
            f"STFT of {stft.n_fft} samples, hop {stft.hop_length}, {stft.window}",
            f"  one product with {sum(bands)} filters: {' + '.join(map(str, bands))} bands",
        ]
        for log in ("log", "db"):
            cut = [spec for spec in self.specs if spec.log == log]
            hops = sorted({Fraction(spec.hop) for spec in cut})
            if cut:
                lines.append(
                    f"    {log}: {len(cut)} spec{'s' if len(cut) > 1 else ''}, "
                    f"hops {', '.join(map(_hop_name, hops))}"
                )
        return lines


def arrange(specs: Sequence[FeatureSpec]) -> list[SpectralAnalysis]:
    """Arrange specs of the same rate and condition into as few STFTs as that takes."""
    analyses = []
    for (sr, n_fft, window), sharing in groupby(sorted(specs, key=_spectrum), key=_spectrum):
        members = list(sharing)
        for hop_length in _shared_hops({spec.hop_length for spec in members}):
            cut = tuple(spec for spec in members if spec.hop_length % hop_length == 0)
            members = [spec for spec in members if spec not in cut]
            banks = tuple(dict.fromkeys(FilterBank.of(spec) for spec in cut))
            stft = SharedStft(sr=sr, n_fft=n_fft, window=window, hop_length=hop_length, banks=banks)
            analyses.append(SpectralAnalysis(stft=stft, specs=cut))
    return analyses


def _grouped(
    specs: Sequence[FeatureSpec], encodings: Mapping[Spec, Encoding]
) -> dict[tuple[Encoding, tuple[float, float]], list[FeatureSpec]]:
    """Specs that are encoded alike."""
    alike: dict[tuple[Encoding, tuple[float, float]], list[FeatureSpec]] = {}
    for spec in specs:
        alike.setdefault((encodings[spec], spec.value_range), []).append(spec)
    return alike


def encoded(
    values: npt.NDArray[np.float32], encoding: Encoding, value_range: tuple[float, float]
) -> npt.NDArray[Any]:
    """Values as they are stored."""
    return encoding.encode(values, value_range, _to_float16)


def _to_float16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """The same bits as NumPy's, in a twentieth of the time."""
    halves: npt.NDArray[np.float16] = torch.from_numpy(values).half().numpy()
    return halves


def _hop_name(hop: Fraction) -> str:
    return f"x{hop}" if hop.denominator == 1 else str(int(hop * HOP_UNIT))


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
