import dataclasses
import json

import pytest

from featurestore import FeatureSpec
from featurestore.errors import TrainingError
from models.networks.adapters import Adapter
from models.networks.norm import BandNorm
from models.training.checkpoint import new_network
from models.training.recipes import RECIPES
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, recipe="modern", seed=1, device="cpu", amp="off")


@pytest.mark.parametrize(
    ("model", "recipe", "normalises"),
    [("vgg", "ferraro2020", False), ("vgg", "modern", True), ("hcnn", "modern", False)],
)
def test_the_recipe_normalises_unless_the_network_needs_the_values_unit(model, recipe, normalises):
    settings = TrainSettings(model=model, recipe=recipe, width=0.03)
    assert settings.normalises == normalises
    spec = settings.architecture.takes or FeatureSpec(sr=16000, n_mels=8)
    network = new_network(settings, spec, n_frames=20, n_outputs=2)
    assert any(isinstance(layer, BandNorm) for layer in network.modules()) == normalises


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "resnet"}, "model is 'resnet'; it must be one of vgg"),
        ({"task": "mood"}, "task is 'mood'; it must be one of tagging"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number from 1"),
        ({"batch_size": 1.5}, "batch_size is 1.5; it must be a whole number"),
        ({"batch_size": 1}, "batch_size is 1; it must be a whole number from 2"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808; it must be at most 9223372036854775807"),
        ({"epochs": True}, "epochs is True"),
        ({"width": 0}, "width is 0.0; it must be above 0 and at most 16"),
        ({"width": "wide"}, "width is 'wide'; it must be a number"),
        ({"learning_rate": 2}, "learning_rate is 2.0; it must be above 0 and at most 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be 0 or more"),
        ({"weight_decay": float("inf")}, "weight_decay is inf"),
        ({"warm_up": 1.5}, "warm_up is 1.5; it must be a share of all steps, from 0 to 1"),
        ({"warm_up": "long"}, "warm_up is 'long'; it must be a number"),
        ({"class_weights": "rare"}, "class_weights is 'rare'; it must be one of none, balanced"),
        ({"recipe": "old"}, "recipe is 'old'; it must be one of ferraro2020, modern"),
        ({"augment": "noise"}, "augment is 'noise'; it must be one of none, specaugment, mixup"),
        ({"adapter": "dora"}, "adapter is 'dora'; it must be an Adapter, or None"),
        ({"amp": "fp8"}, "amp is 'fp8'; it must be one of auto, bf16, off"),
        ({"device": "tpu9"}, "device is 'tpu9', which torch does not find here; use auto or cpu"),
        ({"device": "hpu"}, "device is 'hpu', which torch does not find here"),  # another package's
        (
            {"device": "meta"},
            "device is 'meta', which torch does not find here",
        ),  # computes nothing
        ({"device": 3.5}, "device is 3.5, which torch does not find here"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(TrainingError, match=message):
        TrainSettings(**setting)


def test_adapters_read_back_and_settings_of_before_have_none():
    settings = dataclasses.replace(
        SETTINGS, model="ast", recipe="ast-dora", adapter=Adapter(kind="dora", layers=(10, 11))
    )
    fields = json.loads(json.dumps(settings.json()))
    assert TrainSettings.from_json(fields) == settings
    del fields["adapter"]
    assert TrainSettings.from_json(fields).adapter is None
    with pytest.raises(TrainingError, match="unknown settings of an adapter: dropout"):
        TrainSettings.from_json(fields | {"adapter": {"kind": "dora", "dropout": 0.1}})


def test_settings_read_back_and_unknown_keys_are_refused_by_name():
    assert TrainSettings.from_json(dataclasses.asdict(SETTINGS)) == SETTINGS
    with pytest.raises(TrainingError, match="unknown training settings: epoch, widht"):
        TrainSettings.from_json({"widht": 1, "epoch": 2})


def test_amp_is_as_asked():
    assert TrainSettings(device="cpu", amp="bf16").autocast()
    assert not TrainSettings(device="cpu", amp="off").autocast()


def test_a_recipe_gives_what_is_left_out_and_yields_to_what_is_given():
    assert TrainSettings() == TrainSettings(epochs=13, batch_size=32, learning_rate=1e-3)
    modern = TrainSettings(recipe="modern", learning_rate=0.5)
    assert modern.epochs == RECIPES["modern"].epochs
    assert modern.batch_size == RECIPES["modern"].batch_size
    assert modern.learning_rate == 0.5
    assert modern.schedule == dataclasses.replace(RECIPES["modern"], learning_rate=0.5)
    other = TrainSettings(weight_decay=0.3, warm_up=0.25).schedule
    assert (other.weight_decay, other.warm_up) == (0.3, 0.25)
    assert TrainSettings().schedule == RECIPES["ferraro2020"]
