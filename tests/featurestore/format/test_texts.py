import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CorruptDataError
from featurestore.format.layout import zarr_files
from featurestore.format.texts import add_texts, pack_text, unpack_text
from featurestore.storage.checksum import append_crc32c
from featurestore.storage.local import LocalFiles

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(TEXTS)
def test_a_text_is_read_back(text):
    assert unpack_text(pack_text(text), "key").decode() == text


def test_zarr_reads_what_was_written_and_the_rest_as_empty(tmp_path):
    import zarr

    files = LocalFiles(tmp_path)
    files.write_several(zarr_files("", {}, lambda group: add_texts(group, "texts", (2, 3))))
    files.write("texts/c/1/2", pack_text("naïve 🎵"))
    files.write("texts/c/0/0", pack_text(""))
    texts = zarr.open_array(tmp_path / "texts", mode="r")[...]
    assert texts.tolist() == [["", "", ""], ["", "", "naïve 🎵"]]


def test_an_array_of_no_texts_can_be_made(tmp_path):
    import zarr

    files = LocalFiles(tmp_path)
    files.write_several(zarr_files("", {}, lambda group: add_texts(group, "texts", (0,))))
    assert zarr.open_array(tmp_path / "texts", mode="r").shape == (0,)


@pytest.mark.parametrize(
    "body",
    [b"", b"\1\0\0\0", b"\2\0\0\0\1\0\0\0a", b"\1\0\0\0\2\0\0\0a", b"\1\0\0\0\0\0\0\0a"],
    ids=["nothing", "no length", "two texts", "too short", "too long"],
)
def test_bytes_that_are_not_one_text_are_refused(body):
    with pytest.raises(CorruptDataError, match="key: not one string"):
        unpack_text(append_crc32c(body), "key")


@given(TEXTS, st.data())
def test_a_flipped_bit_is_found(text, data):
    hurt = bytearray(pack_text(text))
    place = data.draw(st.integers(0, 8 * len(hurt) - 1))
    hurt[place // 8] ^= 1 << place % 8
    with pytest.raises(CorruptDataError, match="key: "):
        unpack_text(bytes(hurt), "key")
