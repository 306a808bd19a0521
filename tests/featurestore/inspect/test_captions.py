import pytest

from featurestore.inspect.captions import (
    condition_in_words,
    file_stem,
    meaning_of,
    shortened,
    spec_in_words,
    tags_of,
)
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import Condition


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sr16000-mel96-x1-db", "mel power, db scaling: 96 bands, 62.5 frames/s, 16 kHz"),
        ("sr12000-mel1-x10-db", "mel power, db scaling: 4.688 values/s, 12 kHz"),
        ("sr44100-stft512-x1-db~gain-6", "power, db scaling: 257 bands, 172.3 frames/s, 44.1 kHz"),
        (
            "sr16000-fbank128-hop160",
            "mel power as Kaldi's fbank, natural logarithm: 128 bands, 100 frames/s, 16 kHz",
        ),
        ("sr16000-wave", "waveform: 16 kHz"),
    ],
)
def test_a_spec_is_said_in_words(name, words):
    assert spec_in_words(parse_spec(name)) == words


@pytest.mark.parametrize(
    ("name", "words", "meaning"),
    [
        ("clean", "clean", ""),
        ("stretch0.707", "stretch to 0.707 times the speed", ""),
        ("pitch-1", "pitch \N{MINUS SIGN}1 semitones", ""),
        ("draw3", "random draw 3", ""),
        ("pitch2", "pitch +2 semitones", ""),
        ("drc-music", "drc-music", "dynamic range compression, Dolby E's music standard"),
        ("lowpass1000~mp3-64", "lowpass 1000 Hz, then mp3 64 kbit/s",
         "a low-pass filter of two poles; encoded as MP3, and decoded"),
    ],
)  # fmt: skip
def test_a_condition_is_said_in_words(name, words, meaning):
    condition = Condition.parse(name)
    assert condition_in_words(condition) == words
    assert meaning_of(condition) == meaning


def test_tags_are_those_the_clip_has(shared_store):
    clips = shared_store.clips
    for row in range(4):
        assert tags_of(shared_store, row) == [t for t in ("drums", "loud") if clips[t][row]]


@pytest.mark.parametrize(
    ("clip_id", "stem"),
    [
        ("audio/rock-001.mp3", "audio-rock-001"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b\n$c.WAV", "a-b-c"),
        ("...", "clip"),
        ("x.mp3#12", "x.mp3-12"),
        ("é愛", "é愛"),
        ("a" * 500, "a" * 100),
    ],
)
def test_a_files_name_holds_nothing_odd(clip_id, stem):
    assert file_stem(clip_id) == stem


def test_long_texts_lose_their_middle():
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert shortened("two\nlines", 20) == "two lines"
