import pytest
import torch
from torch import nn

from featurestore.errors import TrainingError
from featurestore.specs.fbank import FbankSpec
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.adapters import Adapter, attach, merge
from models.networks.cost import clip_cost, frames_of
from models.networks.gong2021.ast import (
    AST,
    MEAN,
    STD,
    adapt_positions,
    from_published,
)
from tests.models.networks.norms import randomize_norms

ARCHITECTURE = ARCHITECTURES["ast"]
SPEC = ARCHITECTURE.takes
NARROW = FbankSpec(sr=16000, n_mels=40)


def values_in(module):
    return sum(p.numel() for p in module.parameters())


def random(network):
    """Weights that are all something."""
    torch.manual_seed(1)
    for values in network.parameters():
        nn.init.normal_(values, std=0.1)
    randomize_norms(network)
    return network.eval()


def test_it_takes_1024_frames_of_a_clip():
    assert ARCHITECTURE.window_frames(SPEC, frames_of(SPEC)) == 1024
    assert ARCHITECTURE.n_windows(SPEC, frames_of(SPEC)) == 2


@pytest.mark.parametrize(("n_outputs", "parameters"), [(527, 86_594_063), (10, 86_196_490)])
def test_parameters_are_those_of_transformers(n_outputs, parameters):
    with torch.device("meta"):
        network = ARCHITECTURE.new(SPEC, n_frames=2908, n_outputs=n_outputs)
    assert values_in(network) == parameters
    assert values_in(network.audio_spectrogram_transformer) == 86_187_264
    assert len(network.audio_spectrogram_transformer.state_dict()) == 199


@pytest.mark.parametrize(
    ("n_frames", "positions", "parameters"),
    [
        (128, 146, 7_400_448),
        (512, 602, 7_750_656),
        (1024, 1214, 8_220_672),
        (1500, 1790, 8_663_040),
        (3000, 3590, 10_045_440),
    ],
)
def test_positions_are_those_of_the_length(n_frames, positions, parameters):
    with torch.device("meta"):
        inner = AST(SPEC, n_frames=n_frames, n_outputs=1, layers=1).audio_spectrogram_transformer
    assert inner.embeddings.position_embeddings.shape == (1, positions, 768)
    assert values_in(inner) == parameters


def test_its_macs_are_those_of_1214_tokens():
    cost = clip_cost(ARCHITECTURE, SPEC, n_frames=1024, n_outputs=50)
    n, wide = 1214, 768
    patches = 12 * 101 * 16 * 16 * wide
    attention = 4 * n * wide**2 + 2 * n**2 * wide
    feed_forward = 2 * n * wide * 4 * wide
    total = patches + 12 * (attention + feed_forward) + 50 * wide
    assert sum(layer.macs for layer in cost.layers) == total
    assert cost.parameters == 86_187_264 + 2 * wide + 50 * wide + 50


@pytest.mark.parametrize(("width", "units"), [(1.0, 768), (0.5, 384), (0.1, 64), (0.001, 64)])
def test_the_width_is_in_whole_heads(width, units):
    with torch.device("meta"):
        network = ARCHITECTURE.new(SPEC, n_frames=1024, n_outputs=2, width=width)
    layer = network.audio_spectrogram_transformer.encoder.layer[0]
    assert layer.attention.output.dense.weight.shape == (units, units)
    assert layer.intermediate.dense.weight.shape == (4 * units, units)


def test_a_hidden_layer_has_the_studys_sizes_and_dropouts():
    with torch.device("meta"):
        network = parse_architecture("ast-hidden200").new(SPEC, n_frames=1024, n_outputs=10)
    head = network.classifier.dense
    assert [type(layer) for layer in head] == [
        nn.Dropout, nn.Linear, nn.GELU, nn.Dropout, nn.Linear,
    ]  # fmt: skip
    assert (head[0].p, head[3].p, values_in(head)) == (0.05, 0.1, 155_810)


def test_fewer_bands_than_a_patch_has_are_refused():
    spec = FbankSpec(sr=16000, n_mels=15)
    with pytest.raises(TrainingError, match=r"fbank15.* there are 15; use 16 or more"):
        ARCHITECTURE.new(spec, n_frames=1024, n_outputs=2)


# What it computes.


def spread(n, seed):
    """Numbers from -0.5 to 0.5 that lie as if drawn, the same wherever they are made."""
    x = torch.sin(torch.arange(n, dtype=torch.float64) * 12.9898 + seed) * 43758.5453
    return (x - x.floor() - 0.5).float()


def test_it_gives_what_transformers_gave():
    """Of transformers 5.24, by weights of the same names, after its normalisation."""
    network = AST(NARROW, n_frames=60, n_outputs=3, width=0.08, layers=2).eval()
    state = network.state_dict()
    for number, name in enumerate(sorted(state)):
        state[name] = 0.6 * spread(state[name].numel(), number).reshape(state[name].shape)
    network.load_state_dict(state)
    values = (20 * spread(2 * 40 * 60, 0.5) - 6).reshape(2, 40, 60)
    with torch.inference_mode():
        logits = network(values)
    expected = torch.tensor(
        [[-0.45598137, 0.55451465, 0.24684218], [-0.41032237, 0.57400572, 0.21984136]]
    )
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def theirs(transformers, layers, units, n_frames):
    config = transformers.ASTConfig(
        hidden_size=units,
        num_hidden_layers=layers,
        num_attention_heads=units // 64,
        intermediate_size=4 * units,
        max_length=n_frames,
        num_labels=5,
    )
    torch.manual_seed(0)
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for values in model.parameters():  # tokens and positions begin as zeros
            values += 0.02 * torch.randn_like(values)
    return model


@pytest.mark.parametrize(
    ("layers", "units", "n_frames", "names"),
    [
        (3, 128, 128, "memory"),
        (3, 128, 128, "disk"),
        pytest.param(12, 768, 1024, "memory", marks=pytest.mark.slow),
    ],
)
def test_it_is_that_of_transformers(layers, units, n_frames, names, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = theirs(transformers, layers, units, n_frames)
    state = model.state_dict()
    if names == "disk":
        from safetensors.torch import load_file

        model.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
    network = AST(SPEC, n_frames=n_frames, n_outputs=5, width=units / 768, layers=layers).eval()
    if names == "disk":
        assert state.keys() == network.state_dict().keys()  # as they are
    network.load_state_dict(from_published(state))
    values = MEAN + STD * torch.randn(2, 128, n_frames)
    with torch.inference_mode():
        found = network(values)
        expected = model(((values - MEAN) / (2 * STD)).transpose(1, 2)).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.01


def by_the_authors(network):
    """State dict as the authors' code has it, within DataParallel."""
    names = {
        "v.cls_token": "embeddings.cls_token",
        "v.dist_token": "embeddings.distillation_token",
        "v.pos_embed": "embeddings.position_embeddings",
        "v.patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "v.patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "v.norm.weight": "layernorm.weight",
        "v.norm.bias": "layernorm.bias",
    }
    inner = network.audio_spectrogram_transformer.state_dict()
    state = {theirs: inner[here] for theirs, here in names.items()}
    for number in range(len(network.audio_spectrogram_transformer.encoder.layer)):
        here, block = f"encoder.layer.{number}", f"v.blocks.{number}"
        for kind in ("weight", "bias"):
            state |= {
                f"{block}.norm1.{kind}": inner[f"{here}.layernorm_before.{kind}"],
                f"{block}.norm2.{kind}": inner[f"{here}.layernorm_after.{kind}"],
                f"{block}.attn.qkv.{kind}": torch.cat(
                    [
                        inner[f"{here}.attention.attention.{part}.{kind}"]
                        for part in ("query", "key", "value")
                    ]
                ),
                f"{block}.attn.proj.{kind}": inner[f"{here}.attention.output.dense.{kind}"],
                f"{block}.mlp.fc1.{kind}": inner[f"{here}.intermediate.dense.{kind}"],
                f"{block}.mlp.fc2.{kind}": inner[f"{here}.output.dense.{kind}"],
            }
    for kind in ("weight", "bias"):
        state |= {
            f"v.head.{kind}": torch.zeros(1000),
            f"v.head_dist.{kind}": torch.zeros(1000),
            f"mlp_head.0.{kind}": network.classifier.layernorm.state_dict()[kind],
            f"mlp_head.1.{kind}": network.classifier.dense.state_dict()[kind],
        }
    return {f"module.{name}": values for name, values in state.items()}


def test_the_names_of_the_authors_code_are_known():
    network = random(AST(NARROW, n_frames=60, n_outputs=3, width=0.17, layers=2))
    found = from_published(by_the_authors(network))
    assert found.keys() == network.state_dict().keys()
    for name, values in network.state_dict().items():
        assert torch.equal(found[name], values), name


def test_weights_of_another_network_are_refused():
    with pytest.raises(TrainingError, match=r"not the published weights of ast: .*choose the net"):
        from_published({"conv.weight": torch.zeros(3)})


def test_values_are_cut_or_filled_up_with_zeros_before_they_are_normalised():
    network = random(AST(NARROW, n_frames=64, n_outputs=3, width=0.08, layers=1))
    short = 4 * torch.randn(2, 40, 50) - 4
    seen = []
    hook = network.audio_spectrogram_transformer.register_forward_pre_hook
    handle = hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        filled = nn.functional.pad(short, (0, 14))
        assert torch.equal(network(short), network(filled))
        longer = torch.cat([filled, torch.randn(2, 40, 9)], 2)
        assert torch.equal(network(longer), network(filled))
    handle.remove()
    assert [tuple(values.shape) for values in seen] == [(2, 40, 64)] * 4
    assert seen[0][0, 0, -1].item() == pytest.approx(0.46703237)
    torch.testing.assert_close(seen[0][..., :50], (short + 4.2677393) / 9.1379948)


def test_a_window_of_less_than_a_patch_is_filled_up_to_one():
    network = random(AST(NARROW, n_frames=1, n_outputs=3, width=0.08, layers=1))
    assert network.grid == (3, 1)
    assert network(torch.randn(2, 40, 1)).shape == (2, 3)


def test_where_a_patch_is_tells():
    spec = FbankSpec(sr=16000, n_mels=36)  # whole patches: turned, they are those of the other side
    network = random(AST(spec, n_frames=46, n_outputs=3, width=0.08, layers=1))
    embeddings = network.audio_spectrogram_transformer.embeddings
    kernels = embeddings.patch_embeddings.projection.weight
    values = 4 * torch.randn(1, 36, 46) - 4
    turned = values.flip(1)
    with torch.inference_mode():
        kernels[:] = (kernels + kernels.flip(2)) / 2
        nn.init.normal_(embeddings.position_embeddings)
        assert not torch.allclose(network(values), network(turned), atol=1e-3)
        nn.init.zeros_(embeddings.position_embeddings)
        torch.testing.assert_close(network(values), network(turned))


def test_attention_is_what_the_output_is_made_with():
    network = random(AST(NARROW, n_frames=60, n_outputs=3, width=0.17, layers=2))
    heads = network.audio_spectrogram_transformer.encoder.layer[1].attention.attention
    tokens = torch.randn(2, 17, 128)
    with torch.inference_mode():
        values = heads.value(tokens).unflatten(2, (2, 64)).transpose(1, 2)
        mixed = (heads.weights(tokens) @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(mixed, heads(tokens))


def test_attention_by_steps_is_that_of_their_patches_together():
    network = random(AST(NARROW, n_frames=60, n_outputs=3, width=0.17, layers=2))
    assert network.grid == (3, 5)
    values = 4 * torch.randn(2, 40, 60) - 4
    seen = []
    heads = network.audio_spectrogram_transformer.encoder.layer[1].attention.attention
    handle = heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(values)
        handle.remove()
        paid = heads.weights(seen[0])
        found = network.attention(values)[:, 1]
    assert found.shape == (2, 2, 6, 6)
    # Two tokens, then patches by bands: those of step 3 are 2 + 3, 2 + 8 and 2 + 13.
    patches = [5, 10, 15]
    by_patches = paid[:, :, patches][..., [4, 9, 14]].sum(-1).mean(-1)  # what they pay to step 2
    torch.testing.assert_close(found[:, :, 4, 3], by_patches)
    by_tokens = paid[:, :, :2][..., patches].sum(-1).mean(-1)
    torch.testing.assert_close(found[:, :, 0, 4], by_tokens)


def test_a_step_of_attention_is_where_its_patches_begin():
    network = random(AST(NARROW, n_frames=106, n_outputs=3, width=0.08, layers=1))
    embeddings = network.audio_spectrogram_transformer.embeddings
    values = torch.zeros(1, 40, 106)
    changed = values.clone()
    changed[..., 40:46] = 5  # the end of the patches that begin at 30, the beginning of those at 40
    with torch.inference_mode():
        moved = (embeddings(changed) - embeddings(values))[0, 2:].abs().sum(1) > 0
    steps = moved.unflatten(0, network.grid).any(0)
    assert steps.nonzero().flatten().tolist() == [3, 4]
    assert network.frames_per_step == 10


# Positions.


def grid(old=(12, 101), units=2):
    """Positions that say where they are, along the bands and along time; behind two tokens."""
    bands, time = torch.meshgrid(torch.arange(old[0]), torch.arange(old[1]), indexing="ij")
    patches = torch.stack([bands, time], 2).float().flatten(0, 1)
    return torch.cat([torch.full((2, units), -7.0), patches])[None]


def test_of_more_positions_those_in_the_middle_are_taken():
    adapted = adapt_positions(grid(), (12, 101), (12, 50))
    assert adapted.shape == (1, 602, 2)
    assert (adapted[0, :2] == -7).all()
    patches = adapted[0, 2:].unflatten(0, (12, 50))
    assert torch.equal(patches[..., 0], torch.arange(12.0)[:, None].expand(12, 50))
    assert torch.equal(patches[..., 1], torch.arange(25.0, 75).expand(12, 50))

    patches = adapt_positions(grid(), (12, 101), (5, 101))[0, 2:].unflatten(0, (5, 101))
    assert patches[:, 0, 0].tolist() == [4, 5, 6, 7, 8]


def test_fewer_positions_are_interpolated():
    adapted = adapt_positions(grid(), (12, 101), (12, 299))
    assert adapted.shape == (1, 3590, 2)
    assert (adapted[0, :2] == -7).all()
    patches = adapted[0, 2:].unflatten(0, (12, 299))
    torch.testing.assert_close(patches[..., 0], torch.arange(12.0)[:, None].expand(12, 299))
    # Bilinear, corners not aligned: the middle of each new step, in old ones.
    time = ((torch.arange(299) + 0.5) * 101 / 299 - 0.5).clamp(0, 100)
    torch.testing.assert_close(patches[..., 1], time.expand(12, 299), rtol=0, atol=1e-4)
    # Along both axes, one by one.
    both = adapt_positions(grid(), (12, 101), (15, 80))[0, 2:].unflatten(0, (15, 80))
    assert torch.equal(both[0, :, 1], torch.arange(10.0, 90))
    bands = ((torch.arange(15) + 0.5) * 12 / 15 - 0.5).clamp(0, 11)
    torch.testing.assert_close(both[:, 0, 0], bands)


def test_positions_for_the_same_patches_stay_as_they_are():
    assert torch.equal(adapt_positions(grid(), (12, 101), (12, 101)), grid())


def test_weights_of_a_network_for_another_length_fit():
    long = random(AST(SPEC, n_frames=1024, n_outputs=2, width=0.08, layers=1))
    short = AST(NARROW, n_frames=128, n_outputs=2, width=0.08, layers=1)
    weights = short.weights_of(long)
    short.load_state_dict(weights)
    name = "audio_spectrogram_transformer.embeddings.position_embeddings"
    before = long.state_dict()
    assert torch.equal(weights[name], adapt_positions(before[name], (12, 101), (3, 12)))
    assert all(torch.equal(weights[n], before[n]) for n in before if n != name)


# Transferred.


# What peft asks transformers.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_trained_by_dora_it_is_what_peft_makes_of_that_of_transformers():
    transformers, peft = (pytest.importorskip(name) for name in ("transformers", "peft"))
    model = theirs(transformers, 3, 128, 64)
    network = AST(SPEC, n_frames=64, n_outputs=5, width=2 / 12, layers=3).eval()
    network.load_state_dict(from_published(model.state_dict()))
    config = peft.LoraConfig(
        r=2, lora_alpha=8.49, use_dora=True, target_modules=r".*layers\.[12]\.mlp\.fc2"
    )
    model = peft.get_peft_model(model, config).eval()
    inner = model.base_model.model
    inner.classifier.dense.requires_grad_(True)
    adapter = Adapter(kind="dora", rank=2, alpha=8.49, layers=(1, 2))
    attach(network, adapter, modules=ARCHITECTURE.adapts, head=ARCHITECTURE.head)
    with torch.no_grad():
        for number in (1, 2):
            layer = inner.audio_spectrogram_transformer.layers[number].mlp.fc2
            ours = network.audio_spectrogram_transformer.encoder.layer[number].output.dense.adapter
            ours.A.copy_(layer.lora_A["default"].weight)
    values, classes = MEAN + STD * torch.randn(8, 128, 64), torch.arange(8) % 5

    def by_them():
        return model(((values - MEAN) / (2 * STD)).transpose(1, 2)).logits

    def by_us():
        return network(values)

    losses = []
    for logits, learns in ((by_them, model.parameters()), (by_us, network.parameters())):
        optimizer = torch.optim.SGD([p for p in learns if p.requires_grad], lr=0.02)
        for _ in range(12):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(logits(), classes)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[11] < 0.9 * losses[0]
    assert losses[12:] == pytest.approx(losses[:12], abs=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(by_us(), by_them(), rtol=0, atol=1e-5)
        merge(network)
        model = model.merge_and_unload()
        torch.testing.assert_close(by_us(), by_them(), rtol=0, atol=1e-5)
