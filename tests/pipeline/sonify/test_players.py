import dataclasses

import numpy as np
import pytest

from featurestore.errors import SpecError
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.fbank import FLOOR, FbankSpec
from featurestore.specs.kinds import KINDS
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec
from pipeline.audio.clip import Cropper
from pipeline.features.plan import arrange
from pipeline.sonify.players import PLAYERS, player_of

SR = 16000


def analysed(samples, spec):
    """Values as they are read from a store."""
    clip = Cropper(samples, SR, Excerpt(duration=len(samples) / SR)).clip()
    encoding = Encoding(name=spec.encodings[0])
    [(_, stored, _)] = arrange([spec]).compute(clip, "native", {spec: encoding})
    values = np.empty(stored.shape, np.float32)
    encoding.decode(stored, values, spec.value_range)
    return values


def test_every_kind_can_be_heard():
    assert PLAYERS.keys() == KINDS.keys()


# Root mean square over cells within 50 dB of the loudest [dB]; 1.4 to 2.2 over real clips.
@pytest.mark.parametrize(
    ("spec", "method", "most"),
    [
        (FeatureSpec(sr=SR, n_mels=96), "griffin-lim", 2.5),
        (FeatureSpec(sr=SR, n_mels=64, htk=True, norm=None, win_length=400), "griffin-lim", 2.5),
        (StftSpec(sr=SR), "griffin-lim", 2.5),
        (StftSpec(sr=SR, n_fft=1024, window="hann-symmetric"), "griffin-lim", 2.5),
        (StftSpec(sr=SR), "noise", 8),
        (FbankSpec(sr=SR), "griffin-lim", 2.5),
        (FbankSpec(sr=SR, n_mels=40, fmin=0, win_length=512), "griffin-lim", 2.5),
        (FbankSpec(sr=SR), "noise", 6.5),
    ],
    ids=str,
)
def test_a_sound_has_the_values_it_was_made_from(piece, spec, method, most):
    samples = piece[: 3 * SR] * np.float32(0.3)
    values = analysed(samples, spec)
    sound = player_of(spec).play(values, spec, len(samples), method=method)
    again = analysed(sound, spec)
    decibels = 10 / np.log(10) if spec.kind == "fbank" else 1
    wanted, got = values * decibels, again * decibels
    loud = wanted > wanted.max() - 50
    assert loud.mean() > 0.1
    assert np.sqrt(np.mean((got - wanted)[loud] ** 2)) < most
    assert np.mean(sound**2) == pytest.approx(np.mean(samples**2), rel=0.3)  # as loud as it was


def test_frames_of_kaldi_sound_at_their_time():
    spec = FbankSpec(sr=SR, n_mels=40, hop_length=1600)
    values = np.full(spec.shape(SR), np.log(FLOOR), np.float32)
    values[:, 4] = 0
    sound = player_of(spec).play(values, spec, SR, method="noise").astype(np.float64)
    centre = np.average(np.arange(SR), weights=sound**2)
    assert centre == pytest.approx(4 * 1600 + 200, abs=150)


def test_bands_at_the_floor_are_silent_however_they_are_stored():
    spec = FbankSpec(sr=SR)
    for stored in (np.float32, np.float16):
        values = np.full(spec.shape(SR), np.log(FLOOR)).astype(stored).astype(np.float32)
        assert not player_of(spec).play(values, spec, SR, method="noise").any()


def test_a_waveform_is_played_as_it_is(piece):
    spec = WaveformSpec(sr=SR)
    values = analysed(piece[:SR], spec)
    player = player_of(spec)
    assert not player.makes_phases
    np.testing.assert_array_equal(player.play(values, spec, 9000), values[0, :9000])


def test_a_kind_without_sound_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Embedding:
        kind = "embedding"
        name = "sr16000-embedding64"

    with pytest.raises(SpecError, match=r"kind 'embedding'; kinds with sound are mel, stft, fbank"):
        player_of(Embedding())
