import numpy as np
import pytest

from featurestore.errors import SpecError, TrainingError
from featurestore.specs.perturbation import CONDITIONS, Condition
from models.data import choose_conditions, clean_specs, conditions_of, training_data, under

SPEC = "sr16000-mel8-x10-db"


@pytest.fixture
def clips(perturbed_store):
    return training_data(perturbed_store, SPEC).test


def names(conditions):
    return [condition.name for condition in conditions]


def test_clean_specs_are_those_without_a_perturbation(perturbed_store):
    assert [spec.name for spec in clean_specs(perturbed_store)] == [SPEC, "sr16000-mel16-x10-db"]


def test_conditions_are_those_that_are_stored_of_the_clips_but_their_own(perturbed_store, clips):
    assert names(conditions_of(perturbed_store, clips)) == ["gain0", "noise0.1"]
    noisy = under(perturbed_store, clips, Condition.parse("noise0.1"))
    assert names(conditions_of(perturbed_store, noisy)) == ["clean", "gain0"]


def test_a_condition_has_the_same_clips_and_its_own_values(perturbed_store, clips):
    noisy = under(perturbed_store, clips, Condition.parse("noise0.1"))
    array = perturbed_store[f"{SPEC}~noise0.1"]
    np.testing.assert_array_equal(noisy.rows, clips.rows)
    np.testing.assert_array_equal(noisy.labels, clips.labels)
    np.testing.assert_array_equal(noisy[2].values, array[int(clips.rows[2])])
    assert noisy.bytes_per_clip == array.nbytes_stored / 35


def test_where_the_audio_is_faster_fewer_frames_are_valid(toy_store, write_store):
    spec, table = toy_store.specs[0], toy_store.clips
    fast = Condition.parse("stretch2")
    values = toy_store[spec].read(range(35))
    store = write_store(
        {spec: values, spec.under(fast): values},
        tags={"loud": table["loud"][:35]},
        split=table["split"][:35],
        n_valid=[3 * 16000] * 35,
    )
    clips = training_data(store, spec).test
    # 3 s are 19 frames 160 ms apart, and half of it is 10.
    assert clips.n_valid.tolist() == [19] * 8
    assert under(store, clips, fast).n_valid.tolist() == [10] * 8


def test_what_is_stored_of_training_clips_alone_is_no_condition_to_test_under(
    perturbed_store, clips, monkeypatch
):
    """As draws are: none of the test clips is ready."""
    ready = perturbed_store.status.ready[f"{SPEC}~noise0.1"].copy()
    ready[clips.rows] = False
    monkeypatch.setitem(perturbed_store.status.ready, f"{SPEC}~noise0.1", ready)
    assert names(conditions_of(perturbed_store, clips)) == ["gain0"]


def test_a_condition_that_lacks_some_of_the_clips_is_refused(perturbed_store, clips, monkeypatch):
    ready = perturbed_store.status.ready[f"{SPEC}~noise0.1"].copy()
    ready[clips.rows[:2]] = False
    monkeypatch.setitem(perturbed_store.status.ready, f"{SPEC}~noise0.1", ready)
    message = (
        r"2 of 8 clips of sr16000-mel8-x10-db~noise0.1 are not ready; .*--perturb noise0.1 again"
    )
    with pytest.raises(TrainingError, match=message):
        choose_conditions(perturbed_store, clips, ["all"])


def test_names_are_of_all_conditions_of_sets_and_of_one(perturbed_store, clips):
    assert names(choose_conditions(perturbed_store, clips, ["all"])) == ["gain0", "noise0.1"]
    several = ["noise0.1", "clean", "all", "noise0.1"]
    assert names(choose_conditions(perturbed_store, clips, several)) == ["noise0.1", "gain0"]
    assert choose_conditions(perturbed_store, clips, []) == []
    first = CONDITIONS["smc2020"][0]
    with pytest.raises(TrainingError, match=rf"holds no {SPEC}~{first}; .*: gain0, noise0.1; feat"):
        choose_conditions(perturbed_store, clips, ["smc2020"])
    with pytest.raises(SpecError, match="'louder' is no perturbation"):
        choose_conditions(perturbed_store, clips, ["louder"])


def test_draws_are_no_condition_to_test_under(drawn_store):
    data = training_data(drawn_store, drawn_store.specs[0])
    assert drawn_store[drawn_store.specs[1]].ready[data.train.rows].any()
    assert conditions_of(drawn_store, data.train) == []
