import pytest

from featurestore.specs.kinds import parse_spec
from featurestore.specs.presets import PRESETS


def test_a_preset_is_called_as_it_is_listed():
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert "\n" not in preset.source
        assert len(preset.specs) > 0
        assert [parse_spec(spec.name) for spec in preset.specs] == [*preset.specs]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("smc2020-96", "sr16000-mel96-x1-db-htk-nonorm"),
        ("smc2020-128", "sr16000-mel128-x1-db-htk-nonorm"),
        ("mtt", "sr22050-mel128-x2-db-fft1024-htk-nonorm"),
        ("musicnn", "sr16000-mel96-x1-log"),
        ("mtat-report-1", "sr16000-mel128-x1-db-htk-nonorm"),
        ("mtat-report-2-48", "sr16000-mel48-x1-db-fft1024"),
        ("mtat-report-2-96", "sr16000-mel96-x1-db-fft1024"),
    ],
)
def test_presets_are_what_the_networks_publications_say(name, spec):
    assert [spec.name for spec in PRESETS[name].specs] == [spec]
