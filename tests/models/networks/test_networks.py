import itertools
import math

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from featurestore.specs.presets import specs_for
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.cost import frames_of
from tests.models.networks.kinds import MANY, QUICK, SPECS

PAIRS = [
    pytest.param(model, spec, marks=marks)
    for model, a in ARCHITECTURES.items()
    for specs, marks in (
        (QUICK[a.accepts], []),
        (MANY[a.accepts], [pytest.mark.slow]),
        (SPECS[a.accepts], [pytest.mark.thorough]),
    )
    for spec in specs
    if marks != [pytest.mark.slow] or spec not in QUICK[a.accepts]
    if marks != [pytest.mark.thorough] or spec not in QUICK[a.accepts] + MANY[a.accepts]
]


@pytest.mark.parametrize(("model", "spec"), PAIRS, ids=str)
def test_every_network_takes_a_training_step_at_every_spec_of_the_study(model, spec):
    architecture = ARCHITECTURES[model]
    n_frames = architecture.window_frames(spec, frames_of(spec))
    torch.manual_seed(1)
    width = 0.03 if architecture.has_width else 1
    network = architecture.new(spec, n_frames=frames_of(spec), n_outputs=5, width=width)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # of the one unit that a narrow network may have, it would drop all
    before = {name: values.clone() for name, values in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    logits = network(torch.randn(3, spec.n_bands, n_frames))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.eye(3, 5)).backward()
    optimizer.step()

    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    after = dict(network.named_parameters())
    assert all(values.isfinite().all() for values in after.values())
    # What is learnt reaches every part, from the last layer to the first.
    learnt = {n.split(".")[0] for n in after if not torch.equal(before[n], after[n])}
    assert learnt == {n.split(".")[0] for n in after}


OPTIONS = {name: a.options for name, a in ARCHITECTURES.items() if a.options}


@pytest.mark.parametrize("model", OPTIONS)
def test_every_choice_of_options_has_one_name_and_is_a_network_of_its_own(model):
    spec = ARCHITECTURES[model].takes
    made = {}
    for values in itertools.product(*OPTIONS[model].values()):
        name = model + "".join(
            f"-{word}{value}"
            for (word, choices), value in zip(OPTIONS[model].items(), values, strict=True)
            if value != choices[0]
        )
        architecture = parse_architecture(name)
        assert architecture.name == name
        network = architecture.new(spec, n_frames=100, n_outputs=2, width=0.1)
        assert network.eval()(torch.zeros(1, spec.n_bands, 100)).shape == (1, 2)
        made[name] = tuple((name, p.shape) for name, p in network.named_parameters())
    assert len(made) == len(set(made.values())) == math.prod(map(len, OPTIONS[model].values()))


@pytest.mark.parametrize(
    "name",
    [
        "fcn1d-depth4",  # the default, which the name alone is
        "fcn1d-depth9",
        "fcn1d-depth03",
        "fcn1d-hidden128-depth3",  # in another order
        "fcn1d-depth3-depth5",
        "fcn1d-depth",
        "fcn1d-kernel3",
        "fcn1d-",
        "fcn1ddepth3",
        "vit-depth3",
    ],
)
def test_a_name_that_no_choice_of_options_has_is_refused(name):
    with pytest.raises(TrainingError, match=rf"model is '{name}'; .*fcn1d\[-depthN\]\[-hiddenN\]"):
        parse_architecture(name)


def test_networks_are_listed_by_their_own_names():
    for name, architecture in ARCHITECTURES.items():
        assert architecture.name == name
        assert parse_architecture(name) is architecture


@pytest.mark.parametrize("model", [a.name for a in ARCHITECTURES.values() if a.takes is not None])
def test_a_network_can_be_made_for_the_spec_that_it_was_published_with(model):
    architecture = ARCHITECTURES[model]
    n_frames = frames_of(architecture.takes)
    with torch.device("meta"):
        network = architecture.new(architecture.takes, n_frames=n_frames, n_outputs=50).eval()
        frames = architecture.window_frames(architecture.takes, n_frames)
        assert network(torch.empty(2, architecture.takes.n_bands, frames)).shape == (2, 50)


@pytest.mark.parametrize("model", [a.name for a in ARCHITECTURES.values() if a.takes is not None])
def test_a_store_can_be_made_for_a_network_by_its_name(model):
    assert specs_for([model]) == (ARCHITECTURES[model].takes,)


def test_the_two_poolings_of_musicnn_are_two_networks():
    spec = FeatureSpec(sr=16000, n_mels=96)
    with torch.device("meta"):
        dense = [
            ARCHITECTURES[name].new(spec, n_frames=1819, n_outputs=50).hidden[1].in_features
            for name in ("musicnn", "musicnn-original")
        ]
    assert dense == [2 * ((187 - 6) // 2), 2 * 512]


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(
        TrainingError, match="model is 'resnet'; it must be one of vgg, musicnn, musicnn-original"
    ):
        parse_architecture("resnet")
