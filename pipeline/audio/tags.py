"""Tags before, between and behind audio, which are not audio."""


def id3_nbytes(data: bytes) -> int:
    """Size of an ID3v2 tag that `data` begins with [bytes]; 0 where there is none."""
    if data[:3] != b"ID3" or len(data) < 10 or any(byte & 0x80 for byte in data[6:10]):
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    return 10 + size + (10 if data[5] & 0x10 else 0)


def tag_nbytes(data: bytes) -> int:
    """Size of a tag that `data` begins with, as they lie between joined files; 0 for none."""
    if data.startswith(b"APETAGEX") and len(data) >= 32:
        size = int.from_bytes(data[12:16], "little")
        return size + 32 if data[23] & 0x20 else 32  # a header, which its size leaves out
    if data.startswith(b"TAG"):
        return 128
    return id3_nbytes(data)
