import dataclasses
import json
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from featurestore import FeatureSpec
from featurestore.errors import SettingsError, SpecError
from featurestore.format.layout import Layout
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.kinds import KINDS, parse_spec
from featurestore.specs.mel import require_mel
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.spec import Coordinate, Derivation
from featurestore.specs.stft import StftSpec
from featurestore.specs.views import best_source, derivable, derivation, minimal_basis


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loudness:
    """A kind with what `Spec` asks for, and no more: one band, the mean power of each block."""

    kind: ClassVar[str] = "loudness"
    axes: ClassVar[tuple[str, str]] = ("channel", "time")
    encodings: ClassVar[tuple[str, ...]] = ("float32", "float16")
    unit: ClassVar[str] = "1"
    long_name: ClassVar[str] = "mean power"
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    n_bands: ClassVar[int] = 1

    sr: int
    block: int
    condition: Condition = CLEAN

    def under(self, condition):
        return dataclasses.replace(self, condition=condition)

    @property
    def name(self):
        return f"sr{self.sr}-loudness{self.block}"

    @classmethod
    def parse(cls, name):
        sr, block = name.removeprefix("sr").split("-loudness")
        return cls(sr=int(sr), block=int(block))

    @property
    def frame_step(self):
        return Fraction(self.block, self.sr)

    def n_frames(self, n_samples):
        return n_samples // self.block

    def chunk_frames(self, n_frames):
        return n_frames

    def n_valid_frames(self, n_valid, sr):
        return n_valid * self.sr // (sr * self.block)

    def shape(self, n_samples):
        return 1, self.n_frames(n_samples)

    def coordinates(self, n_frames):
        return (
            Coordinate(name="channel", unit="1", long_name="channel", values=np.zeros(1)),
            Coordinate(
                name="time",
                unit="s",
                long_name="begin of the block",
                values=np.arange(n_frames) * self.block / self.sr,
            ),
        )

    def fields(self):
        return {"sr": self.sr, "block": self.block}

    def derivation(self, stored):
        return Derivation() if stored == self else None


LOUDNESS = Loudness(sr=16000, block=400)
MEL = FeatureSpec(sr=16000, n_mels=8)


def layout_of(spec, encoding="float32"):
    return Layout(
        spec=spec,
        encoding=Encoding(name=encoding),
        codec=Codec(),
        clips_per_shard=4,
        n_frames=spec.n_frames(16000),
        settings={},
    )


@pytest.fixture
def loudness(monkeypatch):
    """Loudness as one more kind: the line that a kind of melgrid's own has in `KINDS`."""
    monkeypatch.setitem(KINDS, Loudness.kind, Loudness)
    return LOUDNESS


def test_a_name_is_read_by_its_own_kind(loudness):
    assert parse_spec(loudness.name) == loudness
    assert parse_spec(MEL.name) == MEL


def test_a_kind_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(SpecError, match=r"no kind 'loudness'; kinds are mel, stft, fbank, wave$"):
        parse_spec(LOUDNESS.name)
    with pytest.raises(SpecError, match="'nonsense' is not a spec's name"):
        parse_spec("nonsense")


def test_another_kind_goes_through_the_metadata_of_a_store(loudness):
    layout = layout_of(loudness)
    files = layout.files(6)
    assert set(files) == set(layout.metadata_keys)
    group = json.loads(files[f"{loudness.name}/zarr.json"])["attributes"]["melgrid"]
    assert (group["sr"], group["block"], group["n_frames"]) == (16000, 400, 40)
    kept = layout.stored_json()
    assert Layout.from_stored_json(loudness.name, kept, layout.clips_per_shard) == layout
    values = json.loads(files[f"{loudness.name}/values/zarr.json"])
    assert values["shape"] == [6, 1, 40]
    assert values["dimension_names"] == ["clip", "channel", "time"]
    assert values["attributes"]["long_name"] == "mean power"


def test_all_promised_files_are_made_for_a_clip_of_a_single_frame():
    layout = dataclasses.replace(layout_of(MEL), n_frames=1)
    assert set(layout.files(6)) == set(layout.metadata_keys)


def test_another_kind_is_written_and_read_like_a_mel_spectrogram(loudness, make_store):
    store = make_store(specs=[loudness, MEL], encoding=Encoding(name="float32"))
    assert set(store.specs) == {loudness, MEL}
    array = store[loudness.name]
    assert array.shape[1:] == (1, array.layout.n_frames)
    assert array.read([0, 3], length=2).shape == (2, 1, 2)
    assert array.statistics([0, 3]).mean.shape == (1,)
    assert store.verify().is_healthy


@pytest.mark.parametrize("encoding", ["float16", "float32", "uint8"])
@pytest.mark.parametrize(
    ("stored", "view"),
    [
        (FbankSpec(sr=8000, n_mels=8, hop_length=80), FbankSpec(sr=8000, n_mels=8, hop_length=240)),
        (StftSpec(sr=8000, n_fft=32), StftSpec(sr=8000, n_fft=32, hop=3)),
    ],
    ids=["fbank", "stft"],
)
def test_kinds_beside_mel_are_stored_read_back_and_viewed(make_store, stored, view, encoding):
    store = make_store(specs=[stored], encoding=Encoding(name=encoding))
    assert store.specs == [stored]
    assert store.verify().is_healthy
    every, served = store[stored.name], store[view.name]
    n_samples = 4000  # of the store's clips
    assert every.shape == (20, *stored.shape(n_samples))
    assert served.shape == (20, *view.shape(n_samples))
    np.testing.assert_array_equal(served.read([0, 3]), every.read([0, 3])[:, :, ::3])
    for coordinate, length in zip(
        view.coordinates(view.n_frames(n_samples)), view.shape(n_samples), strict=True
    ):
        assert len(coordinate.values) == length


def test_an_encoding_that_a_kind_does_not_have_is_refused():
    with pytest.raises(SettingsError, match="'uint8'; sr16000-loudness400 may be stored as float3"):
        layout_of(LOUDNESS, "uint8")


def test_kinds_are_not_derived_from_one_another():
    assert not derivable(LOUDNESS, MEL)
    assert not derivable(MEL, LOUDNESS)
    assert best_source(LOUDNESS, [MEL]) is None
    assert minimal_basis([LOUDNESS, MEL]) == (LOUDNESS, MEL)
    with pytest.raises(ValueError, match=f"{LOUDNESS.name} does not follow from {MEL.name}"):
        derivation(MEL, LOUDNESS)


def test_what_is_for_mel_alone_says_so():
    assert require_mel(MEL, "networks take") is MEL
    with pytest.raises(SpecError, match="networks take only mel-spectrograms, and sr16000-loudn"):
        require_mel(LOUDNESS, "networks take")
