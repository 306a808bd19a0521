"""Specs of each kind that networks are tried on."""

from featurestore import FeatureSpec
from featurestore.specs.grid import ferraro2020
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec

SPECS = {
    # The study's; a network does not see the scaling.
    FeatureSpec: [spec for spec in ferraro2020() if spec.log == "db"],
    StftSpec: [StftSpec(sr=16000), StftSpec(sr=16000, hop=2), StftSpec(sr=12000, n_fft=1024)],
    WaveformSpec: [WaveformSpec(sr=16000), WaveformSpec(sr=12000), WaveformSpec(sr=22050)],
}

FEW = SPECS | {FeatureSpec: SPECS[FeatureSpec][3::8]}
"""Of mel a few: of both rates, with hops of x1 to x10, and 128 to 8 bands."""
