"""Essentia, which the study used; an extra, because it is AGPL-3.0: ``melgrid[essentia]``."""

from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import SettingsError
from featurestore.specs.mel import FeatureSpec
from pipeline.features.backends.stft import SharedStft


def require(spec: FeatureSpec) -> None:
    """Refuse a spec with filters that hold no bin, for Essentia does.

    Raises
    ------
    SettingsError
        For that, or if Essentia is not installed.
    """
    _essentia()
    if len(spec.empty_filters):
        raise SettingsError(
            f"backend is essentia, which computes no empty filters, and {len(spec.empty_filters)} "
            f"of {spec.name} are; use --backend native"
        )


def power(
    samples: npt.NDArray[np.float32], stft: SharedStft
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Power of all bins, where it is asked for, and of the banks' bands; see `Backend`.

    Raises
    ------
    SettingsError
        If Essentia is not installed.
    """
    bins = _power(samples, stft)
    bands = _filtered(bins, stft) if stft.banks else bins[:0]
    return bins if stft.bins else bins[:0], bands


def _power(samples: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Power of all bins ``(1 + n_fft // 2, n_frames)``.

    Essentia's frame generator may give one frame more, of what is left at the end.

    Raises
    ------
    SettingsError
        If Essentia is not installed.
    """
    es = _essentia()
    length = stft.win_length or stft.n_fft
    before = (stft.n_fft - length) // 2
    windowing = es.Windowing(
        type="hann",
        size=length,
        zeroPadding=stft.n_fft - length,
        normalized=False,
        zeroPhase=False,
        symmetric=stft.window == "hann-symmetric",
    )
    spectrum = es.Spectrum(size=stft.n_fft)
    n_frames = stft.n_frames(len(samples))
    power = np.zeros((1 + stft.n_fft // 2, n_frames), np.float32)
    frames = es.FrameGenerator(
        samples, frameSize=stft.n_fft, hopSize=stft.hop_length, startFromZero=True
    )
    for column, frame in zip(range(n_frames), frames, strict=False):
        # The zeros come after the window, which magnitudes do not tell.
        power[:, column] = spectrum(windowing(frame[before : before + length])) ** 2
    return power


def _filtered(power: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)`` of what `_power` gave."""
    es = _essentia()
    banks = [
        es.MelBands(
            inputSize=stft.n_fft // 2 + 1,
            numberBands=bank.n_mels,
            sampleRate=stft.sr,
            lowFrequencyBound=bank.fmin,
            highFrequencyBound=bank.fmax,
            warpingFormula="htkMel" if bank.htk else "slaneyMel",
            weighting="linear",
            normalize="unit_max" if bank.norm is None else "unit_tri",
            type="magnitude",  # as it is: "power" would square it once more
        )
        for bank in stft.banks
    ]
    mel = np.zeros((sum(bank.n_mels for bank in stft.banks), power.shape[1]), np.float32)
    for column, frame in enumerate(np.ascontiguousarray(power.T)):
        mel[:, column] = np.concatenate([bands(frame) for bands in banks])
    return mel


def _essentia() -> Any:
    try:
        import essentia

        essentia.log.infoActive = False  # before the import below, which talks
        import essentia.standard
    except ImportError:
        raise SettingsError(
            "backend is essentia, which is not installed: pip install 'melgrid[essentia]' "
            "(AGPL-3.0), or use --backend native"
        ) from None
    return essentia.standard
