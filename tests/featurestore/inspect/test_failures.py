from featurestore.inspect.failures import list_failures


def test_failed_clips_are_listed_with_path_and_reason(make_store):
    found = list_failures(make_store(ids=["a", "b", "c"], failed=(1,), pending=(2,)))
    assert found.lines() == ["b: EmptyFile: 0 bytes"]
    assert [set(clip) for clip in found.json()] == [{"clip_id", "path", "reason", "detail"}]
    assert str(found) == "1 of 3 clips failed"
