"""Streams of Ogg files that follow one another, lack pages or do not end."""

import pytest

from featurestore.errors import AudioError
from pipeline.audio.ogg import Link, ogg_links


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_links_of_an_ogg_file_are_told_apart(descriptor, written, subtype):
    one, other = (written("OGG", subtype, n) for n in (16_000, 32_000))
    assert ogg_links(descriptor(one)) == [Link(0, len(one))]
    assert ogg_links(descriptor(one + other)) == [
        Link(0, len(one)),
        Link(len(one), len(one) + len(other)),
    ]


def last_page(data):
    return data.rindex(b"OggS")


def test_an_ogg_file_that_does_not_end_is_told(descriptor, written):
    data = written("OGG", "VORBIS", 160_000)
    for cut in (len(data) - 1, last_page(data), last_page(data) // 2):
        with pytest.raises(AudioError, match="TruncatedAudio"):
            ogg_links(descriptor(data[:cut]))
    with pytest.raises(AudioError, match="without its last page"):
        ogg_links(descriptor(data[: last_page(data)] + data))


def test_a_page_that_is_missing_is_told(descriptor, written):
    data = written("OGG", "VORBIS", 480_000)
    pages = [place for place in range(len(data)) if data.startswith(b"OggS", place)]
    assert len(pages) > 6
    with pytest.raises(AudioError, match=f"pages are missing before byte {pages[4]}"):
        ogg_links(descriptor(data[: pages[4]] + data[pages[5] :]))


def test_other_files_have_no_links(descriptor, written):
    assert ogg_links(descriptor(written("WAV"))) == []


def test_a_last_page_that_is_there_in_part_is_told(descriptor, written):
    data = written("OGG", "VORBIS", 160_000)
    with pytest.raises(AudioError, match=f"at byte {last_page(data)}, is damaged"):
        ogg_links(descriptor(data[:-20] + bytes(1000)))
