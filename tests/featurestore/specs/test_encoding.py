import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from featurestore.errors import CorruptDataError, SettingsError
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.mel import VALUE_RANGE

ENCODINGS = ("float32", "float16", "uint8")
DB = VALUE_RANGE["db"]
CODECS = ("zstd", "lz4", "none")
VALUES = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=40),
    # both laws' range with room: silence is -100 dB, float32's largest power 385 dB
    elements=st.floats(-400, 400, width=32),
)


def within(low, high):
    shape = npst.array_shapes(min_dims=2, max_dims=2, max_side=20)
    return npst.arrays(np.float32, shape, elements=st.floats(low, high, width=32))


def decoded(encoding, values, log="db"):
    out = np.empty_like(values)
    encoding.decode(encoding.encode(values, VALUE_RANGE[log]), out, VALUE_RANGE[log])
    return out


@given(VALUES)
def test_float32_keeps_values_as_they_are(values):
    np.testing.assert_array_equal(decoded(Encoding(name="float32"), values), values)


@given(VALUES)
def test_float16_keeps_values_to_its_stated_relative_error(values):
    back = decoded(Encoding(name="float16"), values)
    # half a unit in the last place; below 2**-14, float16 is evenly spaced by 2**-24
    bound = np.maximum(np.abs(values.astype(np.float64)) * 2**-11, 2.0**-25)
    assert (np.abs(back.astype(np.float64) - values) <= bound).all()


def test_every_finite_float16_is_decoded_to_the_same_bits_as_by_numpy():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(2, -1)
    for stored in (halves, halves[:, ::3]):
        out = np.empty(stored.shape, np.float32)
        Encoding(name="float16").decode(stored, out, DB)
        np.testing.assert_array_equal(out.view(np.int32), stored.astype(np.float32).view(np.int32))


@pytest.mark.parametrize("log", VALUE_RANGE)
@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_within_the_range_of_uint8_no_encoding_is_further_off_than_it_says(encoding, log, data):
    values = data.draw(within(*VALUE_RANGE[log]))
    back = decoded(Encoding(name=encoding), values, log)
    bound = Encoding(name=encoding).max_error(VALUE_RANGE[log])
    assert np.abs(back.astype(np.float64) - values).max(initial=0) <= bound


@pytest.mark.parametrize("log", VALUE_RANGE)
def test_the_error_of_uint8_is_as_large_as_it_says(log):
    low, high = VALUE_RANGE[log]
    values = np.linspace(low, high, 100_001, dtype=np.float32)[None]
    error = np.abs(decoded(Encoding(name="uint8"), values, log) - values).max()
    assert 0.999 * Encoding(name="uint8").max_error(VALUE_RANGE[log]) <= error


@pytest.mark.parametrize("log", VALUE_RANGE)
@given(values=VALUES)
def test_uint8_clips_what_lies_beyond_its_range(log, values):
    encoding = Encoding(name="uint8")
    clipped = np.clip(values, *VALUE_RANGE[log])
    np.testing.assert_array_equal(
        encoding.encode(values, VALUE_RANGE[log]), encoding.encode(clipped, VALUE_RANGE[log])
    )
    assert encoding.encode(values, VALUE_RANGE[log]).max(initial=0) < encoding.fill_value


def test_the_floor_of_the_decibel_scaling_is_kept_exactly_by_uint8():
    floor = np.full((1, 3), -100, np.float32)
    np.testing.assert_array_equal(decoded(Encoding(name="uint8"), floor), floor)
    silence = np.zeros((1, 3), np.float32)
    np.testing.assert_array_equal(decoded(Encoding(name="uint8"), silence, "log"), silence)


def test_float16_does_not_overflow():
    values = np.array([[1e6, -1e6, 65520]], np.float32)
    np.testing.assert_array_equal(decoded(Encoding(), values), [[65504, -65504, 65504]])


def test_the_largest_power_of_float32_does_not_overflow_float16():
    largest = np.float64(np.finfo(np.float32).max)
    values = np.array([[10 * np.log10(largest), np.log10(1 + 1e4 * largest)]], np.float32)
    assert np.isfinite(decoded(Encoding(name="float16"), values)).all()


def test_stored_values_are_little_endian_and_contiguous():
    stored = Encoding(name="float16").encode(np.ones((4, 6), np.float32)[:, ::2], DB)
    assert stored.dtype.str == "<f2"
    assert stored.flags.c_contiguous
    assert Encoding(name="float32").dtype.str == "<f4"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@given(values=VALUES)
def test_a_chunk_unpacks_to_what_was_packed(codec, encoding, values):
    stored = Encoding(name=encoding).encode(values, DB)
    packed = Codec(name=codec).compress(stored)
    out = np.empty_like(stored)
    Codec(name=codec).decompress(memoryview(packed), out)
    assert out.tobytes() == stored.tobytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(4, 49), (4, 51), (0, 50)])
def test_a_chunk_of_another_size_is_corrupt(codec, shape, rng):
    packed = Codec(name=codec).compress(rng.random((4, 50), np.float32))
    with pytest.raises(CorruptDataError, match=r"a chunk (unpacks to|holds) 800 bytes, not"):
        Codec(name=codec).decompress(memoryview(packed), np.empty(shape, np.float32))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_chunk_with_garbage_in_its_body_is_corrupt(codec, rng):
    # beyond the checksum, which `shard` looks at before
    packed = bytearray(Codec(name=codec).compress(rng.normal(size=(40, 100)).astype("f2")))
    for begin, told in ((24, "does not unpack|do not fill it"), (16, "do not fill it")):
        packed[begin:] = rng.bytes(len(packed) - begin)
        with pytest.raises(CorruptDataError, match=told):
            Codec(name=codec).decompress(memoryview(packed), np.empty((40, 100), "f2"))


def test_a_chunk_cut_short_is_corrupt(rng):
    packed = Codec(name="zstd").compress(rng.normal(size=(40, 100)).astype("f2"))
    for length in (0, 3, 8, 15, 16, 100, len(packed) - 1):
        with pytest.raises(CorruptDataError, match=f"a chunk holds {length} bytes, "):
            Codec(name="zstd").decompress(memoryview(packed[:length]), np.empty((40, 100), "f2"))


def test_the_same_values_pack_to_the_same_bytes(rng):
    values = rng.normal(size=(40, 100)).astype("f2")
    for name in CODECS:
        assert Codec(name=name).compress(values) == Codec(name=name).compress(values.copy())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Encoding, "encoding is 'float64'; it must be one of float32, float16, uint8"),
        (Codec, "codec is 'float64'; it must be one of zstd, lz4, none"),
    ],
)
def test_unknown_names_are_refused_with_the_choice(kind, message):
    with pytest.raises(SettingsError, match=message):
        kind(name="float64")


FULL_SCALE = -1.0, 1.0
INT16 = Encoding(name="int16")


def through_int16(values):
    out = np.empty_like(values)
    INT16.decode(INT16.encode(values, FULL_SCALE), out, FULL_SCALE)
    return out


def test_audio_of_16_bits_is_kept_bit_for_bit_in_int16():
    """As libsndfile decodes it: divided by 32768. The lowest value alone becomes the next."""
    codes = np.arange(-32767, 32768, dtype=np.int16)[None]
    audio = codes.astype(np.float32) / 32768
    np.testing.assert_array_equal(INT16.encode(audio, FULL_SCALE), codes)
    np.testing.assert_array_equal(through_int16(audio), audio)
    assert INT16.affine(FULL_SCALE) == (1 / 32768, 0)
    assert INT16.encode(np.float32([[-1, 1]]), FULL_SCALE).tolist() == [[-32767, 32767]]
    assert INT16.fill_value == -32768


@given(within(-1, 1))
def test_int16_is_no_further_off_than_it_says(values):
    assert np.abs(through_int16(values) - values).max() <= INT16.max_error(FULL_SCALE)


@given(within(-2, 2))
def test_what_is_within_the_limits_of_int16_is_off_by_half_a_step(values):
    low, high = INT16.limits(FULL_SCALE)
    assert -1 < low < -32767 / 32768
    assert 32767 / 32768 < high < 1
    inside = (values >= low) & (values <= high)
    error = np.abs(through_int16(values) - values)
    assert (error[inside] <= 2**-16 + 2**-21).all()
    np.testing.assert_array_equal(
        through_int16(values)[~inside], np.sign(values[~inside]) * np.float32(32767 / 32768)
    )
