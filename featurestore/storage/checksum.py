"""CRC32C at the end of bytes, as Zarr's ``crc32c`` codec puts it there."""

import google_crc32c

from featurestore.errors import CorruptDataError

_NBYTES = 4

_RESIDUE = 0x48674BC7
"""The CRC32C of any bytes that are followed by their own CRC32C, little-endian."""


def append_crc32c(data: bytes) -> bytes:
    """`data` followed by its CRC32C, little-endian."""
    checksum: bytes = google_crc32c.value(data).to_bytes(_NBYTES, "little")
    return data + checksum


def verify_crc32c(
    data: bytes | memoryview, key: str, position: int | None = None, *, what: str = "the checksum"
) -> memoryview:
    """`data` without the CRC32C at its end, which must match.

    Parameters
    ----------
    data : bytes or memoryview
    key, position : str, int or None
        Where it was read, for the error.
    what : str
        What the checksum is called there.

    Raises
    ------
    CorruptDataError
        If it does not match.
    """
    checked = bytes(data)  # of bytes, no copy
    if len(checked) < _NBYTES or google_crc32c.value(checked) != _RESIDUE:
        raise CorruptDataError(f"{what} does not match", key=key, position=position)
    return memoryview(checked)[:-_NBYTES]
