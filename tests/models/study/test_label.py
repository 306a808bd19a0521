from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureSpec
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import Condition
from models.study.label import Label, hop_name, label_points, words_of

SETTINGS = {
    "encoding": "float16", "model": "vgg", "width": 0.125, "recipe": "none", "augment": "none",
    "epochs": 3, "batch_size": 8, "learning_rate": 0.001, "amp": "off", "data": "0123",
}  # fmt: skip


def test_a_spec_is_said_as_its_name_has_it():
    spec = FeatureSpec(sr=12000, n_mels=48, hop=Fraction(160, 256), log="log", n_fft=1024,
                       fmin=27.5, window="hann-symmetric")  # fmt: skip
    words = words_of(spec)
    assert words.resolution == ("mel48", "hop160")
    assert words.rest == ("12 kHz", "log", "fft1024", "fmin27.5", "symmetric")
    assert words.family == "48 bands"


def test_a_condition_that_was_trained_on_is_said():
    spec = FeatureSpec(sr=16000, n_mels=48)
    noisy = [spec.under(Condition.parse(name)) for name in ("noise0.1", "noise0.4")]
    labels, _ = label_points([(each, SETTINGS) for each in (spec, *noisy)])
    assert [str(label) for label in labels] == [
        "mel48 x1",
        "mel48 x1 noise0.1",
        "mel48 x1 noise0.4",
    ]


@given(st.integers(1, 4096))
def test_a_hop_is_named_as_in_a_specs_name(hop_length):
    spec = FeatureSpec(sr=16000, n_mels=8, hop=Fraction(hop_length, 256))
    assert spec.name.split("-")[2] == hop_name(spec)


def test_a_spec_of_another_kind_is_said_by_its_name_and_leaves_the_others_labels_as_they_are():
    mels = [(FeatureSpec(sr=16000, n_mels=n_mels), SETTINGS) for n_mels in (96, 48)]
    wave = (parse_spec("sr16000-wave"), SETTINGS | {"encoding": "int16", "model": "sample"})
    labels, common = label_points([wave, *mels])
    assert [str(label) for label in labels] == [
        "sr16000-wave sample", "mel96 x1 vgg", "mel48 x1 vgg"
    ]  # fmt: skip
    assert common[-2:] == ("wave: int16", "mel: 16 kHz, db, float16")
    assert not {"db", "float16", "vgg"} & set(common)


def test_what_differs_within_a_kind_is_said_of_that_kind_alone():
    specs = [FeatureSpec(sr=16000, n_mels=48, log=log) for log in ("db", "log")]
    waves = [(parse_spec("sr16000-wave"), SETTINGS | {"encoding": e}) for e in ("int16", "float16")]
    labels, common = label_points([*((spec, SETTINGS) for spec in specs), *waves])
    assert [str(label) for label in labels] == [
        "mel48 x1 db", "mel48 x1 log", "sr16000-wave int16", "sr16000-wave float16"
    ]  # fmt: skip
    assert common[-1] == "mel: 16 kHz, float16"


def test_what_all_share_is_in_no_label_and_the_collection_goes_without_saying():
    specs = [FeatureSpec(sr=sr, n_mels=48) for sr in (12000, 16000)]
    points = [(spec, SETTINGS | {"model": model}) for spec in specs for model in ("vgg", "big")]
    labels, common = label_points(points)
    assert str(labels[0]) == "mel48 x1 12 kHz vgg"
    assert labels[0].settings == ("vgg",)
    assert not set(common) & {"vgg", "12 kHz", "data 0123"}
    assert "db" in common


def test_beside_a_point_that_differs_in_resolution_alone_the_resolution_is_said():
    words = words_of(FeatureSpec(sr=16000, n_mels=48))
    one, other = Label(spec=words, settings=("vgg",)), Label(spec=words, settings=("big",))
    assert one.beside(one) == "mel48 x1"
    assert one.beside(other) == "mel48 x1 vgg"
