import dataclasses

import pytest
import torch
from torch import nn

from featurestore import FeatureSpec
from featurestore.errors import TrainingError, TrainingSettingsError
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.adapters import (
    Adapted,
    Adapter,
    ColumnDoRA,
    DoRA,
    LoRA,
    attach,
    hold_norms,
    learnt,
    merge,
)
from models.networks.norm import BandNorm, core

KINDS = {"lora": LoRA, "dora": DoRA, "dora-column": ColumnDoRA}
AST = ARCHITECTURES["ast"]

TOLERANCE = 1e-5
"""Of outputs and gradients of a size of 1 to 20, in float32."""


def layer(kind, *, rank=2, alpha=8.49, dtype=torch.float32):
    torch.manual_seed(0)
    base = nn.Linear(12, 7, dtype=dtype)
    adapter = KINDS[kind](base.weight, rank=rank, alpha=alpha)
    return Adapted(base.requires_grad_(False), adapter)


def stirred(adapted):
    """Its weights as they might be after some training."""
    torch.manual_seed(2)
    with torch.no_grad():
        for values in adapted.adapter.parameters():
            values += 0.3 * torch.randn_like(values)
    return adapted


@pytest.mark.parametrize("kind", KINDS)
def test_at_first_nothing_is_changed(kind):
    adapted, values = layer(kind), torch.randn(5, 12)
    with torch.no_grad():
        torch.testing.assert_close(adapted(values), adapted.base(values), rtol=0, atol=1e-6)
        assert not torch.allclose(stirred(adapted)(values), adapted.base(values), atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_merged_is_a_dense_layer_that_does_the_same(kind):
    adapted, values = stirred(layer(kind)), torch.randn(5, 12)
    merged = adapted.merged()
    assert type(merged) is nn.Linear
    assert torch.equal(merged.weight, adapted.weight)
    assert torch.equal(merged.bias, adapted.base.bias)
    assert torch.equal(merged(values), adapted(values))
    assert not torch.equal(merged.weight, adapted.base.weight)


def peft_layer(kind):
    """A layer of peft's, stirred, and ours with the same weights."""
    peft = pytest.importorskip("peft")
    ours = layer(kind)
    holder = nn.Sequential(nn.Linear(12, 7))
    holder[0].load_state_dict(ours.base.state_dict())
    config = peft.LoraConfig(
        r=2, lora_alpha=8.49, target_modules=["0"], use_dora=kind == "dora", lora_dropout=0.0
    )
    model = peft.get_peft_model(holder, config)
    theirs = model.base_model.model[0]
    parts = {"A": theirs.lora_A["default"].weight, "B": theirs.lora_B["default"].weight}
    if kind == "dora":
        parts["m"] = theirs.lora_magnitude_vector["default"].weight
        assert torch.equal(parts["m"], ours.adapter.m)  # at first
    stirred(ours)
    with torch.no_grad():
        for name, values in parts.items():
            values.copy_(getattr(ours.adapter, name))
    return model, parts, ours


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_it_is_that_of_peft_in_output_gradients_and_merge(kind):
    model, parts, ours = peft_layer(kind)
    values = torch.randn(5, 12)
    theirs = model(values)
    torch.testing.assert_close(ours(values), theirs, rtol=0, atol=TOLERANCE)
    theirs.square().sum().backward()
    ours(values).square().sum().backward()
    assert parts.keys() == dict(ours.adapter.named_parameters()).keys()
    for name, part in parts.items():
        assert part.grad.abs().max() > 0.1
        torch.testing.assert_close(
            getattr(ours.adapter, name).grad, part.grad, rtol=1e-6, atol=TOLERANCE
        )
    merged = model.merge_and_unload()[0]
    torch.testing.assert_close(ours.merged().weight, merged.weight, rtol=0, atol=TOLERANCE)


def test_a_gradient_through_the_norm_would_not_be_that_of_peft():
    """What the comparison above would see."""
    model, parts, ours = peft_layer("dora")
    values = torch.randn(5, 12)
    model(values).square().sum().backward()
    adapter = ours.adapter
    changed = ours.base.weight + 8.49 / 2 * (adapter.B @ adapter.A)
    weight = (adapter.m / changed.norm(dim=1))[:, None] * changed  # attached
    output = nn.functional.linear(values, weight, ours.base.bias)
    torch.testing.assert_close(output, ours(values), rtol=0, atol=TOLERANCE)
    output.square().sum().backward()
    for name in "AB":
        off = (getattr(adapter, name).grad - parts[name].grad).abs().max()
        assert off > 1e4 * TOLERANCE


def test_the_studys_variant_has_the_norm_of_each_inputs_column():
    """Formula of the study of AST on GTZAN: alpha is not divided, A begins as N(0, 1 / rank)."""
    adapted = layer("dora-column", rank=2, alpha=4.25)
    adapter = adapted.adapter
    assert {n: tuple(p.shape) for n, p in adapter.named_parameters()} == {
        "A": (12, 2),
        "B": (2, 7),
        "m": (1, 12),
    }
    assert torch.equal(adapter.B, torch.zeros(2, 7))
    for column in range(12):
        length = adapted.base.weight[:, column].square().sum().sqrt()
        assert adapter.m[0, column].item() == pytest.approx(length.item())
    stirred(adapted)
    for column in range(12):
        changed = adapted.base.weight[:, column] + 4.25 * (adapter.A[column] @ adapter.B)
        expected = adapter.m[0, column] * changed / changed.square().sum().sqrt()
        torch.testing.assert_close(adapted.weight[:, column], expected)
    torch.manual_seed(0)
    first = ColumnDoRA(torch.randn(3, 4000), rank=4, alpha=1.0)
    assert first.A.std().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "is_whole"), [("lora", True), ("dora-column", True), ("dora", False)]
)
def test_gradients_are_those_of_the_output_but_for_dora_whose_norm_is_held(kind, is_whole):
    adapted = stirred(layer(kind, dtype=torch.float64))
    parameters = tuple(adapted.adapter.parameters())
    names = [name for name, _ in adapted.adapter.named_parameters()]
    values = torch.randn(5, 12, dtype=torch.float64)

    def output(*parts):
        state = {f"adapter.{name}": part for name, part in zip(names, parts, strict=True)}
        return torch.func.functional_call(adapted, state, (values,))

    found = torch.autograd.gradcheck(output, parameters, raise_exception=False)
    assert found == is_whole


def test_weights_are_made_in_float32_whatever_autocast_says():
    adapted = stirred(layer("dora"))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapted.weight, stirred(layer("dora")).weight)
        assert adapted(torch.randn(2, 12)).dtype == torch.bfloat16


# In a network.


def meta(model):
    with torch.device("meta"):
        return parse_architecture(model).new(AST.takes, n_frames=1024, n_outputs=10)


def n_learnt(network):
    return sum(values.numel() for values in learnt(network).values())


def test_what_the_study_trains_and_what_peft_would():
    """Rank 2 on fc2 of the last two layers, and a head of 200 units; frozen is the norm before it.

    peft trains a row's magnitude where the study trains a column's, and that norm too.
    """
    network = meta("ast-hidden200")
    with torch.device("meta"):
        adapter = Adapter(kind="dora-column", rank=2, alpha=4.246988659186245, layers=(10, 11))
        attach(network, adapter, modules=AST.adapts, head=AST.head)
    assert n_learnt(network) == 177_314 == 2 * 10_752 + 155_810
    assert sum(values.numel() for values in network.parameters()) == 86_366_114

    network = meta("ast-hidden200")
    with torch.device("meta"):
        adapter = Adapter(kind="dora", rank=2, alpha=8.49397731837249, layers=(10, 11))
        attach(network, adapter, modules=AST.adapts, head="classifier")
    assert n_learnt(network) == 174_242


def small(model="ast-layers3", n_outputs=4):
    torch.manual_seed(0)
    return parse_architecture(model).new(AST.takes, n_frames=64, n_outputs=n_outputs, width=0.08)


def adapted_names(network):
    return [name for name, module in network.named_modules() if isinstance(module, Adapted)]


LAYER = "audio_spectrogram_transformer.encoder.layer"


@pytest.mark.parametrize(
    ("layers", "modules", "names"),
    [
        ((1, 2), None, [f"{LAYER}.1.output.dense", f"{LAYER}.2.output.dense"]),
        ((1, 1), "attention.attention.*", [f"{LAYER}.1.attention.attention.{n}"
                                           for n in ("query", "key", "value")]),
        (None, "intermediate.dense", [f"{LAYER}.{n}.intermediate.dense" for n in range(3)]),
        ((0, 0), "*", [f"{LAYER}.0.{n}" for n in (
            "attention.attention.query", "attention.attention.key", "attention.attention.value",
            "attention.output.dense", "intermediate.dense", "output.dense")]),
    ],
)  # fmt: skip
def test_layers_are_chosen_by_number_and_pattern(layers, modules, names):
    network = small()
    adapter = Adapter(kind="lora", layers=layers, modules=modules)
    attach(network, adapter, modules=AST.adapts, head=AST.head)
    assert adapted_names(network) == names
    expected = {f"{name}.adapter.{part}" for name in names for part in "AB"}
    assert learnt(network).keys() == expected | {"classifier.dense.weight", "classifier.dense.bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_the_same_with_a_new_adapter_and_merged_what_it_was_with_it(kind):
    network, values = small().eval(), torch.randn(2, 128, 64)
    before, names = network(values), list(network.state_dict())
    adapter = Adapter(kind=kind, layers=(1, 2))
    attach(network, adapter, modules="*", head=AST.head)
    torch.testing.assert_close(network(values), before, rtol=0, atol=1e-6)
    for name in adapted_names(network):
        stirred(network.get_submodule(name))
    trained = network(values)
    assert not torch.allclose(trained, before, atol=1e-3)
    merge(network)
    assert adapted_names(network) == []
    assert list(network.state_dict()) == names
    assert all(weights.requires_grad for weights in network.parameters())
    assert torch.equal(network(values), trained)


def test_behind_normalised_bands_the_network_is_adapted():
    spec = FeatureSpec(sr=16000, n_mels=32)
    inner = ARCHITECTURES["vit"].new(spec, n_frames=64, n_outputs=3, width=0.03)
    network = nn.Sequential(BandNorm.identity(32), inner).eval()
    before = network(torch.ones(1, 32, 64))
    attach(network, Adapter(kind="lora", layers=(4, 5), modules="*"), modules="*", head="dense")
    assert adapted_names(network) == [
        f"1.transformer.layers.{n}.linear{m}" for n in (4, 5) for m in (1, 2)
    ]
    # Its transformer asks its layers for their weights, rather than calling them.
    torch.testing.assert_close(network(torch.ones(1, 32, 64)), before)
    for name in adapted_names(network):
        stirred(network.get_submodule(name))
    trained = network(torch.ones(1, 32, 64))
    assert not torch.allclose(trained, before, atol=1e-4)
    merge(network)
    torch.testing.assert_close(network(torch.ones(1, 32, 64)), trained)
    assert core(network) is inner


def test_statistics_of_frozen_batch_norms_stay():
    spec = FeatureSpec(sr=16000, n_mels=32)
    network = ARCHITECTURES["vit"].new(spec, n_frames=64, n_outputs=3, width=0.03)
    attach(network, Adapter(kind="lora"), modules="*", head="dense")
    network.train()
    network(torch.randn(2, 32, 64))
    moved = network.input_norm.running_mean.clone()
    assert moved != 0
    hold_norms(network)
    network(5 + torch.randn(2, 32, 64))
    assert torch.equal(network.input_norm.running_mean, moved)
    assert network.transformer.training


@pytest.mark.parametrize(
    ("layers", "modules", "head", "message"),
    [
        ((3, 3), None, "classifier.dense", r"no dense layer in layers 3-3 is called 'output\.d"),
        (None, "fc2", "classifier.dense", r"no dense layer is called 'fc2'; there are .*, output"),
        (None, None, "dense", r"this one has no dense; an Architecture says which"),
    ],
)
def test_what_is_not_there_cannot_be_adapted(layers, modules, head, message):
    adapter = Adapter(kind="dora", layers=layers, modules=modules)
    with pytest.raises(TrainingError, match=message):
        attach(small(), adapter, modules=AST.adapts, head=head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "dora2"}, "adapter is 'dora2'; it must be one of lora, dora, dora-column"),
        ({"rank": 0}, "rank is 0; it must be a whole number from 1"),
        ({"rank": True}, "rank is True"),
        ({"rank": 1.5}, r"rank is 1\.5"),
        ({"alpha": 0}, "alpha is 0; it must be a number above 0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"alpha": "8"}, "alpha is '8'"),
        ({"layers": (2, 1)}, r"adapted layers are \(2, 1\); give the first and the last"),
        ({"layers": (-1, 1)}, "give the first and the last, from 0"),
        ({"layers": (0,)}, "give the first and the last, from 0"),
        ({"layers": 3}, "give the first and the last, from 0"),
        ({"layers": ("0", "1")}, "give the first and the last, from 0"),
        ({"modules": ""}, "modules are ''; give a pattern"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(TrainingSettingsError, match=message):
        Adapter(**{"kind": "dora"} | change)


def test_settings_read_back_and_unknown_keys_are_refused_by_name():
    adapter = Adapter(kind="dora", rank=3, alpha=8, layers=(10, 11), modules="*")
    fields = dataclasses.asdict(adapter) | {"layers": [10, 11]}  # JSON
    assert Adapter.from_json(fields) == adapter
    with pytest.raises(TrainingSettingsError, match="unknown settings of an adapter: dropout"):
        Adapter.from_json(fields | {"dropout": 0})
