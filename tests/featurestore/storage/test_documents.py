import json

import pytest

from featurestore.storage.documents import parse


def nested(depth):
    return ("[" * depth + "]" * depth).encode()


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "é["]}, [], 7, "[" * 500])
def test_a_document_is_read(value):
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


def test_nesting_is_read_up_to_a_depth_and_refused_beyond():
    assert parse(nested(64)) == json.loads(nested(64))
    for depth in (65, 900, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse(nested(depth))
    assert len(parse(b"[" + b"[1]," * 9999 + b"[1]]")) == 10_000  # wide is not deep


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"9" * 5000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_a_text_that_is_too_long_is_refused_by_its_length(monkeypatch):
    monkeypatch.setattr("featurestore.storage.documents.MOST_NBYTES", 9)
    with pytest.raises(ValueError, match="10 bytes are too many"):
        parse(b'"12345678"')
