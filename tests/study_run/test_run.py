"""The straight line on a measurer whose truth is known: what is measured, what is remembered, what is concluded."""

import json

import optuna
import pytest
from study_run.synthetic import SyntheticMeasurer, latency_s, shift

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.ledger import read_events
from tstitch_search.measurement import MakeChunk
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.workers.inline import InlinePool


def test_table_is_the_true_front_of_what_was_confirmed(run, measurer):
    table = run(measurer, "confirm.max_entries=20").table
    assert [e.latency_s for e in table.entries] == [pytest.approx(latency_s(e.allocation)) for e in table.entries]
    shifts = [shift(e.allocation) for e in table.entries]
    assert shifts == sorted(shifts, reverse=True)
    assert str(table.entries[0].allocation) == "S*4"
    assert str(table.entries[-1].allocation) == "XL*4"


def test_every_allocation_is_an_entry_or_a_candidate_once(plain):
    table = plain.outcome.table
    allocations = [str(e.allocation) for e in (*table.entries, *table.candidates)]
    assert len(allocations) == len(set(allocations)) == 15  # C(4 + 2, 2)


def test_second_run_measures_nothing_and_needs_no_worker(run, measurer, tiny_family, tmp_path):
    first = run(measurer)

    def no_measurer() -> SyntheticMeasurer:
        raise AssertionError("a worker was started")

    lookup = (tmp_path / "run" / "lookup.json").read_bytes()
    second = run_study(
        load_study(tiny_family / "study.yaml"), tmp_path / "run", lambda _: InlinePool(no_measurer), Silent()
    )
    assert first.n_new > 0
    assert second.n_new == 0
    assert (tmp_path / "run" / "lookup.json").read_bytes() == lookup


def test_interrupted_run_goes_on_without_redoing_a_chunk(run, measurer):
    undisturbed = run(measurer, folder="undisturbed").table
    interrupted = SyntheticMeasurer(measurer.reference, interrupt_after=11)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted)
    interrupted.interrupt_after = None
    resumed = run(interrupted)
    assert len(interrupted.made) == len(set(interrupted.made)) == len(measurer.made)
    assert resumed.table.entries == undisturbed.entries
    assert resumed.table.candidates == undisturbed.candidates


def test_more_images_extend_the_study_by_the_missing_chunks_only(run, measurer):
    run(measurer)
    before = set(measurer.made)
    run(measurer, "quality.n_images=30")
    added = [job for job in measurer.made if job not in before]
    assert {job.chunk.first for job in added if job.chunk.set_name == "search"} == {20}
    assert len(measurer.made) == len(set(measurer.made))


def test_values_at_another_number_of_images_are_another_optuna_study(run, measurer):
    """FIDs at different n are never compared: neither by a sampler nor on a dashboard."""
    outcome = run(measurer)
    run(measurer, "quality.n_images=30")
    names = optuna.get_all_study_names(f"sqlite:///{outcome.folder / 'study.db'}")
    assert sorted(names) == ["tiny at n = 20", "tiny at n = 30"]


def test_search_and_confirmation_images_are_disjoint_sets(plain):
    by_set = {name: [j for j in plain.made if j.chunk.set_name == name] for name in ("search", "confirm")}
    assert all(by_set.values())


def test_broken_allocation_costs_itself_only(run, measurer):
    measurer.broken = frozenset({"S*2-XL*2"})
    outcome = run(measurer)
    allocations = [str(e.allocation) for e in (*outcome.table.entries, *outcome.table.candidates)]
    assert len(allocations) == 14
    assert "S*2-XL*2" not in allocations
    assert outcome.n_failed == 1
    states = [e["state"] for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "trial"]
    assert states.count("FAIL") == 1


def test_broken_anchor_is_an_error_that_says_so(run, measurer):
    measurer.broken = frozenset({"XL*4"})
    with pytest.raises(EnvironmentProblem, match="anchor XL\\*4 could not be measured"):
        run(measurer)


def test_folder_of_another_study_is_refused_naming_the_fact_that_differs(run, measurer):
    run(measurer)
    n_lines = len(measurer.made)
    with pytest.raises(ConfigError, match=r"guidance_scale: 1\.5 there, 2 now"):
        run(measurer, "guidance_scale=2")
    assert len(measurer.made) == n_lines


def test_trial_budget_limits_the_allocations(run, measurer):
    table = run(measurer, "search.n_trials=6").table
    assert len(table.entries) + len(table.candidates) == 6


def test_focus_window_restricts_the_search_but_keeps_the_baselines(run, measurer):
    run(measurer, "focus.latency_s=[1.0, 2.0]")
    tried = {job.allocation for job in measurer.made if isinstance(job, MakeChunk)}
    outside = {str(a) for a in tried if not 1.0 <= latency_s(a) <= 2.0}
    assert outside == {"S*4", "XL*4", "S*2-XL*2"}  # the 40 % rule at 4 steps


def test_empty_focus_window_is_refused_with_the_times_there_are(run, measurer):
    with pytest.raises(ConfigError, match=r"no allocation takes 50 to 60 s.*0\.6 to 4\.2 s"):
        run(measurer, "focus.latency_s=[50, 60]")


@pytest.mark.parametrize("sampler", ["known_latency", "enumerate", "random", "tpe", "nsga2"])
def test_every_sampler_finds_the_whole_small_space(run, measurer, sampler):
    table = run(measurer, f"search.sampler={sampler}", "search.tolerance=0%").table
    assert len(table.entries) + len(table.candidates) == 15


def test_ledger_names_worker_file_and_hash_of_every_chunk(plain):
    outcome = plain.outcome
    chunks = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "chunk"]
    assert len(chunks) == len(plain.made)
    assert all((outcome.folder / "features" / e["file"]).exists() and e["worker"] for e in chunks)


def test_run_folder_holds_what_the_design_promises(plain):
    folder = plain.outcome.folder
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "study.resolved.yaml", "environment.json", "ledger.jsonl", "features", "study.db", "lookup.json", "report.html",
    }  # fmt: skip
    assert json.loads((folder / "environment.json").read_text())["packages"]["optuna"]
