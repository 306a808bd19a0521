"""Files in memory: what C code gets of them, called as C code calls it."""

import ctypes
import io

import numpy as np
import pytest

from pipeline.kernels import memory

PARTS = [b"", b"0123", b"456789"]


class File:
    """The functions, with what they are given."""

    def __init__(self, parts):
        self.bytes = memory.file_of(parts)
        self.address = ctypes.c_void_p(self.bytes.ctypes.data)

    def call(self, name, *arguments):
        types = {int: ctypes.c_int64, bytes: ctypes.c_void_p}
        kinds = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in arguments]
        if name == "seek":
            kinds[1] = ctypes.c_int32
        function = ctypes.CFUNCTYPE(types[int], *kinds, ctypes.c_void_p)
        return function(getattr(memory, name).address)(*arguments, self.address)

    def read(self, count):
        target = ctypes.create_string_buffer(100)
        n = self.call("read", ctypes.cast(target, ctypes.c_void_p), count)
        assert target.raw[max(n, 0) :] == bytes(100 - max(n, 0))  # nothing beyond was touched
        return target.raw[:n]


def test_a_file_reads_as_one_of_python_does():
    rng = np.random.default_rng(0)
    file, expected = File(PARTS), io.BytesIO(b"".join(PARTS))
    assert file.call("get_filelen") == 10
    for _ in range(300):
        count = int(rng.integers(0, 13))
        assert file.read(count) == expected.read(count)
        assert file.call("tell") == expected.tell()
        whence = int(rng.integers(0, 3))
        place = (0, expected.tell(), 10)[whence]
        offset = int(rng.integers(0, 11)) - place  # within the file
        assert file.call("seek", offset, whence) == expected.seek(offset, whence)


def test_a_position_outside_is_the_nearest_inside():
    file = File(PARTS)
    assert file.call("seek", -5, 0) == 0
    assert file.call("seek", 11, 0) == 10
    assert file.read(5) == b""
    assert file.call("seek", 5, 2) == 10


@pytest.mark.parametrize("parts", [[], [b""]])
def test_an_empty_file_has_nothing(parts):
    file = File(parts)
    assert file.call("get_filelen") == 0
    assert file.read(5) == b""


def test_nothing_is_written():
    file = File(PARTS)
    source = ctypes.create_string_buffer(b"xxxx")
    assert file.call("write", ctypes.cast(source, ctypes.c_void_p), 4) == 0
    assert file.read(10) == b"0123456789"
