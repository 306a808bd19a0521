"""Presets: specs that published networks take, by a name, each with its source."""

import dataclasses
from collections.abc import Iterable, Mapping

from featurestore.errors import SpecError
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """Specs under a name.

    Parameters
    ----------
    name : str
    specs : tuple of Spec
    networks : tuple of str
        Names of networks that take them, which stand for the preset.
    source : str
        Who takes them, and what melgrid does otherwise, in a line.
    """

    name: str
    specs: tuple[Spec, ...]
    networks: tuple[str, ...] = ()
    source: str


_SMC2020 = "Won, Ferraro, Bogdanov and Serra 2020, Evaluation of CNN-based automatic music tagging"

_REPORT_2 = "a report on MagnaTagATune, networks by depth"
_OPEN = "rate, hop and mel scale are not said: the data set's rate, and defaults"

_AT_22050 = FeatureSpec(sr=22050, n_mels=128, hop=2, n_fft=1024, htk=True, norm=None)
"""torchaudio's mel at its defaults for scale and norm, in decibels."""

# A line a preset.
PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="smc2020-96",
            specs=(FeatureSpec(sr=16000, n_mels=96, htk=True, norm=None),),
            networks=("fcn", "crnn", "musicnn-smc"),
            source=f"{_SMC2020}: fcn, crnn, and its musicnn; they reflect the audio at its ends",
        ),
        Preset(
            name="smc2020-128",
            specs=(FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None),),
            networks=("short", "short_res", "attention"),
            source=f"{_SMC2020}: short, short_res, attention; the lowest band is empty",
        ),
        Preset(
            name="smc2020-wave",
            specs=(WaveformSpec(sr=16000),),
            networks=("sample", "se"),
            source=f"{_SMC2020}: sample, se",
        ),
        Preset(
            name="smc2020-stft",
            specs=(StftSpec(sr=16000),),
            networks=("hcnn",),
            source=f"{_SMC2020}: hcnn, which learns its filters; it takes power, this its decibels",
        ),
        Preset(
            name="mtat-report-1",
            specs=(FeatureSpec(sr=16000, n_mels=128, htk=True, norm=None),),
            networks=("vit",),
            source="a report on MagnaTagATune, augmentation and a vision transformer: mel in dB; "
            "the rest is not said, and taken as smc2020-128's, whose training it follows",
        ),
        Preset(
            name="mtat-report-2-48",
            specs=(FeatureSpec(sr=16000, n_mels=48, n_fft=1024),),
            networks=("fcn1d",),
            source=f"{_REPORT_2}: log mel of 48 bands, n_fft 1024, which it varies from; {_OPEN}",
        ),
        Preset(
            name="mtat-report-2-96",
            specs=(FeatureSpec(sr=16000, n_mels=96, n_fft=1024),),
            networks=("fcn2d", "crnn2d"),
            source=f"{_REPORT_2}: log mel; 96 bands as Choi et al. 2016 and 2017; {_OPEN}",
        ),
        Preset(
            name="ast",
            specs=(FbankSpec(sr=16000),),
            networks=("ast",),
            source="Gong, Chung and Glass 2021, AST: Audio spectrogram transformer",
        ),
        Preset(
            name="mtt",
            specs=(_AT_22050,),
            source="Won, Choi and Serra 2021, Semi-supervised music tagging transformer",
        ),
        Preset(
            name="musicnn",
            specs=(FeatureSpec(sr=16000, n_mels=96, log="log"),),
            networks=("musicnn-original",),
            source="Pons et al. 2018, End-to-end learning for music audio tagging at scale",
        ),
        Preset(
            name="retrieval",
            specs=(_AT_22050,),
            source="Won et al. 2021, Multimodal metric learning for tag-based music retrieval; "
            "mel scale and scaling are not published: taken as mtt's",
        ),
        Preset(
            name="spectnt",
            specs=(_AT_22050,),
            networks=("spectnt-mwm",),
            source="Lu et al. 2021, SpecTNT, as MWM's public code has it, which takes the power "
            "where this has its decibels; the network turns these back",
        ),
    )
}
"""By name."""


def specs_for(names: Iterable[str]) -> tuple[Spec, ...]:
    """Specs that presets, or networks of theirs, take; each once.

    Raises
    ------
    SpecError
        If there is no preset and no network of a name.
    """
    known = {**PRESETS} | {network: p for p in PRESETS.values() for network in p.networks}
    specs: list[Spec] = []
    for name in names:
        if name not in known:
            raise SpecError(
                f"there is no preset or network {name!r}; there are {', '.join(sorted(known))}"
            )
        specs += known[name].specs
    return tuple(dict.fromkeys(specs))
