import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.mpeg_frames import LENGTHS, Kind, _by_header, bits_of
from pipeline.kernels.chain import chain

KINDS = sorted(LENGTHS, key=str)


def followed(block: bytes, kind: Kind) -> tuple[list[int], int]:
    """The same, frame by frame."""
    offsets, position = [], 0
    while True:
        nbytes = LENGTHS[kind].get(bits_of(block, position))
        if nbytes is None or position + nbytes > len(block):
            return offsets, position
        offsets.append(position)
        position += nbytes


@given(
    kind=st.sampled_from(KINDS),
    picks=st.lists(st.integers(0, 10**6), max_size=20),
    junk=st.binary(max_size=40),
    cut=st.integers(0, 60),
)
def test_frames_are_followed_up_to_what_is_none(kind, picks, junk, cut):
    headers = sorted(LENGTHS[kind])
    block = b""
    for pick in picks:
        bits = headers[pick % len(headers)]
        header = (bits << 1).to_bytes(3, "big") + b"\0"
        block += header.ljust(LENGTHS[kind][bits], b"\xff")
    block = (block + junk)[: max(0, len(block + junk) - cut)]
    assert chain(block, _by_header(kind)) == followed(block, kind)


def test_no_header_of_another_kind_is_followed():
    for kind in KINDS:
        lengths = _by_header(kind)
        assert np.count_nonzero(lengths) == len(LENGTHS[kind])
        for other in KINDS:
            bits = next(iter(LENGTHS[other]))
            header = (bits << 1).to_bytes(3, "big").ljust(5000, b"\0")
            assert (chain(header, lengths)[0] == [0]) == (other == kind)


def test_there_is_room_for_as_many_frames_as_a_block_can_hold():
    assert min(min(lengths.values()) for lengths in LENGTHS.values()) == 24
    (kind,) = (k for k in KINDS if 24 in LENGTHS[k].values())
    bits = next(bits for bits, nbytes in LENGTHS[kind].items() if nbytes == 24)
    block = (bits << 1).to_bytes(3, "big").ljust(24, b"\0") * 1000
    assert chain(block, _by_header(kind)) == (list(range(0, 24000, 24)), 24000)
