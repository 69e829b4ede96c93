"""Control variates in a run: the denoisers alone on more images, and every FID at their level."""

import numpy as np
import pytest

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.ledger import read_events
from tstitch_search.lookup import Candidate

CONTROLLED = ("quality.n_images=20", "quality.control_images=100")


def searched(outcome) -> list[Candidate]:
    return [c for c in outcome.table.candidates if not c.confirmed]


def test_denoisers_alone_and_neighbours_by_halves_get_the_control_images_and_the_others_the_proxy_images(run, measurer):
    run(measurer, *CONTROLLED)
    made = {}
    for job in measurer.made:
        if job.chunk.set_name == "search":
            made[job.allocation] = made.get(job.allocation, 0) + job.chunk.n_images
    controls = {"S*4", "B*4", "XL*4", "S*2-B*2", "B*2-XL*2"}
    assert {str(a) for a, n in made.items() if n == 100} == controls
    assert {n for a, n in made.items() if str(a) not in controls} == {20}


def test_every_value_is_at_the_level_of_the_control_images(run, measurer):
    outcome = run(measurer, *CONTROLLED)
    trials = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "trial"]
    assert {e["n_images"] for e in trials} == {100}
    assert {e["n_made"] for e in trials} == {20, 100}
    assert {c.n_images for c in searched(outcome)} == {100}


def test_few_images_with_controls_come_nearer_to_the_differences_than_few_alone(run, measurer):
    """Against the same allocations on 400 images: the level of 20 plain images is far off, that of controls is not."""
    truth = {c.allocation: c.quality for c in searched(run(measurer, "quality.n_images=400", folder="truth"))}

    def error(*settings: str, folder: str) -> float:
        found = {c.allocation: c.quality for c in searched(run(measurer, *settings, folder=folder))}
        common = truth.keys() & found.keys()
        assert len(common) > 5
        return float(np.sqrt(np.mean([(np.log(found[a]) - np.log(truth[a])) ** 2 for a in common])))

    controlled = error("quality.n_images=20", "quality.control_images=400", folder="controlled")
    assert controlled < error("quality.n_images=20", folder="plain") / 4


def test_a_second_run_measures_nothing_and_says_the_same(run, measurer):
    first = run(measurer, *CONTROLLED)
    second = run(measurer, *CONTROLLED)
    assert second.n_new == 0
    assert second.table == first.table


def test_a_broken_baseline_is_done_without_and_a_broken_anchor_is_said(run, measurer):
    measurer.broken = frozenset({"B*4"})
    outcome = run(measurer, *CONTROLLED)
    assert outcome.n_failed == 1
    assert len(searched(outcome)) + len(outcome.table.entries) >= 10


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            ["quality.n_images=50", "quality.control_images=40"],
            "got 40, expected at least quality.n_images, which is 50",
        ),
        (
            ["quality.objective=kid", "quality.control_images=400"],
            "control variates are for FID, and the objective is kid",
        ),
    ],
)
def test_control_images_that_cannot_be_are_refused(tiny_family, settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_study(tiny_family / "study.yaml", settings)
