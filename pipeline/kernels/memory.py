"""A file in memory, read by C code that asks functions for its bytes: without a call of the system.

A file is bytes after a head of two numbers, its length and the position, which the functions get
the address of.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray

from pipeline.kernels.compiler import called_from_c

_HEAD = 16
"""Length and position [bytes]."""


def file_of(data: list[bytes]) -> npt.NDArray[np.uint8]:
    """A file of bytes, one part after the other."""
    file = np.frombuffer(bytearray().join([bytes(_HEAD), *data]), np.uint8)
    file[:_HEAD].view(np.int64)[0] = len(file) - _HEAD
    return file


# As libsndfile's SF_VIRTUAL_IO has them.


@called_from_c("int64(voidptr)")
def get_filelen(file: Any) -> Any:
    """Length of the file."""
    return carray(file, 2, np.int64)[0]


@called_from_c("int64(voidptr)")
def tell(file: Any) -> Any:
    """Position in it."""
    return carray(file, 2, np.int64)[1]


@called_from_c("int64(int64, int32, voidptr)")
def seek(offset: Any, whence: Any, file: Any) -> Any:
    """Go to a position: from the start (0), from here (1), from the end (2)."""
    head = carray(file, 2, np.int64)
    if whence == 1:
        offset += head[1]
    elif whence == 2:
        offset += head[0]
    head[1] = min(max(offset, 0), head[0])
    return head[1]


@called_from_c("int64(voidptr, int64, voidptr)")
def read(target: Any, count: Any, file: Any) -> Any:
    """Copy so many bytes, or as many as there are."""
    head = carray(file, 2, np.int64)
    length, position = head[0], head[1]
    count = max(0, min(count, length - position))
    source, copied = carray(file, _HEAD + length, np.uint8), carray(target, count, np.uint8)
    for at in range(count):
        copied[at] = source[_HEAD + position + at]
    head[1] = position + count
    return count


@called_from_c("int64(voidptr, int64, voidptr)")
def write(source: Any, count: Any, file: Any) -> Any:
    """Refuse to."""
    return 0
