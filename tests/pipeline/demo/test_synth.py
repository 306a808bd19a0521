import numpy as np
import pytest

from pipeline.demo import synth

SR = 16000


def spectrum(audio):
    """Frequencies [Hz], about 0.1 Hz apart, and magnitudes."""
    n = 160_000
    return np.fft.rfftfreq(n, 1 / SR), np.abs(np.fft.rfft(audio * np.hanning(len(audio)), n))


def strongest(audio, low, high):
    """The frequency of the strongest partial between two frequencies [Hz]."""
    hz, magnitude = spectrum(audio)
    inside = (hz > low) & (hz < high)
    return hz[inside][magnitude[inside].argmax()]


def centroid(audio):
    hz, magnitude = spectrum(audio)
    return np.average(hz, weights=magnitude**2)


def notes(rng):
    hz = 330.0
    return {
        "bass": synth.bass(55.0, 0.5, SR),
        "bell": synth.bell(hz, 1.0, SR),
        "kick": synth.kick(SR),
        "oscillator": synth.oscillator(np.full(SR, hz), (1, 0.5), SR),
        "pluck": synth.pluck(hz, 1.0, SR, rng),
        "shake": synth.shake(SR, 4.0, 0.8, SR, rng),
        "sing": synth.sing(hz, 1.0, "a", SR, rng),
        "snare": synth.snare(SR, rng),
        "unison": synth.unison(np.full(SR, hz), (1, 0.5), (-5, 5), SR, rng),
    }


def test_every_instrument_is_finite_and_within_full_scale_and_not_silent():
    for name, note in notes(np.random.default_rng(1)).items():
        assert note.dtype == np.float32, name
        assert note.ndim == 1, name
        assert np.isfinite(note).all(), name
        assert 0.5 < np.abs(note).max() <= 1, name


def test_the_same_generator_plays_the_same_notes():
    first, second = notes(np.random.default_rng(1)), notes(np.random.default_rng(1))
    for name, note in first.items():
        np.testing.assert_array_equal(note, second[name], err_msg=name)


def test_midi_note_69_is_440_hz_and_12_notes_are_an_octave():
    np.testing.assert_allclose(synth.midi_to_hz([69, 81, 57]), [440, 880, 220])


def test_an_oscillator_leaves_out_the_harmonics_that_would_fold_back():
    hz, magnitude = spectrum(synth.oscillator(np.full(SR, 3000.0), (1, 1, 1, 1), SR))
    harmonic = (np.abs(hz - 3000) < 50) | (np.abs(hz - 6000) < 50)
    # Harmonics 3 and 4 would fold back to 7000 and 4000 Hz. The table's rounding is 60 dB down.
    assert magnitude[~harmonic].max() < 1e-3 * magnitude.max()


@pytest.mark.parametrize("hz", [82.4, 220.0, 441.0, 987.8])
def test_a_plucked_string_is_in_tune_within_6_cents(hz):
    heard = strongest(synth.pluck(hz, 1.0, SR, np.random.default_rng(2)), 0.8 * hz, 1.2 * hz)
    assert abs(1200 * np.log2(heard / hz)) < 6  # a listener's threshold is about 5


def test_a_plucked_string_dies_away():
    note = synth.pluck(330.0, 1.0, SR, np.random.default_rng(3))
    assert np.std(note[-4000:]) < 0.5 * np.std(note[:4000])


@pytest.mark.parametrize("cents", [10, 20, 40])
def test_two_players_beat_at_the_difference_of_their_frequencies(cents):
    rng = np.random.default_rng(4)
    duet = synth.unison(np.full(4 * SR, 440.0), (1,), (0, cents), SR, rng)
    gap = 440 * (2 ** (cents / 1200) - 1)
    assert strongest(duet**2 - np.mean(duet**2), 1, 100) == pytest.approx(gap, abs=0.2)


@pytest.mark.parametrize("rate", [1.0, 7.3])
def test_tremolo_swings_at_its_rate_between_1_and_1_less_its_depth(rate):
    gain = synth.tremolo(4 * SR, rate, 0.7, SR)
    assert strongest(gain - gain.mean(), 0.4, 100) == pytest.approx(rate, abs=0.2)
    assert gain.max() == pytest.approx(1)
    assert gain.min() == pytest.approx(0.3, abs=1e-3)


def test_a_bell_rings_at_its_inharmonic_partials():
    bell = synth.bell(500.0, 1.0, SR)
    for ratio, _ in synth.BELL:
        hz = 500 * ratio
        assert strongest(bell, hz - 40, hz + 40) == pytest.approx(hz, abs=1.5)


@pytest.mark.parametrize("vowel", synth.VOWELS)
def test_a_vowel_is_loudest_at_its_first_formant(vowel):
    sung = synth.sing(110.0, 1.0, vowel, SR, np.random.default_rng(5))
    # The harmonics that sample the formant are 110 Hz apart, and vibrato moves them by 2 %.
    assert strongest(sung, 50, 4000) == pytest.approx(synth.VOWELS[vowel][0], abs=75)


def test_drums_go_from_low_to_bright():
    rng = np.random.default_rng(6)
    kick, snare, shake = synth.kick(SR), synth.snare(SR, rng), synth.shake(SR, 4.0, 0.8, SR, rng)
    assert centroid(kick) < 150 < 500 < centroid(snare) < centroid(shake)
