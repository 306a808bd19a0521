"""Published weights as checkpoints; those here are of the tests' making."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featurestore import FeatureSpec
from featurestore.errors import OutputError, TrainingError
from featurestore.specs.fbank import FbankSpec
from models.networks import ARCHITECTURES, PUBLISHED, parse_architecture
from models.networks.gong2021 import ast
from models.networks.won2020 import crnn, fcn, musicnn
from models.networks.won2020.published import FRONT_END
from models.training.checkpoint import load_checkpoint
from models.training.evaluate import evaluate_checkpoint
from models.training.weights import import_weights, read_tags

TAGS = ("loud", "tilted", "coin")
MODULES = {"fcn": fcn, "crnn": crnn, "musicnn-smc": musicnn}


def state_of(model, n_outputs=3):
    """Weights of a network, as the study's code would name them."""
    architecture = ARCHITECTURES[model]
    torch.manual_seed(0)
    network = architecture.new(architecture.takes, n_frames=1819, n_outputs=n_outputs).eval()
    theirs = {here: name for name, here in MODULES[model].PUBLISHED.items()}
    state = {}
    for name, values in network.state_dict().items():
        here, _, kind = name.rpartition(".")
        state[f"{theirs[here]}.{kind}"] = values
    return network, state | dict.fromkeys(FRONT_END, torch.zeros(3))


@pytest.mark.parametrize(
    ("model", "form"),
    [(model, "pth") for model in MODULES]
    + [("musicnn-smc", "old.pth"), ("musicnn-smc", "safetensors")],
)
def test_a_state_dict_becomes_a_checkpoint_that_predicts_as_it_did(model, form, tmp_path):
    network, state = state_of(model)
    path, output = tmp_path / f"weights.{form}", tmp_path / "imported"
    if form == "safetensors":
        save_file(state | {name: torch.zeros(3) for name in FRONT_END}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "pth")
    made = import_weights(path, model=model, tags=TAGS, output=output)
    assert (made.model, made.spec) == (model, "sr16000-mel96-x1-db-htk-nonorm")
    assert (made.n_frames, made.n_tags) == (1819, 3)
    assert made.parameters == sum(p.numel() for p in network.parameters())
    assert made.lines()[-1] == f"saved in {output}"
    assert json.loads(json.dumps(made.json()))["checkpoint"] == str(output)

    loaded = load_checkpoint(output)
    assert loaded.training is None
    assert loaded.tags == TAGS
    assert loaded.source == made.source
    assert loaded.source.startswith(f"weights.{form}, sha256 ")
    assert loaded.settings.recipe == "won2020"
    window = loaded.settings.architecture.window_frames(loaded.spec, loaded.n_frames)
    values = torch.randn(1, 96, window)
    with torch.inference_mode():
        # Weights lie otherwise in memory there, which the last bits show.
        torch.testing.assert_close(loaded.network(values), network(values), rtol=0, atol=1e-5)


def ast_state(n_outputs=3):
    network = parse_architecture("ast-layers1").new(
        ast.ARCHITECTURE.takes, n_frames=1024, n_outputs=n_outputs
    )
    return network.eval(), network.state_dict()


def test_ast_is_imported_with_any_number_of_outputs(tmp_path):
    network, state = ast_state()
    save_file(state, tmp_path / "model.safetensors")
    made = import_weights(
        tmp_path / "model.safetensors", model="ast-layers1", tags=TAGS, output=tmp_path / "ast"
    )
    assert (made.model, made.spec, made.n_tags) == ("ast-layers1", "sr16000-fbank128-hop160", 3)
    assert made.n_frames == 1 + (round(29.1 * 16000) - 400) // 160
    loaded = load_checkpoint(tmp_path / "ast")
    assert (loaded.settings.recipe, loaded.settings.amp) == ("ast-dora", "off")
    values = torch.randn(1, 128, 1024)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(values), network(values), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_frames", "of_clip"), [(512, 515), (128, 135)])
def test_ast_that_was_made_for_less_takes_clips_of_that_length(tmp_path, n_frames, of_clip):
    network = parse_architecture("ast-layers1").new(
        ast.ARCHITECTURE.takes, n_frames=n_frames, n_outputs=3
    )
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    made = import_weights(
        tmp_path / "model.safetensors", model="ast-layers1", tags=TAGS, output=tmp_path / "ast"
    )
    assert made.n_frames == of_clip
    loaded = load_checkpoint(tmp_path / "ast").network
    values = torch.randn(1, 128, of_clip)
    with torch.inference_mode():  # the frames after the last whole patch are in none
        torch.testing.assert_close(loaded(values), network.eval()(values[..., :n_frames]))


def test_ast_of_other_bands_or_longer_clips_is_refused(tmp_path):
    make = parse_architecture("ast-layers1").new
    state = make(FbankSpec(sr=16000, n_mels=40), n_frames=512, n_outputs=3).state_dict()
    save_file(state, tmp_path / "bands.safetensors")
    state = make(ast.ARCHITECTURE.takes, n_frames=3000, n_outputs=3).state_dict()
    name = "audio_spectrogram_transformer.embeddings.position_embeddings"
    state[name] = torch.zeros(1, 3590, 768)
    save_file(state, tmp_path / "long.safetensors")
    for file, message in (
        ("bands", "152 positions are not those of 2 tokens and 12 patches along 128 bands"),
        ("long", r"position_embeddings is \(1, 3590, 768\), not \(1, 1214, 768\)"),
    ):
        with pytest.raises(TrainingError, match=message):
            import_weights(tmp_path / f"{file}.safetensors", model="ast-layers1", tags=TAGS)


def test_a_checkpoint_does_not_replace_the_weights_that_it_is_made_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ast.safetensors").write_bytes(b"weights")
    with pytest.raises(TrainingError, match=r"ast\.safetensors would replace the weights; name"):
        import_weights("ast.safetensors", model="ast", tags=TAGS)
    assert (tmp_path / "ast.safetensors").read_bytes() == b"weights"


def test_ast_of_other_layers_or_another_head_is_refused(tmp_path):
    _, state = ast_state()
    save_file(state, tmp_path / "model.safetensors")
    for model, message in (
        ("ast-layers2", r"layer\.1\.\S+ is not there, not \(768, 768\); choose the network"),
        ("ast-layers1-hidden50", r"dense\.1\.weight is not there, not \(50, 768\); choose"),
    ):
        with pytest.raises(TrainingError, match=message):
            import_weights(tmp_path / "model.safetensors", model=model, tags=TAGS)
    with pytest.raises(TrainingError, match="has 3 outputs, and there are 2 tags"):
        import_weights(tmp_path / "model.safetensors", model="ast-layers1", tags=TAGS[:2])


@pytest.mark.parametrize("model", ["mtt", "mtt-attention64"])
def test_weights_of_a_teacher_and_a_student_become_a_checkpoint(model, tmp_path):
    assert {model, *MODULES} <= set(PUBLISHED)
    architecture = parse_architecture(model)
    torch.manual_seed(0)
    network = architecture.new(architecture.takes, n_frames=1254, n_outputs=3).eval()
    state = {f"network.{name}": values for name, values in network.state_dict().items()}
    torch.save(state | {"teacher.cls_token": torch.zeros(2)}, tmp_path / "weights.pth")
    made = import_weights(tmp_path / "weights.pth", model=model, tags=TAGS, output=tmp_path / "m")
    assert (made.spec, made.n_tags) == ("sr22050-mel128-x2-db-fft1024-htk-nonorm", 3)
    loaded = load_checkpoint(tmp_path / "m")
    assert (loaded.settings.model, loaded.settings.recipe) == (model, "won2021")
    values = torch.randn(1, 128, 431)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(values), network(values), rtol=0, atol=1e-5)


def test_what_is_imported_is_evaluated(write_store, tmp_path):
    network, state = state_of("musicnn-smc")
    torch.save(state, tmp_path / "weights.pth")
    import_weights(
        tmp_path / "weights.pth", model="musicnn-smc", tags=TAGS, output=tmp_path / "imported"
    )
    spec = FeatureSpec(sr=16000, n_mels=96, htk=True, norm=None)
    values = np.random.default_rng(0).normal(-40, 20, (6, 96, 1819)).astype(np.float32)
    labels = np.arange(6) % 2
    store = write_store(
        {spec: values},
        tags=dict.fromkeys(TAGS, labels),
        split=["train"] * 2 + ["validation"] * 2 + ["test"] * 2,
    )
    found = evaluate_checkpoint(tmp_path / "imported", store)
    assert (found.model, found.fold) == ("musicnn-smc", None)
    assert [(s.split, s.n_clips) for s in found.scores] == [("test", 2)]
    starts = [i * (1819 - 188) // 16 for i in range(16)]
    stored = store[spec].read([4, 5])
    with torch.inference_mode():
        mean = [
            network(torch.from_numpy(np.stack([clip[:, s : s + 188] for s in starts])))
            .sigmoid()
            .mean(0)
            for clip in stored
        ]
    expected = [float(mean[1][tag] > mean[0][tag]) for tag in range(3)]
    assert list(found.scores[0].scores.roc_auc_per_tag.values()) == expected


class Code:
    def __reduce__(self):
        return os.mkdir, ("ran",)


REFUSED = {
    "code.pth": (lambda path: torch.save(Code(), path), r"than tensors, \w+\.mkdir, which would"),
    "hidden.pth": (
        lambda path: torch.save({"spec_bn.weight": torch.ones(1), "x": Code()}, path),
        r"than tensors, \w+\.mkdir, which would be code to run; give weights alone",
    ),
    "network.pth": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        r"torch\.nn\.modules\.linear\.Linear, which would be code",
    ),
    "pickle.pth": (
        lambda path: path.write_bytes(pickle.dumps(Code())),
        "is not a file of weights, or is damaged",
    ),
    "text.pth": (lambda path: path.write_text("hello\n"), "is not a file of weights"),
    "empty.pth": (lambda path: path.write_text(""), "is not a file of weights"),
    "cut.safetensors": (
        lambda path: path.write_bytes(b"\x09\0\0\0\0\0\0\0{" + bytes(9)),
        "is not a file of weights, or is damaged",
    ),
    "list.pth": (lambda path: torch.save([torch.ones(1)], path), "it is of type list; save"),
    "epoch.pth": (
        lambda path: torch.save({"epoch": 3, "state_dict": {}}, path),
        "is not a state dict, a tensor by each name: 'epoch' is of type int",
    ),
    "tensor.pth": (lambda path: torch.save(torch.ones(3), path), "it is of type Tensor"),
    "unknown.pth": (
        lambda path: torch.save(state_of("fcn")[1] | {"extra.weight": torch.ones(1)}, path),
        "published weights of fcn: extra.weight is unknown",
    ),
    "missing.pth": (
        lambda path: torch.save(dict(list(state_of("fcn")[1].items())[1:]), path),
        r"published weights of fcn: spec_bn\.weight is missing",
    ),
    "shape.pth": (
        lambda path: torch.save(state_of("fcn")[1] | {"spec_bn.bias": torch.ones(2)}, path),
        r"spec_bn\.bias is \(2,\), not \(1,\)",
    ),
    "crnn.pth": (lambda path: torch.save(state_of("crnn")[1], path), "is unknown; choose the net"),
    "outputs.pth": (
        lambda path: torch.save(state_of("fcn", n_outputs=1)[1], path),
        "has 1 output, and there are 3 tags",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_the_networks_weights_is_refused_in_a_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, message = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(TrainingError, match=message) as caught:
        import_weights(tmp_path / name, model="fcn", tags=TAGS)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing ran, nothing is written


def test_what_is_no_file_no_network_or_no_place_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="there is no file of weights at none"):
        import_weights("none.pth", model="fcn", tags=TAGS)
    with pytest.raises(TrainingError, match="no published weights of vgg are known; of fcn, crnn,"):
        import_weights("none.pth", model="vgg", tags=TAGS)
    path = tmp_path / "weights.pth"
    torch.save(state_of("musicnn-smc")[1], path)
    with pytest.raises(OutputError, match=r"the checkpoint .* cannot be written"):
        import_weights(path, model="musicnn-smc", tags=TAGS, output=tmp_path / "no" / "place")
    made = import_weights(path, model="musicnn-smc", tags=TAGS, output=tmp_path / "made")
    with pytest.raises(TrainingError, match="is a checkpoint of melgrid's already"):
        import_weights(made.checkpoint, model="musicnn-smc", tags=TAGS)


def test_tags_are_read_a_line_each(tmp_path):
    path = tmp_path / "tags.txt"
    path.write_text("no vocals\r\n\nChill \nélectro\n", encoding="utf-8")
    assert read_tags(path) == ("no vocals", "Chill", "électro")
    path.write_text("a\nb\na\n")
    with pytest.raises(TrainingError, match=r"the tag 'a' is in .*tags\.txt twice"):
        read_tags(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(TrainingError, match=r"tags\.txt cannot be read: it is not UTF-8"):
        read_tags(path)
    with pytest.raises(TrainingError, match=r"none\.txt cannot be read: No such file"):
        read_tags(tmp_path / "none.txt")
