import dataclasses

import pytest

from featurestore.errors import SettingsError
from pipeline.catalogs import TableSettings


def test_one_column_may_be_named_alone_and_one_named_twice_counts_once():
    settings = TableSettings(label="genre", meta=["year", "title", "year"])
    assert settings.label == ("genre",)
    assert settings.meta == ("year", "title")


def test_settings_are_frozen_and_unknown_ones_are_refused_by_name():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TableSettings().root = "/music"  # type: ignore[misc]
    with pytest.raises(TypeError, match="unexpected keyword argument 'labels'"):
        TableSettings(labels=("genre",))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": [3]}, "label names the column 3; give it its name"),
        ({"meta": ["year", ""]}, "meta names the column ''"),
        ({"path_column": " "}, "path_column names the column ' '"),
        ({"label": "genre", "tags": "genre"}, "'genre' is named in label and in tags; .* in one"),
        ({"meta": "path"}, "'path' is named in meta and has the paths; leave it out"),
        ({"path_column": "file", "tags": "file"}, "'file' is named in tags and has the paths"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(SettingsError, match=message):
        TableSettings(**fields)


def test_the_options_that_were_given_are_told_as_the_command_line_has_them():
    assert TableSettings().given() == []
    settings = TableSettings(path_column="file", label="genre", root="/music")
    assert settings.given() == ["--path-column", "--label", "--root"]
