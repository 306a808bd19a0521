"""Kaldi's filter bank, from a clip's samples to the values stored.

Kaldi's own code was not used; what it does was read in torchaudio's ``kaldi``.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from featurestore.specs.encoding import Encoding
from featurestore.specs.fbank import FLOOR, PREEMPHASIS, FbankSpec, to_mel
from featurestore.specs.spec import Spec
from pipeline.features.analysis import Made
from pipeline.features.backends import BackendName
from pipeline.features.backends.native import power_of_frames
from pipeline.features.signal import Signal
from pipeline.features.spectra import encoded, require_finite
from pipeline.features.statistics import summarise

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclasses.dataclass(frozen=True, kw_only=True)
class FbankAnalysis:
    """A filter bank; two of them share nothing."""

    spec: FbankSpec

    @property
    def specs(self) -> tuple[FbankSpec, ...]:
        """The one."""
        return (self.spec,)

    def compute(
        self, signal: Signal, backend: BackendName, encodings: Mapping[Spec, Encoding]
    ) -> Iterator[Made]:
        """Values of the spec for one clip; the same by any backend. See `Analysis`."""
        spec, encoding = self.spec, encodings[self.spec]
        values = fbank(signal.frames(spec, spec.win_length), spec)
        require_finite(values)
        valid = values[:, : spec.n_valid_frames(signal.n_valid, signal.track_sr)]
        statistics = summarise(valid, {1}, encoding.limits(spec.value_range))[1]
        yield spec, encoded(values, encoding, spec.value_range), statistics

    def lines(self) -> list[str]:
        """The steps as lines of text."""
        spec = self.spec
        return [
            f"Kaldi's frames of {spec.win_length} samples, hop {spec.hop_length}: "
            f"{spec.n_mels} bands"
        ]


def arrange(specs: Sequence[FbankSpec]) -> list[FbankAnalysis]:
    """Arrange specs: an analysis each."""
    return [FbankAnalysis(spec=spec) for spec in specs]


def fbank(samples: npt.NDArray[np.float32], spec: FbankSpec) -> npt.NDArray[np.float32]:
    """Values of a spec, ``ln(max(P, FLOOR))`` of mel power P; see `FbankSpec`.

    In double precision up to the power, as in `pipeline.features.backends.native`. Power that
    overflows gives infinite values.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
        The clip at the spec's rate, without overhang.
    spec : FbankSpec

    Returns
    -------
    values : np.ndarray [shape=(n_mels, n_frames), dtype=float32]

    Raises
    ------
    SpecError
        If the clip is shorter than a frame.
    """
    spec.n_frames(len(samples))  # refuses
    window = np.hanning(spec.win_length)

    def prepare(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        frames = block.astype(np.float64)
        frames -= frames.mean(axis=1, keepdims=True)
        # The first sample has none before; the window takes it away.
        frames[:, 1:] -= PREEMPHASIS * frames[:, :-1]
        frames *= window
        return frames

    frames = sliding_window_view(samples, spec.win_length)[:: spec.hop_length]
    values: npt.NDArray[np.float32] = _filters(spec) @ power_of_frames(frames, spec.n_fft, prepare)
    np.maximum(values, np.float32(FLOOR), out=values)
    return np.log(values, out=values)


def filters(spec: FbankSpec) -> npt.NDArray[np.float64]:
    """The filters, ``(n_mels, 1 + n_fft // 2)``: triangles linear in mel, with a peak of 1."""
    bins = to_mel(np.arange(spec.n_fft // 2 + 1, dtype=np.float64) * (spec.sr / spec.n_fft))
    edges = spec.edges
    lower, centre, upper = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    return np.maximum(0, np.minimum(rising, falling))


@lru_cache(maxsize=64)
def _filters(spec: FbankSpec) -> "csr_array":
    from scipy.sparse import csr_array

    # Sparse: 128 bands of a 29.1 s clip take 0.13 ms, and 0.9 ms with a full matrix.
    return csr_array(filters(spec).astype(np.float32))
