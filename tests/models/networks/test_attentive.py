import pytest
import torch

from featurestore import FeatureSpec
from featurestore.specs.fbank import FbankSpec
from models.networks import ARCHITECTURES
from models.networks.attentive import Attentive, time_attention
from tests.models.networks.norms import randomize_norms

SPECS = {
    FeatureSpec: FeatureSpec(sr=16000, n_mels=32, hop=2),
    FbankSpec: FbankSpec(sr=16000, n_mels=32),
}
ATTENTIVE = [name for name, a in ARCHITECTURES.items() if hasattr(a.build, "attention")]
PLAIN = ["attention", "vit"]
"""Whose transformers are torch's attention over tokens; of others, their own tests know."""


def network_of(name):
    torch.manual_seed(0)
    spec = SPECS[ARCHITECTURES[name].accepts]
    network = ARCHITECTURES[name].new(spec, n_frames=469, n_outputs=3, width=0.05).eval()
    randomize_norms(network)
    return network


def test_the_networks_with_a_transformer_say_what_it_looks_at():
    assert [*PLAIN, "ast", "mtt", "spectnt"] == ATTENTIVE


@pytest.mark.parametrize(
    ("name", "n_layers", "n_heads", "n_tokens"),
    [("attention", 2, 8, 60), ("vit", 6, 8, 29), ("ast", 12, 1, 47)],
)
def test_attention_is_shares_of_each_token_in_each_layer_and_head(
    name, n_layers, n_heads, n_tokens
):
    network = network_of(name)
    assert isinstance(network, Attentive)
    values = torch.randn(2, 32, 469)
    with torch.inference_mode():
        before = network(values)
        weights = network.attention(values)
        torch.testing.assert_close(network(values), before)
        steps = time_attention(network, values)
    assert weights.shape == (2, n_layers, n_heads, n_tokens, n_tokens)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert steps.shape == (2, n_tokens - network.has_cls)
    torch.testing.assert_close(steps.sum(1), torch.ones(2))
    last = weights[:, -1].mean(1)
    expected = last.mean(1) if name == "vit" else last[:, 0, 1:]
    torch.testing.assert_close(steps, expected / expected.sum(1, keepdim=True))
    assert (steps.max(1).values > steps.min(1).values).all()


@pytest.mark.parametrize("name", PLAIN)
def test_the_weights_are_those_that_the_output_is_made_with(name):
    network = network_of(name)
    values = torch.randn(1, 32, 469)
    mixed = []

    def keep(module, arguments, output):
        tokens = arguments[0]
        _, _, value = module.in_proj_weight.chunk(3)
        bias = module.in_proj_bias.chunk(3)[2]
        value = (tokens @ value.T + bias).unflatten(2, (8, -1)).transpose(1, 2)
        mixed.append((value, module.out_proj, output[0]))

    attentions = [m for m in network.modules() if isinstance(m, torch.nn.MultiheadAttention)]
    handle = attentions[-1].register_forward_hook(keep)
    network(values)
    handle.remove()
    value, project, output = mixed[0]
    weights = network.attention(values)[:, -1]
    torch.testing.assert_close(project((weights @ value).transpose(1, 2).flatten(2)), output)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("step", [11, 20])
def test_a_step_is_of_the_frames_that_it_is_said_to_be_of(name, step):
    network = network_of(name)
    values = torch.randn(1, 32, 469)
    changed = values.clone()
    begin = step * network.frames_per_step
    changed[:, :, begin : begin + network.frames_per_step // 2] += 5
    with torch.inference_mode():
        moved = (network._tokens(changed) - network._tokens(values)).abs().sum(2)[0]
    steps = moved[network.has_cls :]
    centre = (steps * torch.arange(len(steps))).sum() / steps.sum()
    assert centre.item() == pytest.approx(step, abs=0.5)
