"""Arrays of texts, such as commit records: one chunk a text, so that each is written alone.

Any Zarr reader lists them. One that was never written reads as the empty text.
"""

import struct
from typing import TYPE_CHECKING

from featurestore.errors import CorruptDataError
from featurestore.storage.checksum import append_crc32c, verify_crc32c

if TYPE_CHECKING:
    import zarr


def add_texts(group: "zarr.Group", name: str, shape: tuple[int, ...]) -> None:
    """Make an array of texts."""
    from zarr.codecs import Crc32cCodec

    group.create_array(
        name,
        shape=shape,
        chunks=(1,) * len(shape),
        dtype="string",
        compressors=[Crc32cCodec()],
        fill_value="",
    )


def pack_text(text: str) -> bytes:
    """A chunk that holds one text: the vlen-utf8 codec's, then its CRC-32C."""
    data = text.encode()
    return append_crc32c(struct.pack("<II", 1, len(data)) + data)


def unpack_text(data: bytes, key: str) -> bytes:
    """Inverse of `pack_text`, as bytes.

    Raises
    ------
    CorruptDataError
        If the bytes are damaged, or hold something else.
    """
    body = bytes(verify_crc32c(data, key))
    if len(body) < 8 or struct.unpack("<II", body[:8]) != (1, len(body) - 8):
        raise CorruptDataError("not one string", key=key)
    return body[8:]
