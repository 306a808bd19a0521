import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CorruptDataError
from featurestore.format.shard import index_nbytes, is_absent, pack, read_index, unpack
from featurestore.specs.encoding import Codec
from featurestore.storage.checksum import append_crc32c, verify_crc32c

CHUNKS = st.lists(st.none() | st.binary(max_size=50).map(append_crc32c), max_size=9)


@given(CHUNKS)
def test_a_shard_unpacks_to_what_was_packed(chunks):
    there = unpack(b"".join(pack(chunks, 9)), 9, "it")
    assert there == [*chunks, *[None] * (9 - len(chunks))]


@given(CHUNKS)
def test_a_shard_is_its_chunks_and_an_index_of_fixed_size(chunks):
    shard = b"".join(pack(chunks, 9))
    body = b"".join(chunk for chunk in chunks if chunk is not None)
    assert shard.startswith(body)
    assert len(shard) == len(body) + index_nbytes(9) == len(body) + 9 * 16 + 4
    index = read_index(shard[-index_nbytes(9) :], 9, len(shard), "it")
    assert [is_absent(entry) for entry in index] == [c is None for c in chunks] + [True] * (
        9 - len(chunks)
    )


def test_a_truncated_shard_is_corrupt():
    shard = b"".join(pack([append_crc32c(b"one"), append_crc32c(b"two")], 4))
    for length in range(len(shard)):
        with pytest.raises(CorruptDataError, match=r"^it: "):
            unpack(shard[:length], 4, "it")


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_a_shard_is_what_zarr_python_reads_and_writes(tmp_path, rng, codec, dtype):
    """The same array by `pack` and by zarr-python: each reads the other's shards."""
    import zarr

    values = rng.normal(size=(11, 6, 40)).astype(dtype)
    array = zarr.create_array(
        tmp_path / "by_zarr",
        shape=values.shape,
        chunks=(1, 6, 40),
        shards=(4, 6, 40),
        dtype=dtype,
        compressors=Codec(name=codec).zarr_codecs(np.dtype(dtype)),
        fill_value=np.nan,
    )
    array[...] = values
    (tmp_path / "by_us").mkdir()
    (tmp_path / "by_us/zarr.json").write_bytes((tmp_path / "by_zarr/zarr.json").read_bytes())

    for shard in range(3):
        clips = values[4 * shard : 4 * shard + 4]
        theirs = (tmp_path / f"by_zarr/c/{shard}/0/0").read_bytes()
        for chunk, clip in zip(unpack(theirs, 4, "theirs"), clips, strict=False):
            out = np.empty_like(clip)
            Codec(name=codec).decompress(verify_crc32c(chunk, "theirs"), out)
            np.testing.assert_array_equal(out, clip)

        ours = b"".join(
            pack([append_crc32c(Codec(name=codec).compress(clip)) for clip in clips], 4)
        )
        # zarr-python may put the chunks in another order
        assert sorted(unpack(theirs, 4, "")[: len(clips)]) == sorted(
            unpack(ours, 4, "")[: len(clips)]
        )
        assert len(theirs) == len(ours)
        (tmp_path / f"by_us/c/{shard}/0").mkdir(parents=True)
        (tmp_path / f"by_us/c/{shard}/0/0").write_bytes(ours)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "by_us", mode="r")[...], values)
