"""What containers announce against what is there, by files whose sizes were changed by hand."""

import struct

import pytest

from featurestore.errors import AudioError
from pipeline.audio.containers import audio_chunk, require_whole

N_SAMPLES = 1000


def announced(data, nbytes, order="little"):
    """A WAV with another size of its data."""
    place = data.index(b"data") + 4
    return data[:place] + nbytes.to_bytes(4, order) + data[place + 4 :]


@pytest.mark.parametrize(
    ("format_name", "kinds"),
    [("WAV", {}), ("WAV", {"endian": "BIG"}), ("RF64", {}), ("W64", {}), ("AIFF", {}), ("AU", {}),
     ("CAF", {})],
)  # fmt: skip
def test_the_audio_of_each_container_is_found_and_its_absence_told(
    descriptor, written, format_name, kinds
):
    data = written(format_name, **kinds)
    _, begin, nbytes = audio_chunk(descriptor(data))
    # RF64 of libsndfile says what RIFF would, until there is more than that can say.
    assert nbytes == 2 * N_SAMPLES
    assert begin + nbytes == len(data)
    assert not require_whole(descriptor(data))
    for cut in (1, N_SAMPLES):
        with pytest.raises(AudioError, match=f"{2 * N_SAMPLES - cut} bytes of audio there of"):
            require_whole(descriptor(data[:-cut]))


@pytest.mark.parametrize("nbytes", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_size_that_a_pipe_leaves_open_is_unknown(descriptor, written, nbytes):
    assert require_whole(descriptor(announced(written("WAV"), nbytes)))


def test_a_wav_without_audio_is_whole(descriptor, written):
    empty = written("WAV", n_samples=0)
    listed = empty + b"LIST" + struct.pack("<I", 4) + b"INFO"
    for data in (empty, listed):
        _, _, nbytes = audio_chunk(descriptor(data))
        assert nbytes == 0
        assert not require_whole(descriptor(data))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "ALAW"])
def test_an_odd_number_of_bytes_is_whole_with_and_without_padding(descriptor, written, subtype):
    data = written("WAV", subtype, 999)
    assert not require_whole(descriptor(data))
    assert not require_whole(descriptor(data.rstrip(b"\0") if subtype != "PCM_24" else data))


def test_a_title_may_say_anything(descriptor, written):
    title = b"it should be longer\0"
    info = b"INFOINAM" + struct.pack("<I", len(title)) + title
    data = written("WAV") + b"LIST" + struct.pack("<I", len(info)) + info
    assert not require_whole(descriptor(data))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b".snd"])
def test_headers_that_end_early_say_nothing(descriptor, written, data):
    assert audio_chunk(descriptor(data)) is None


def test_chunks_of_any_size_do_not_loop(descriptor, written):
    for size in (0, 1, 2**31, 2**32 - 1):
        data = b"RIFF\0\0\0\0WAVE" + (b"junk" + struct.pack("<I", size)) * 50
        assert audio_chunk(descriptor(data)) is None
