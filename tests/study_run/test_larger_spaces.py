"""Runs of spaces with several step counts, any sequence of denoisers and baselines of their own, from end to end."""

import json
import re

import pytest
from study_run.synthetic import SyntheticMeasurer, latency_s

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.ledger import read_events
from tstitch_search.lookup import LookupTable
from tstitch_search.measurement import Answer, Calibrate, Job, MakeChunk
from tstitch_search.progress import Silent
from tstitch_search.quality.reference import load_reference
from tstitch_search.report.reading import read_record
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run import Result, run_study
from tstitch_search.tasks.compare import compare
from tstitch_search.tasks.plan import plan_study
from tstitch_search.workers.inline import InlinePool

COUNTS = ("space.n_steps=[4, 2]", "confirm.max_entries=30")
KNOWN = ("search.sampler=known_latency", "search.tolerance=1%")
SEQUENCES = ("space.orders=any", "space.max_switches=2", "confirm.max_entries=10")
RULES = ("space.baselines=[interleaving, large_to_small]", "space.fewer_steps=[50%]")


@pytest.fixture(scope="module")
def finished(tiny_family, tmp_path_factory) -> tuple[Result, list[Job]]:
    """A run of two step counts, shared by tests that only read it, and the jobs that it took."""
    jobs: list[Job] = []

    class Listening(SyntheticMeasurer):
        def do(self, job: Job) -> Answer:
            jobs.append(job)
            return super().do(job)

    measurer = Listening(load_reference("reference.npz", tiny_family), own_noise=0.2)
    study = load_study(tiny_family / "study.yaml", COUNTS)
    return run_study(study, tmp_path_factory.mktemp("run"), lambda _: InlinePool(lambda: measurer), Silent()), jobs


def measured(outcome) -> set[str]:
    return {str(c.allocation) for c in (*outcome.table.entries, *outcome.table.candidates)}


def test_all_step_counts_are_searched_confirmed_and_timed(run, measurer):
    outcome = run(measurer, *COUNTS, *KNOWN, "search.tolerance=0%")
    assert {sum(Allocation.parse(a).steps.values()) for a in measured(outcome)} == {4, 2}
    assert len(measured(outcome)) == 15 + 6
    front = {str(e.allocation): e for e in outcome.table.entries}
    assert {"XL*2", "S*2"} <= front.keys()  # as good as XL*4 in half of the time, and the fastest of all
    for entry in outcome.table.entries:
        assert entry.latency_s_predicted == pytest.approx(latency_s(entry.allocation))


def test_fewer_steps_of_the_largest_are_no_anchor(finished):
    """The headline may deploy them, and "lossless" is held against the full number of steps."""
    table = finished[0].table
    assert table.anchor == Allocation.parse("XL*4")
    (fewer,) = [e for e in table.entries if str(e.allocation) == "XL*2"]
    assert fewer.quality_difference is not None
    assert fewer.quality_difference != 0
    assert "XL*2" in table.provenance["headline"]


def test_further_step_counts_are_in_the_key(run, measurer):
    outcome = run(measurer, *COUNTS, "search.n_trials=3")
    assert run(measurer, *COUNTS, "search.n_trials=3").n_new == 0
    assert outcome.table.provenance["key"]["space.fewer_counts"] == "2"


def test_calibration_is_that_of_the_longest_trajectory(finished):
    assert {job.n_steps for job in finished[1] if isinstance(job, Calibrate)} == {4}


def test_control_variates_serve_trajectories_of_any_length(run, measurer):
    outcome = run(measurer, *COUNTS, "quality.control_images=40", "quality.n_images=20")
    trials = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "trial"]
    assert {e["n_images"] for e in trials} == {40}
    assert {Allocation.parse(e["allocation"]).n_steps for e in trials if e["n_made"] == 20} == {4, 2}


def test_racing_searches_step_counts_too(run, measurer):
    racing = (
        *KNOWN,
        "search.racing=true",
        "quality.control_images=60",
        "quality.n_images=40",
        "proxy_set.chunk_size=20",
    )
    outcome = run(measurer, *COUNTS, *racing)
    assert {"XL*2", "S*2"} <= measured(outcome)


@pytest.mark.parametrize("sampler", ["known_latency", "random"])
def test_any_sequence_is_searched_and_every_baseline_is_measured_by_name(run, measurer, sampler):
    outcome = run(measurer, *SEQUENCES, *RULES, f"search.sampler={sampler}", "search.n_trials=12")
    tried = {str(j.allocation) for j in measurer.made if isinstance(j, MakeChunk)}
    names = outcome.table.provenance["baselines"]
    assert names == {
        "S*2-XL*2": "40 % rule",
        "XL*2": "XL, 2 steps",
        "S*1-XL*1-S*1-XL*1": "interleaving",
        "XL*2-S*2": "large to small",
    }
    assert set(names) <= tried
    asked = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "trial"]
    assert len(asked) == 12


def test_further_baselines_are_confirmed_even_where_an_entry_beats_them_and_named_in_the_report(run, measurer):
    outcome = run(measurer, *SEQUENCES, *RULES, "search.n_trials=20", "confirm.max_entries=14")  # half are baselines
    confirmed = {str(c.allocation) for c in (*outcome.table.entries, *outcome.table.candidates) if c.confirmed}
    assert {
        "XL*2",
        "S*1-XL*1-S*1-XL*1",
    } <= confirmed
    page = outcome.report.read_text()
    for name in ("XL, 2 steps", "interleaving", "large to small"):
        assert f">{name}<" in page or f'"{name}"' in page
    assert set(read_record(outcome.folder).further_rules_measured) == {"XL, 2 steps", "interleaving", "large to small"}


def test_a_bar_is_as_long_as_its_steps(finished):
    page = finished[0].report.read_text()
    bars = re.findall(r'<div class="bar"[^>]*aria-label="([^"]*)"[^>]*>', page)
    halves = re.findall(r'<div class="bar"[^>]*style="width:50%"', page)
    assert 0 < len(halves) == len([said for said in bars if "2: " in said.rsplit(",", 1)[-1] and "4: " not in said])


def test_tables_of_several_step_counts_are_read_and_picked_from(finished):
    folder = finished[0].folder
    table = LookupTable.read(folder / "lookup.json")
    assert str(table.pick(budget_s=latency_s(Allocation.parse("S*2")) * 1.001).allocation) == "S*2"
    assert json.loads((folder / "lookup.json").read_text())["provenance"]["step_counts"] == [4, 2]


def test_allocations_of_different_length_are_compared_on_the_same_images(finished):
    folder = finished[0].folder
    assert str(compare(folder, "XL*2@2", "XL*4").first) == "XL*2"
    with pytest.raises(ConfigError, match="XL\\*3 has 3 steps, the search space has 4 or 2"):
        compare(folder, "XL*3", "XL*4")


def test_plan_counts_and_prices_every_step_count(tiny_family, tmp_path):
    study = load_study(tiny_family / "study.yaml", COUNTS)
    plan = plan_study(study, tmp_path / "run", None, Silent())
    assert plan.n_allocations == len(SearchSpace.from_config(study.space)) == 21
    longer = plan_study(load_study(tiny_family / "study.yaml"), tmp_path / "run", None, Silent())
    assert plan.stages_s["search"] < longer.stages_s["search"] * 21 / 15


def test_a_focus_holds_the_baselines_of_the_space(run, measurer):
    run(measurer, *SEQUENCES, *RULES, "focus.latency_s=[1.0, 1.1]")
    tried = {str(j.allocation) for j in measurer.made if isinstance(j, MakeChunk)}
    assert {"XL*2-S*2", "S*1-XL*1-S*1-XL*1", "XL*2", "XL*4"} <= tried


HUGE = ("space.n_steps=40", "space.orders=any", "space.max_switches=4")


def test_enumerating_millions_is_refused_with_its_price(run, measurer):
    with pytest.raises(ConfigError, match=r"all 4,\d{3},\d{3} allocations on 20 images each, about [\d,]+ days"):
        run(measurer, *HUGE)


@pytest.mark.parametrize("racing", ["true", pytest.param("false", marks=pytest.mark.slow)])
def test_millions_are_searched_without_being_enumerated_and_a_second_run_decides_the_same(run, measurer, racing):
    race = ("proxy_set.chunk_size=20", "quality.n_images=40", f"search.racing={racing}", "search.sampler=known_latency")
    asked = (*HUGE, *race, "search.n_trials=12", "confirm.max_entries=4")
    outcome = run(measurer, *asked)
    space = SearchSpace.from_config(load_space(outcome))
    assert outcome.table.provenance["space_size"] == len(space) > 4_000_000
    assert all(c.allocation in space for c in (*outcome.table.entries, *outcome.table.candidates))
    assert run(measurer, *asked).n_new == 0


def load_space(outcome):
    return SpaceConfig.model_validate(outcome.table.provenance["study"]["search_space"])
