"""What an `Architecture` says and refuses, of a toy and of the networks there are."""

import dataclasses
from fractions import Fraction

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import SpecError, TrainingError
from models.networks import ARCHITECTURES
from models.networks.architecture import Architecture
from tests.models.networks.kinds import SPECS

SPEC = FeatureSpec(sr=16000, n_mels=8)


class Mean(nn.Module):
    """A dense layer on the mean of each band; it cannot be scaled."""

    def __init__(self, spec, *, n_frames, n_outputs):
        super().__init__()
        self.n_frames = n_frames
        self.dense = nn.Linear(spec.n_mels, n_outputs)

    def forward(self, values):
        return self.dense(values.mean(2))


MEAN = Architecture(name="mean", build=Mean, window=3.6905625, has_width=False)


@pytest.mark.parametrize(
    ("sr", "hop", "n_frames", "window", "n_windows"),
    [
        (16000, 1, 1819, 187, 9),  # 3 s are 187.5 hops
        (16000, 10, 182, 18, 10),
        (12000, 1, 1365, 140, 9),
        (12000, 10, 137, 14, 9),
        (16000, Fraction(160, 256), 3001, 300, 10),  # 30 s
        (16000, 1, 187, 187, 1),
        (16000, 1, 100, 100, 1),  # shorter than a window
    ],
)
def test_windows_are_whole_hops_of_the_spec_one_after_the_other(
    sr, hop, n_frames, window, n_windows
):
    spec = FeatureSpec(sr=sr, n_mels=48, hop=hop)
    for model in ("musicnn", "musicnn-original"):
        assert ARCHITECTURES[model].window == 3
        assert ARCHITECTURES[model].window_frames(spec, n_frames) == window
        assert ARCHITECTURES[model].n_windows(spec, n_frames) == n_windows


def test_a_window_of_a_fraction_of_a_second_is_its_samples_to_the_last():
    by_sample = FeatureSpec(sr=16000, n_mels=8, hop=Fraction(1, 256))
    assert MEAN.window_frames(by_sample, 464_000) == 59_049


def test_a_network_without_a_window_takes_the_clip_whole():
    assert ARCHITECTURES["vgg"].window is None
    assert ARCHITECTURES["vgg"].window_frames(SPEC, 1819) == 1819
    assert ARCHITECTURES["vgg"].n_windows(SPEC, 1819) == 1


def test_a_network_is_made_for_a_window_of_the_clip():
    assert MEAN.new(SPEC, n_frames=1819, n_outputs=2).n_frames == 230
    assert MEAN.new(SPEC, n_frames=100, n_outputs=2).n_frames == 100
    assert MEAN.new(SPEC, n_frames=100, n_outputs=2)(torch.zeros(3, 8, 100)).shape == (3, 2)


@pytest.mark.parametrize("model", ARCHITECTURES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0.0}, "width is 0.0; it must be above 0"),
        ({"width": float("nan")}, "width is nan"),
        ({"width": 16.1}, "width is 16.1; it must be above 0 and at most 16"),
        ({"n_outputs": 0}, "n_outputs=0; must be at least 1"),
        ({"n_frames": 0}, "n_frames=0; must be at least 1"),
    ],
)
def test_an_invalid_network_is_refused(model, arguments, message):
    spec, *_ = SPECS[ARCHITECTURES[model].accepts]
    arguments = {"n_frames": 40, "n_outputs": 2} | arguments
    with pytest.raises(TrainingError, match=message):
        ARCHITECTURES[model].new(spec, **arguments)


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_a_spec_of_another_kind_is_refused(model):
    for kind, (spec, *_) in SPECS.items():
        if kind is not ARCHITECTURES[model].accepts:
            with pytest.raises(SpecError, match=rf"{model} takes specs of the kind .*{spec.name}"):
                ARCHITECTURES[model].new(spec, n_frames=40, n_outputs=2)


def test_a_network_that_cannot_be_scaled_has_a_width_of_1_only():
    MEAN.new(SPEC, n_frames=40, n_outputs=2, width=1)
    with pytest.raises(TrainingError, match=r"invalid width 0\.5: .*leave it at 1"):
        MEAN.new(SPEC, n_frames=40, n_outputs=2, width=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a,b"}, "invalid network name 'a,b': use letters"),  # --models a,b
        ({"name": ""}, "invalid network name ''"),
        ({"window": 0}, "invalid window of mean, 0 s: must be a length above 0"),
        ({"window": float("nan")}, "nan s: must be a length above 0, or None"),
        ({"window": float("inf")}, "inf s: must be a length above 0, or None"),
    ],
)
def test_an_invalid_architecture_is_refused(change, message):
    with pytest.raises(TrainingError, match=message):
        dataclasses.replace(MEAN, **change)
