import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.stft import StftSpec
from models.data import training_data
from models.networks import ARCHITECTURES, parse_architecture
from models.networks.adapters import Adapter
from models.networks.gong2021.ast import adapt_positions
from models.training.checkpoint import load_checkpoint, new_network
from models.training.loop import _Training, train, train_to_checkpoint
from models.training.settings import TrainSettings
from models.transfer.initial import Initial
from tests.models.transfer.conftest import SETTINGS, SPEC

POSITIONS = "audio_spectrogram_transformer.embeddings.position_embeddings"
HEAD = "classifier.dense."


@pytest.fixture
def base(make_base, data):
    return make_base(data)


def given(initial, settings, spec, *, n_frames, tags):
    """A new network with the weights of a checkpoint, and the state that it had before."""
    network = new_network(settings, spec, n_frames=n_frames, n_outputs=len(tags))
    before = {name: values.clone() for name, values in network.state_dict().items()}
    initial.give(network, settings.architecture, spec, tags)
    return network.state_dict(), before


def test_all_weights_are_taken_over_where_tags_are_the_same(base, data):
    initial = Initial.open(base)
    weights, _ = given(initial, SETTINGS, SPEC, n_frames=64, tags=data.tags)
    for name, values in initial.checkpoint.network.state_dict().items():
        assert torch.equal(weights[name], values), name


@pytest.mark.parametrize("tags", [("low",), ("late", "low"), ("low", "loud", "late")])
def test_where_tags_differ_the_head_is_new_and_nothing_else(base, tags):
    initial = Initial.open(base)
    weights, before = given(initial, SETTINGS, SPEC, n_frames=64, tags=tags)
    theirs = initial.checkpoint.network.state_dict()
    for name, values in weights.items():
        source = before if name.startswith(HEAD) else theirs
        assert torch.equal(values, source[name]), name


def test_a_head_of_other_layers_is_new_though_the_tags_are_the_same(base, data):
    settings = dataclasses.replace(SETTINGS, model="ast-layers2-hidden50")
    weights, before = given(Initial.open(base), settings, SPEC, n_frames=64, tags=data.tags)
    new = {name for name in weights if name.startswith(HEAD)}
    assert new == {f"{HEAD}{n}.{kind}" for n in (1, 4) for kind in ("weight", "bias")}
    assert all(torch.equal(weights[name], before[name]) for name in new)


def test_positions_are_adapted_to_clips_of_another_length_and_other_bands(base, data):
    initial = Initial.open(base)
    spec = FbankSpec(sr=16000, n_mels=80)
    weights, _ = given(initial, SETTINGS, spec, n_frames=120, tags=data.tags)
    theirs = initial.checkpoint.network.state_dict()
    assert torch.equal(weights[POSITIONS], adapt_positions(theirs[POSITIONS], (3, 5), (7, 11)))
    assert initial.notes(SETTINGS, spec, data.tags)[1] == (
        "warning: base.safetensors was trained on sr16000-fbank40-hop160, not on "
        "sr16000-fbank80-hop160"
    )


def test_notes_say_what_is_new(base, data):
    initial = Initial.open(base)
    assert initial.notes(SETTINGS, SPEC, data.tags) == [
        "starts from base.safetensors; its head too"
    ]
    assert initial.notes(SETTINGS, SPEC, ("low",)) == [
        "starts from base.safetensors; its head is new, for 1 tag"
    ]


@pytest.mark.parametrize("recipe", ["ferraro2020", "modern"])
def test_other_networks_start_from_weights_that_fit_and_from_their_normalisation(
    toy_store, make_base, recipe
):
    settings = TrainSettings(
        width=0.03, epochs=1, batch_size=6, device="cpu", amp="off", recipe=recipe
    )
    data = training_data(toy_store, toy_store.specs[0])
    initial = Initial.open(make_base(data, settings))
    network = new_network(settings, data.spec, n_frames=24, n_outputs=2)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    initial.give(network, settings.architecture, data.spec, ("a", "b"))
    theirs = initial.checkpoint.network.state_dict()
    prefix = "1." if recipe == "modern" else ""
    assert f"{prefix}dense.weight" in theirs
    for name, values in network.state_dict().items():
        source = before if name.startswith(f"{prefix}dense.") else theirs
        assert torch.equal(values, source[name]), name
    if recipe == "modern":
        assert not torch.equal(before["0.mean"], theirs["0.mean"])


def test_every_networks_head_is_where_its_architecture_says():
    for architecture in ARCHITECTURES.values():
        spec = architecture.takes or FeatureSpec(sr=16000, n_mels=96)
        n_frames = spec.n_frames(round(29.1 * spec.sr))
        with torch.device("meta"):
            few, many = (
                architecture.new(spec, n_frames=n_frames, n_outputs=n).state_dict() for n in (2, 3)
            )
        differing = {name for name in few if few[name].shape != many[name].shape}
        assert differing == {f"{architecture.head}.weight", f"{architecture.head}.bias"}


@pytest.mark.parametrize(
    ("change", "spec", "message"),
    [
        ({"model": "vgg"}, None, "is of ast-layers2, and vgg is to be trained; take the same"),
        (
            {"model": "ast-layers3"},
            None,
            r"does not fit: its .*layer\.2\.\S+ is not there, and the",
        ),
        ({"model": "ast-layers1"}, None, r"does not fit: its .*layer\.1.* network's not there; ta"),
        ({"width": 0.17}, None, r"cls_token is \(1, 1, 64\), and .* 128\); take its --width 0\.08"),
    ],
)
def test_what_does_not_fit_is_refused(base, data, change, spec, message):
    settings = dataclasses.replace(SETTINGS, **change)
    spec = settings.architecture.takes or FeatureSpec(sr=16000, n_mels=40)
    with pytest.raises(TrainingError, match=message):
        given(Initial.open(base), settings, spec, n_frames=64, tags=data.tags)


def test_another_kind_of_spec_or_recipe_is_refused(toy_store, make_base):
    settings = TrainSettings(width=0.03, epochs=1, batch_size=6, device="cpu", amp="off")
    data = training_data(toy_store, toy_store.specs[0])
    initial = Initial.open(make_base(data, settings))
    network = new_network(settings, data.spec, n_frames=24, n_outputs=3)
    with pytest.raises(
        TrainingError, match=r"kind 'mel', and .* is of the kind 'stft'; take a spec"
    ):
        initial.give(network, settings.architecture, StftSpec(sr=16000), data.tags)
    modern = dataclasses.replace(settings, recipe="modern")
    network = new_network(modern, data.spec, n_frames=24, n_outputs=3)
    with pytest.raises(TrainingError, match=r"was trained by ferraro2020; .* recipes that agree"):
        initial.give(network, modern.architecture, data.spec, data.tags)


def test_a_network_of_ones_own_without_a_head_can_only_go_on(toy_store, make_base, my_net):
    text = my_net.read_text()
    my_net.write_text(text.replace("self.dense", "self.last"))
    data = training_data(toy_store, toy_store.specs[0])
    settings = TrainSettings(
        model=f"{my_net}:MyNet", epochs=1, batch_size=6, device="cpu", amp="off"
    )
    path = make_base(data, settings)
    initial = Initial.open(path, model=settings.architecture.reference)
    given(initial, settings, data.spec, n_frames=24, tags=data.tags)
    with pytest.raises(TrainingError, match="no module dense that could be new; an Architecture"):
        given(initial, settings, data.spec, n_frames=24, tags=("a", "b", "c"))


# Trainings that start from one.


def test_a_training_begins_with_the_weights_and_says_where_they_are_from(base, data, tmp_path):
    initial = Initial.open(base)
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    assert (initial.name, initial.sha256) == ("base.safetensors", digest)
    begun = _Training(data, SETTINGS, initial=initial)
    theirs = initial.checkpoint.network.state_dict()
    for name, values in begun._network.state_dict().items():
        assert torch.equal(values, theirs[name])

    path = tmp_path / "second.safetensors"
    trained = train_to_checkpoint(path, data, SETTINGS, initial=initial, progress=False)
    assert load_checkpoint(path).source == f"base.safetensors, sha256 {digest}"
    fresh = train(data, SETTINGS, progress=False)
    assert trained.training.losses[0] < fresh.training.losses[0]


def test_a_checkpoint_does_not_replace_what_it_starts_from(base, data):
    before = base.read_bytes()
    with pytest.raises(TrainingError, match="would replace what it starts from; name another"):
        train_to_checkpoint(base, data, SETTINGS, initial=Initial.open(base), progress=False)
    assert base.read_bytes() == before


def test_a_state_of_another_start_is_not_gone_on_from(base, data, tmp_path):
    state = tmp_path / "state"
    _ended_after_one_epoch(data, SETTINGS, Initial.open(base), state)
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    with pytest.raises(TrainingError, match=rf"differs \(initial {digest}, now None\)"):
        train(data, SETTINGS, state=state, progress=False)


ADAPTED = dataclasses.replace(SETTINGS, adapter=Adapter(kind="dora", layers=(1, 1)), epochs=3)


@pytest.mark.parametrize("kind", ["lora", "dora", "dora-column"])
@pytest.mark.parametrize("recipe", ["ferraro2020", "modern"])
def test_an_adapter_changes_what_it_is_attached_to_and_the_head_alone(base, data, kind, recipe):
    settings = dataclasses.replace(
        ADAPTED, adapter=Adapter(kind=kind, layers=(1, 1)), recipe=recipe
    )
    initial = Initial.open(base)
    training = _Training(data, settings, initial=initial)
    before = {n: v.clone() for n, v in training._network.state_dict().items()}
    training.run_epoch(lambda: None)
    name = "audio_spectrogram_transformer.encoder.layer.1.output.dense"
    learns = {f"{HEAD}weight", f"{HEAD}bias"}
    learns |= {n for n in before if n.startswith(f"{name}.adapter.")}
    after = training._network.state_dict()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed == learns
    assert len(learns) == 2 + (2 if kind == "lora" else 3)

    trained = train(data, settings, initial=initial, progress=False)
    merged, theirs = (c.network.state_dict() for c in (trained.checkpoint, initial.checkpoint))
    differing = {n for n in theirs if not torch.equal(merged[n], theirs[n])}
    assert differing == {f"{name}.weight", f"{HEAD}weight", f"{HEAD}bias"}
    assert trained.learnt.keys() == learns


def test_batch_norms_of_what_stays_keep_their_statistics(toy_store, make_base):
    settings = TrainSettings(
        model="vit", width=0.03, epochs=1, batch_size=6, device="cpu", amp="off"
    )
    data = training_data(toy_store, toy_store.specs[1])
    initial = Initial.open(make_base(data, settings))
    adapter = Adapter(kind="lora", layers=(5, 5))
    trained = train(
        data, dataclasses.replace(settings, adapter=adapter), initial=initial, progress=False
    )
    after, theirs = (c.network.state_dict() for c in (trained.checkpoint, initial.checkpoint))
    changed = {name for name in theirs if not torch.equal(after[name], theirs[name])}
    layer = "transformer.layers.5"
    assert changed == {
        *(f"{layer}.linear{n}.weight" for n in (1, 2)),
        *("dense.weight", "dense.bias"),
    }


@pytest.mark.parametrize("recipe", ["ferraro2020", "modern", "ast-dora"])
@pytest.mark.parametrize("n_done", [1, 2])
def test_a_training_by_an_adapter_goes_on_to_the_very_same_weights(
    base, data, tmp_path, recipe, n_done
):
    settings = dataclasses.replace(ADAPTED, recipe=recipe)
    initial, state = Initial.open(base), tmp_path / "state"
    whole = train(data, settings, initial=initial, progress=False)
    for _ in range(n_done):  # each time ended after one more
        _ended_after_one_epoch(data, settings, initial, state)
    again = train(data, settings, initial=initial, state=state, progress=False)
    assert again.training.losses == whole.training.losses
    assert np.array_equal(again.predictions, whole.predictions)
    for name, values in whole.checkpoint.network.state_dict().items():
        assert torch.equal(values, again.checkpoint.network.state_dict()[name])


def test_a_state_holds_what_an_adapter_changes_and_no_more(base, data, tmp_path):
    initial, state = Initial.open(base), tmp_path / "state"
    _ended_after_one_epoch(data, ADAPTED, initial, state)
    assert state.stat().st_size < 0.2 * base.stat().st_size


def test_the_average_of_weights_that_stay_is_these_to_the_last_bit(base, data):
    initial = Initial.open(base)
    settings = dataclasses.replace(ADAPTED, recipe="modern", epochs=20)  # it reaches back 3 steps
    training = _Training(data, settings, initial=initial)
    for _ in range(6):
        training.run_epoch(lambda: None)
    average, network = training._evaluated, training._network
    assert average is not network
    now = dict(network.named_parameters())
    for name, values in average.named_parameters():
        assert torch.equal(values, now[name]) == (not values.requires_grad), name


def _ended_after_one_epoch(data, settings, initial, state):
    import models.training.loop

    save = models.training.loop.save_state

    def interrupted(path, identity, saved):
        save(path, identity, saved)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models.training.loop, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, settings, initial=initial, state=state, progress=False)


def test_a_state_of_another_adapter_is_not_gone_on_from(base, data, tmp_path):
    initial, state = Initial.open(base), tmp_path / "state"
    _ended_after_one_epoch(data, ADAPTED, initial, state)
    other = dataclasses.replace(ADAPTED, adapter=Adapter(kind="dora", layers=(1, 1), rank=3))
    with pytest.raises(TrainingError, match=r"differs \(adapter .*'rank': 2.*, now .*'rank': 3"):
        train(data, other, initial=initial, state=state, progress=False)


def test_what_an_adapter_learnt_is_in_a_plain_checkpoint(base, data, tmp_path):
    path = tmp_path / "second.safetensors"
    trained = train_to_checkpoint(path, data, ADAPTED, initial=Initial.open(base), progress=False)
    loaded = load_checkpoint(path)
    assert loaded.settings.adapter == ADAPTED.adapter
    plain = parse_architecture("ast-layers2").new(SPEC, n_frames=64, n_outputs=2, width=0.08)
    assert loaded.network.state_dict().keys() == plain.state_dict().keys()
    for name, values in trained.checkpoint.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], values)


def test_an_adapter_learns_what_is_easy(base, data):
    settings = dataclasses.replace(
        ADAPTED, adapter=Adapter(kind="dora", modules="*"), epochs=12, learning_rate=5e-3
    )
    trained = train(data, settings, initial=Initial.open(base), progress=False)
    assert trained.training.losses[-1] < 0.7 * trained.training.losses[0]
    assert trained.training.test.roc_auc_per_tag["low"] > 0.9
