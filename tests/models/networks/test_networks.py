from fractions import Fraction

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from featurestore.specs.grid import ferraro2020
from models.networks import NETWORKS, build, count_segments, segment_frames
from models.networks.cost import frames_of

SPEC = FeatureSpec(sr=16000, n_mels=8)
STUDY = [spec for spec in ferraro2020() if spec.log == "db"]  # a network reads no law


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("spec", STUDY, ids=str)
def test_every_network_takes_a_training_step_at_every_spec_of_the_study(model, spec):
    n_frames = segment_frames(model, spec, frames_of(spec)) or frames_of(spec)
    torch.manual_seed(1)
    network = build(model, spec, n_frames=n_frames, n_tags=5, width=0.03)
    before = {name: values.clone() for name, values in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    logits = network(torch.randn(3, spec.n_mels, n_frames))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.eye(3, 5)).backward()
    optimizer.step()

    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    after = dict(network.named_parameters())
    assert all(values.isfinite().all() for values in after.values())
    # What is learnt reaches every part, from the last layer to the first.
    learnt = {n.split(".")[0] for n in after if not torch.equal(before[n], after[n])}
    assert learnt == {n.split(".")[0] for n in after}


@pytest.mark.parametrize(
    ("sr", "hop", "n_frames", "segment", "n_segments"),
    [
        (16000, 1, 1819, 187, 9),  # 3 s are 187.5 hops
        (16000, 10, 182, 18, 10),
        (12000, 1, 1365, 140, 9),
        (12000, 10, 137, 14, 9),
        (16000, Fraction(160, 256), 3001, 300, 10),  # 30 s
        (16000, 1, 187, 187, 1),
        (16000, 1, 100, 100, 1),  # shorter than a segment
    ],
)
def test_segments_are_3_s_of_the_specs_frames_one_after_the_other(
    sr, hop, n_frames, segment, n_segments
):
    spec = FeatureSpec(sr=sr, n_mels=48, hop=hop)
    for model in ("musicnn", "musicnn-original"):
        assert segment_frames(model, spec, n_frames) == segment
        assert count_segments(model, spec, n_frames) == n_segments


def test_vgg_takes_whole_clips():
    assert segment_frames("vgg", SPEC, 1819) is None
    assert count_segments("vgg", SPEC, 1819) == 1


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0.0}, "width is 0.0; it must be above 0"),
        ({"width": float("nan")}, "width is nan"),
        ({"width": 16.1}, "width is 16.1; it must be above 0 and at most 16"),
        ({"n_tags": 0}, "0 tags cannot be"),
        ({"n_frames": 0}, "0 frames"),
    ],
)
def test_a_network_that_cannot_be_is_refused(model, arguments, message):
    arguments = {"n_frames": 40, "n_tags": 2} | arguments
    with pytest.raises(TrainingError, match=message):
        build(model, SPEC, **arguments)


def test_an_unknown_network_is_refused_with_the_known_ones():
    known = "model is 'resnet'; it must be one of vgg, musicnn, musicnn-original"
    with pytest.raises(TrainingError, match=known):
        build("resnet", SPEC, n_frames=40, n_tags=2)
    with pytest.raises(TrainingError, match=known):
        segment_frames("resnet", SPEC, 40)
