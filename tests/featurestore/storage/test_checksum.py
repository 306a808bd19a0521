import pickle

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CorruptDataError
from featurestore.storage.checksum import append_crc32c, verify_crc32c


@given(st.binary(max_size=200))
def test_what_was_appended_to_is_returned_without_its_checksum(data):
    assert bytes(verify_crc32c(append_crc32c(data), "it")) == data
    assert append_crc32c(data)[len(data) :] == google_crc32c.value(data).to_bytes(4, "little")


def test_crc32c_is_the_published_one():
    # RFC 3720, B.4: 32 bytes of zeros
    assert append_crc32c(bytes(32))[32:] == bytes.fromhex("aa36918a")


@given(st.binary(min_size=1, max_size=50), st.data())
def test_every_flipped_bit_is_found(data, drawn):
    stored = bytearray(append_crc32c(data))
    bit = drawn.draw(st.integers(0, 8 * len(stored) - 1))
    stored[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptDataError, match=r"^here: the checksum does not match"):
        verify_crc32c(bytes(stored), "here")


@pytest.mark.parametrize("length", [0, 1, 3])
def test_less_than_a_checksum_is_corrupt(length):
    with pytest.raises(CorruptDataError, match="the checksum does not match"):
        verify_crc32c(bytes(length), "here")


def test_the_error_says_what_does_not_match_and_where():
    with pytest.raises(
        CorruptDataError, match=r"^a/b, clip 3: the checksum of it does not"
    ) as told:
        verify_crc32c(b"12345", "a/b", 3, what="the checksum of it")
    error = pickle.loads(pickle.dumps(told.value))
    assert str(error) == str(told.value)
    assert (error.key, error.position) == ("a/b", 3)
    assert error.detail == "the checksum of it does not match"
