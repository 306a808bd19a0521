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

from featurestore import result
from featurestore.errors import AudioError
from featurestore.specs.encoding import Encoding, Range
from featurestore.specs.mel import HOP_UNIT, FeatureSpec, Window, n_valid_frames
from featurestore.specs.spec import Spec
from featurestore.specs.stft import StftSpec
from pipeline.features.analysis import Made
from pipeline.features.backends import BackendName, load_backend
from pipeline.features.backends.stft import FilterBank, SharedStft
from pipeline.features.scaling import compress
from pipeline.features.signal import Signal
from pipeline.features.statistics import summarise

Cut = FeatureSpec | StftSpec
"""What is cut from spectra."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralAnalysis:
    """An STFT, and the specs cut from it.

    Parameters
    ----------
    stft : SharedStft
    specs : tuple of (FeatureSpec or StftSpec)
    """

    stft: SharedStft
    specs: tuple[Cut, ...]

    def compute(
        self, signal: Signal, backend: BackendName, encodings: Mapping[Spec, Encoding]
    ) -> Iterator[Made]:
        """Values of every spec for one clip; see `Analysis`."""
        stft = self.stft
        bins, bands = load_backend(backend).power(signal.padded(stft.n_fft), stft)
        if stft.bins:
            require_finite(bins)
            of_bins = [spec for spec in self.specs if isinstance(spec, StftSpec)]
            yield from self._cut(compress(bins, "db"), of_bins, signal, encodings)
        if stft.banks:
            require_finite(bands)
            for log in ("db", "log"):
                of_bands = [s for s in self.specs if isinstance(s, FeatureSpec) and s.log == log]
                if of_bands:
                    yield from self._cut(compress(bands, log), of_bands, signal, encodings)

    def _cut(
        self,
        values: npt.NDArray[np.float32],
        specs: Sequence[Cut],
        signal: Signal,
        encodings: Mapping[Spec, Encoding],
    ) -> Iterator[Made]:
        """Bands and frames of the specs.

        Encoding comes before cutting, so that frames which several hops share are encoded once.
        """
        stft = self.stft
        n_valid = n_valid_frames(signal.n_valid, signal.track_sr, stft.sr, stft.hop_length)
        alike: dict[tuple[Encoding, Range], list[Cut]] = {}
        for spec in specs:
            alike.setdefault((encodings[spec], spec.value_range), []).append(spec)
        for (encoding, value_range), some in alike.items():
            steps = {spec: spec.hop_length // stft.hop_length for spec in some}
            limits = encoding.limits(value_range)
            statistics = summarise(values[:, :n_valid], set(steps.values()), limits)
            stored = encoded(values, encoding, value_range)
            for spec, step in steps.items():
                rows = slice(None)
                if isinstance(spec, FeatureSpec):
                    rows = stft.rows(FilterBank.of(spec))
                yield spec, np.ascontiguousarray(stored[rows, ::step]), statistics[step][:, rows]

    def lines(self) -> list[str]:
        """The steps as lines of text."""
        stft = self.stft
        lines = [f"STFT of {stft.n_fft} samples, hop {stft.hop_length}, {stft.window}"]
        bins = [spec for spec in self.specs if isinstance(spec, StftSpec)]
        lines += _cut_lines("  power of all bins", bins)
        if stft.banks:
            bands = [bank.n_mels for bank in stft.banks]
            filters = f"{sum(bands)} filters: {' + '.join(map(str, bands))} bands"
            lines.append(f"  one product with {filters}")
        for log in ("log", "db"):
            cut = [s for s in self.specs if isinstance(s, FeatureSpec) and s.log == log]
            lines += _cut_lines(f"    {log}", cut)
        return lines


def _cut_lines(what: str, specs: Sequence[Cut]) -> list[str]:
    if not specs:
        return []
    hops = ", ".join(_hop_name(hop) for hop in sorted({Fraction(spec.hop) for spec in specs}))
    return [f"{what}: {result.count(len(specs), 'spec')}, hops {hops}"]


def arrange(specs: Sequence[Cut]) -> list[SpectralAnalysis]:
    """Arrange specs of the same rate and condition into as few STFTs as that takes."""
    analyses = []
    for (sr, n_fft, window, win_length), sharing in groupby(
        sorted(specs, key=_spectrum), key=_spectrum
    ):
        members = list(sharing)
        for hop_length in _shared_hops({spec.hop_length for spec in members}):
            cut = tuple(spec for spec in members if spec.hop_length % hop_length == 0)
            members = [spec for spec in members if spec not in cut]
            mel = [spec for spec in cut if isinstance(spec, FeatureSpec)]
            banks = tuple(dict.fromkeys(FilterBank.of(spec) for spec in mel))
            stft = SharedStft(
                sr=sr,
                n_fft=n_fft,
                window=window,
                win_length=win_length,
                hop_length=hop_length,
                banks=banks,
                bins=len(mel) < len(cut),
            )
            analyses.append(SpectralAnalysis(stft=stft, specs=cut))
    return analyses


def encoded(
    values: npt.NDArray[np.float32], encoding: Encoding, value_range: Range
) -> npt.NDArray[Any]:
    """Values as they are stored."""
    from pipeline.kernels.halves import halves

    return encoding.encode(values, value_range, halves)  # NumPy takes twenty times as long


def require_finite(values: npt.NDArray[np.float32]) -> None:
    """Make sure that no value is infinite or nan.

    Raises
    ------
    AudioError
        ``NonFinite``, else.
    """
    # A sum is finite only if all terms are; only then is the slower look worth it.
    if not np.isfinite(values.sum()) and not np.isfinite(values).all():
        raise AudioError("NonFinite", "the samples' power overflows")


def _hop_name(hop: Fraction) -> str:
    return f"x{hop}" if hop.denominator == 1 else str(int(hop * HOP_UNIT))


def _spectrum(spec: Cut) -> tuple[int, int, Window, int]:
    win_length = spec.win_length if isinstance(spec, FeatureSpec) else None
    return spec.sr, spec.n_fft, spec.window, win_length or spec.n_fft


def _shared_hops(hops: set[int]) -> list[int]:
    """Hop lengths to analyse at, so that each of `hops` is a multiple of one of them.

    The greatest common divisor, unless that means more frames than analysing anew for each hop
    that no other one divides (for 160 and 256 samples it would: every 32).
    """
    common = math.gcd(*hops)
    minimal = [hop for hop in sorted(hops) if not any(hop % h == 0 for h in hops if h < hop)]
    return [common] if 1 / common <= sum(1 / hop for hop in minimal) else minimal
