"""Specs of each kind that networks are tried on."""

from featurestore import FeatureSpec
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.grid import ferraro2020
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec

SPECS = {
    # The study's; a network does not see the scaling.
    FeatureSpec: [spec for spec in ferraro2020() if spec.log == "db"],
    StftSpec: [StftSpec(sr=16000), StftSpec(sr=16000, hop=2), StftSpec(sr=12000, n_fft=1024)],
    FbankSpec: [
        FbankSpec(sr=16000),
        FbankSpec(sr=16000, n_mels=64, hop_length=320),
        FbankSpec(sr=22050, n_mels=40, win_length=1024, hop_length=512),
    ],
    WaveformSpec: [WaveformSpec(sr=16000), WaveformSpec(sr=12000), WaveformSpec(sr=22050)],
}

QUICK = SPECS | {
    FeatureSpec: [s for s in SPECS[FeatureSpec] if s.n_mels in (8, 48, 128) and s.hop in (1, 10)],
    FbankSpec: SPECS[FbankSpec][1:],  # AST takes seconds for the first
}
"""The extremes of the study's, and one between: enough for most changes."""

MANY = SPECS | {
    FeatureSpec: [s for s in SPECS[FeatureSpec] if s.n_mels in (16, 96) and s.hop in (2, 5)],
}
"""And some more, for those that take their time."""
