"""A study grows in its run folder: budget, images, space. What would make numbers incomparable is refused by name."""

import optuna
import pytest

from tstitch_search.errors import ConfigError


def test_larger_budget_goes_on_where_the_smaller_ended(run, measurer):
    run(measurer, "search.n_trials=5")
    before = list(measurer.made)
    table = run(measurer, "search.n_trials=9").table
    assert measurer.made[: len(before)] == before
    assert len(measurer.made) == len(set(measurer.made))
    assert len(table.entries) + len(table.candidates) == 9


def test_wider_space_extends_the_study_and_measures_what_is_new_only(run, measurer):
    narrow = run(measurer, "space.grid=2", "confirm.max_entries=20").table
    before = set(measurer.made)
    wide = run(measurer, "space.grid=1", "space.orders=any", "confirm.max_entries=20")
    assert len(measurer.made) == len(set(measurer.made)) > len(before)
    of_narrow = {str(e.allocation) for e in (*narrow.entries, *narrow.candidates)}
    of_wide = {str(e.allocation) for e in (*wide.table.entries, *wide.table.candidates)}
    assert of_narrow < of_wide
    assert "XL*2-S*2" in of_wide
    names = optuna.get_all_study_names(f"sqlite:///{wide.folder / 'study.db'}")
    assert sorted(names) == ["tiny at n = 20", "tiny at n = 20, orders any, grid_steps 1"]


def test_fewer_steps_and_further_sequences_extend_the_study_too(run, measurer):
    two = ("space.denoisers=[{name: S, weights: S}, {name: XL, weights: XL}]", "confirm.max_entries=30")
    run(measurer, *two)
    before = set(measurer.made)
    wide = run(measurer, *two, "space.n_steps=[4, 3]", "space.orders=any", "space.max_switches=2")
    assert len(measurer.made) == len(set(measurer.made)) > len(before)
    of_wide = {str(e.allocation) for e in (*wide.table.entries, *wide.table.candidates)}
    assert {"S*1-XL*2", "XL*1-S*2-XL*1", "S*2-XL*2"} <= of_wide


def test_going_back_to_the_narrow_space_measures_nothing(run, measurer):
    run(measurer, "space.grid=2")
    run(measurer, "space.grid=1")
    assert run(measurer, "space.grid=2").n_new == 0


@pytest.fixture(scope="module")
def begun(finish):
    """A run folder that no other study may go on with."""
    return finish("search.n_trials=4").outcome.folder


@pytest.mark.parametrize(
    ("override", "fact"),
    [
        ("proxy_set.seed=1", r"proxy_set: balanced seed 0 chunks of 10 there, balanced seed 1"),
        ("sampler_seed=1", r"search\.sampler: enumerate seed 0 there, enumerate seed 1 now"),
        ("space.solver=EulerDiscreteScheduler", r"space\.solver: the pipeline's own there, EulerDiscreteScheduler now"),
        ("space.denoisers=[{name: S, weights: B}, {name: XL, weights: XL}]", r"weights\.S: \w{64} there, \w{64} now"),
    ],
)
def test_what_makes_numbers_incomparable_is_refused_by_name(run, measurer, begun, override, fact):
    with pytest.raises(ConfigError, match=fact):
        run(measurer, "search.n_trials=4", override, folder=begun)


def test_images_that_are_not_finite_poison_their_allocation_only(run, measurer):
    """Three tries, then the reason stands in the ledger and in the decision record, and the study goes on."""
    measurer.not_finite = frozenset({"S*3-XL*1"})
    outcome = run(measurer)
    assert outcome.n_failed == 1
    record = optuna.load_study(study_name=None, storage=f"sqlite:///{outcome.folder / 'study.db'}")
    (failed,) = [t for t in record.trials if t.state == optuna.trial.TrialState.FAIL]
    assert failed.user_attrs["allocation"] == "S*3-XL*1"
    assert "features of images 0 to 9 are not finite" in failed.user_attrs["reason"]
