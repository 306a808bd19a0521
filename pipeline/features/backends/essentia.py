"""Essentia, which the study used; an extra, because it is AGPL-3.0: ``melgrid[essentia]``."""

from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import SettingsError
from pipeline.features.backends.stft import SharedStft


def power(samples: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Power of all bins ``(1 + n_fft // 2, n_frames)``.

    Essentia's frame generator may give one frame more, of what is left at the end.

    Raises
    ------
    SettingsError
        If Essentia is not installed.
    """
    es = _essentia()
    windowing = es.Windowing(
        type="hann",
        size=stft.n_fft,
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
        power[:, column] = spectrum(windowing(frame)) ** 2
    return power


def filtered(power: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)`` of what `power` gave.

    Raises
    ------
    SettingsError
        If Essentia is not installed.
    """
    es = _essentia()
    banks = [
        es.MelBands(
            inputSize=stft.n_fft // 2 + 1,
            numberBands=bank.n_mels,
            sampleRate=stft.sr,
            lowFrequencyBound=bank.fmin,
            highFrequencyBound=bank.fmax,
            warpingFormula="slaneyMel",
            weighting="linear",
            normalize="unit_tri",
            type="magnitude",  # as it is: "power" would square it once more
        )
        for bank in stft.banks
    ]
    mel = np.zeros((sum(bank.n_mels for bank in stft.banks), power.shape[1]), np.float32)
    for column, frame in enumerate(np.ascontiguousarray(power.T)):
        mel[:, column] = np.concatenate([bands(frame) for bands in banks])
    return mel


def mel_power(samples: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)``.

    Raises
    ------
    SettingsError
        If Essentia is not installed.
    """
    return filtered(power(samples, stft), stft)


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
