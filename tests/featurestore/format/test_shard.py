import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CorruptDataError
from featurestore.format.shard import (
    checksum_of,
    index_nbytes,
    pack,
    read_index,
    tail_nbytes,
    unpack,
)
from featurestore.specs.encoding import Codec
from featurestore.storage.checksum import append_crc32c, verify_crc32c

CHUNK = st.binary(max_size=50).map(append_crc32c)


@st.composite
def clips(draw):
    """Up to nine clips of as many chunks each, some absent."""
    per_clip = draw(st.integers(1, 3))
    return draw(st.lists(st.none() | st.tuples(*[CHUNK] * per_clip), max_size=9)), per_clip


@given(clips())
def test_a_shard_unpacks_to_what_was_packed(made):
    there, per_clip = made
    found = unpack(b"".join(pack(there, 9, per_clip)), 9, per_clip, "it")
    assert found == [*there, *[None] * (9 - len(there))]


@given(clips())
def test_a_shard_is_its_chunks_and_an_index_of_fixed_size(made):
    there, per_clip = made
    shard = b"".join(pack(there, 9, per_clip))
    chunks = [chunk for clip in there if clip is not None for chunk in clip]
    assert shard.startswith(b"".join(chunks))
    tail = tail_nbytes(9, per_clip)
    assert len(shard) == sum(map(len, chunks)) + tail
    assert tail == 9 * per_clip * 16 + 4 + (9 * per_clip * 4 + 4 if per_clip > 1 else 0)
    index = read_index(shard[-tail:], 9, per_clip, len(shard), "it")
    absent = [clip is None for clip in there] + [True] * (9 - len(there))
    assert [index.is_absent(position) for position in range(9)] == absent
    assert [shard[a : a + n] for a, n in index.present()] == chunks
    for position, clip in enumerate(there):
        assert index.clip_nbytes(position) == sum(map(len, clip or ()))
        for number in range(per_clip):
            place = index.place(position, number)
            assert (place is None) == (clip is None)
            if clip is not None and index.checksums is not None:
                assert index.checksums[position, number] == checksum_of(clip[number])


@pytest.mark.parametrize("per_clip", [1, 2])
def test_a_truncated_shard_is_corrupt(per_clip):
    one = append_crc32c(b"one"), append_crc32c(b"two")
    shard = b"".join(pack([one[:per_clip], one[:per_clip]], 4, per_clip))
    for length in range(len(shard)):
        with pytest.raises(CorruptDataError, match=r"^it: "):
            unpack(shard[:length], 4, per_clip, "it")


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
@pytest.mark.parametrize("in_chunk", [40, 16])
def test_a_shard_is_what_zarr_python_reads_and_writes(tmp_path, rng, codec, dtype, in_chunk):
    """The same array by `pack` and by zarr-python: each reads the other's shards.

    Of 16 frames, the third chunk of a clip reaches beyond the array.
    """
    import zarr

    per_clip = -(-40 // in_chunk)
    values = rng.normal(size=(11, 6, 40)).astype(dtype)
    array = zarr.create_array(
        tmp_path / "by_zarr",
        shape=values.shape,
        chunks=(1, 6, in_chunk),
        shards=(4, 6, per_clip * in_chunk),
        dtype=dtype,
        compressors=Codec(name=codec).zarr_codecs(np.dtype(dtype)),
        fill_value=np.nan,
    )
    array[...] = values
    (tmp_path / "by_us").mkdir()
    (tmp_path / "by_us/zarr.json").write_bytes((tmp_path / "by_zarr/zarr.json").read_bytes())
    padded = np.full((11, 6, per_clip * in_chunk), np.nan, dtype)
    padded[..., :40] = values

    for shard in range(3):
        some = [np.split(clip, per_clip, axis=1) for clip in padded[4 * shard : 4 * shard + 4]]
        ours = b"".join(
            pack(
                [
                    tuple(
                        append_crc32c(Codec(name=codec).compress(np.ascontiguousarray(chunk)))
                        for chunk in clip
                    )
                    for clip in some
                ],
                4,
                per_clip,
            )
        )
        theirs = (tmp_path / f"by_zarr/c/{shard}/0/0").read_bytes()
        if per_clip > 1:  # they lack the checksums before the index
            at = len(theirs) - index_nbytes(4 * per_clip)
            theirs = theirs[:at] + append_crc32c(bytes(4 * 4 * per_clip)) + theirs[at:]
        for found, clip in zip(unpack(theirs, 4, per_clip, "theirs"), some, strict=False):
            for chunk, part in zip(found, clip, strict=True):
                out = np.empty_like(part, order="C")
                Codec(name=codec).decompress(verify_crc32c(chunk, "theirs"), out)
                np.testing.assert_array_equal(out, part)
        # zarr-python may put the chunks in another order
        assert sorted(unpack(theirs, 4, per_clip, "")[: len(some)]) == sorted(
            unpack(ours, 4, per_clip, "")[: len(some)]
        )
        assert len(theirs) == len(ours)
        (tmp_path / f"by_us/c/{shard}/0").mkdir(parents=True)
        (tmp_path / f"by_us/c/{shard}/0/0").write_bytes(ours)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "by_us", mode="r")[...], values)
