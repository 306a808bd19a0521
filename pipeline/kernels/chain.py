"""Frames of MPEG audio that follow one another: each says where the next one is."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled

HEADERS = 2**12
"""Headers that differ: in the 12 bits that follow the 11 by which frames are known."""

_LEAST = 24
"""No frame is shorter [bytes]."""


def chain(block: bytes, lengths: npt.NDArray[np.int64]) -> tuple[list[int], int]:
    """Where whole frames begin, one after the other from the block's start, and where they end.

    Parameters
    ----------
    block : bytes
    lengths : np.ndarray [shape=(HEADERS,), dtype=int64]
        Of a frame, by its header's bits [bytes]; 0 for headers of others.
    """
    offsets = np.empty(len(block) // _LEAST + 1, np.int64)
    n_frames, end = _chain(np.frombuffer(block, np.uint8), lengths, offsets)
    return offsets[:n_frames].tolist(), end


@compiled("UniTuple(int64, 2)(Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1])")
def _chain(block: Any, lengths: Any, offsets: Any) -> Any:
    n_frames, position = 0, 0
    while position + 3 <= len(block):
        bits = (
            np.int64(block[position]) << 15
            | np.int64(block[position + 1]) << 7
            | np.int64(block[position + 2]) >> 1
        )
        nbytes = lengths[bits % HEADERS] if bits // HEADERS == 0x7FF else 0
        if nbytes == 0 or position + nbytes > len(block):
            break
        offsets[n_frames] = position
        n_frames += 1
        position += nbytes
    return n_frames, position
