from featurestore.inspect.names import list_perturbations, list_presets
from featurestore.specs.kinds import parse_spec
from featurestore.specs.perturbation import CONDITIONS, PERTURBATIONS


def test_every_preset_is_listed_with_specs_that_can_be_read():
    found = list_presets()
    assert all(parse_spec(name) for entry in found.json() for name in entry["specs"])
    text = "\n".join(found.lines())
    assert "ast" in text
    assert "sr16000-fbank128-hop160" in text
    assert max(map(len, found.lines())) <= 80


def test_every_perturbation_is_listed_with_its_numbers():
    found = list_perturbations()
    assert [entry["perturbation"] for entry in found.json()] == [*PERTURBATIONS, *CONDITIONS]
    assert "higher at the same speed; how much -24 to 24 semitones" in " ".join(found.lines())
    assert max(map(len, found.lines())) <= 80
