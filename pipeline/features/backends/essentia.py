"""Essentia, which the study used; an extra, because it is AGPL-3.0: ``melgrid[essentia]``."""

import numpy as np
import numpy.typing as npt

from featurestore.errors import SettingsError
from pipeline.features.backends.stft import SharedStft


def mel_power(samples: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)``.

    Essentia's frame generator may give one frame more, of what is left at the end.

    Raises
    ------
    SettingsError
        If Essentia is not installed.
    """
    try:
        import essentia

        essentia.log.infoActive = False  # before the import below, which talks
        import essentia.standard as es
    except ImportError:
        raise SettingsError(
            "backend is essentia, which is not installed: pip install 'melgrid[essentia]' "
            "(AGPL-3.0), or use --backend native"
        ) from None
    symmetric = stft.window == "hann-symmetric"
    windowing = es.Windowing(
        type="hann",
        size=stft.n_fft,
        normalized=False,
        zeroPhase=False,
        symmetric=symmetric,
    )
    spectrum = es.Spectrum(size=stft.n_fft)
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
            type="power",  # of magnitudes: it squares what it is given
        )
        for bank in stft.banks
    ]
    n_frames = stft.n_frames(len(samples))
    mel = np.zeros((sum(bank.n_mels for bank in stft.banks), n_frames), np.float32)
    frames = es.FrameGenerator(
        samples, frameSize=stft.n_fft, hopSize=stft.hop_length, startFromZero=True
    )
    for column, frame in zip(range(n_frames), frames, strict=False):
        magnitudes = spectrum(windowing(frame))
        mel[:, column] = np.concatenate([bands(magnitudes) for bands in banks])
    return mel
