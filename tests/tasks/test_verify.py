"""A table held against the device it is on now: the same images, and a gate that closes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from study_run.synthetic import STEP_S, SyntheticMeasurer, latency_s

from tstitch_search.cli.verification import verdicts
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.measurement import AllocationTime
from tstitch_search.pareto import pareto_front
from tstitch_search.progress import Silent
from tstitch_search.tasks.tables.recalibrate import recalibrate
from tstitch_search.tasks.tables.verify import Verification, spread, verify
from tstitch_search.workers.inline import InlinePool


@pytest.fixture
def path(run, measurer) -> Path:
    return run(measurer, "confirm.max_entries=20").folder / "lookup.json"


def opener(measurer: SyntheticMeasurer):
    return lambda _: InlinePool(lambda: measurer)


def test_an_unchanged_machine_gives_the_very_numbers_again(path, measurer):
    found = verify(path, 0.0, 3, opener(measurer), Silent())
    assert found.passed
    assert [v.loss for v in found.entries] == pytest.approx([0, 0, 0], abs=1e-12)
    assert [v.slowdown for v in found.entries] == pytest.approx([0, 0, 0])
    assert found.changed == {}
    front = LookupTable.read(path).entries
    assert found.entries[0].entry == front[0]
    assert found.entries[-1].entry == front[-1]


def test_images_that_got_worse_close_the_gate_and_slower_steps_are_told(path, measurer):
    worse = SyntheticMeasurer(measurer.reference, decay=0.05, step_s={n: 2 * s for n, s in STEP_S.items()})
    found = verify(path, 0.02, 2, opener(worse), Silent())
    assert not found.passed
    assert all(v.loss > 0.02 for v in found.entries)
    assert found.entries[-1].slowdown == pytest.approx(4.0 / 4.2)
    assert verify(path, 100.0, 2, opener(worse), Silent(), max_slowdown=2.1).passed


def test_steps_that_got_slower_close_the_gate_alone_and_the_verdict_names_batch_and_device(path, measurer):
    slower = SyntheticMeasurer(measurer.reference, step_s={n: 1.5 * s for n, s in STEP_S.items()})
    found = verify(path, 0.02, 2, opener(slower), Silent())
    assert found.holds_quality
    assert not found.passed
    assert found.slow
    assert any("Times do NOT hold: a batch of 2 on synthetic" in said for said in verdicts(found))
    assert verify(path, 0.02, 2, opener(slower), Silent(), max_slowdown=1.5).passed


def test_times_of_another_device_are_not_judged_and_that_is_said(path, measurer):
    slower = {n: 9 * s for n, s in STEP_S.items()}
    found = verify(
        path, 0.02, 2, opener(SyntheticMeasurer(measurer.reference, step_s=slower, device="other")), Silent()
    )
    assert found.passed
    assert len(found.unjudged) == 2
    assert "on synthetic, and this is other" in verdicts(found)[-1]


def test_a_time_too_rough_to_be_judged_is_named_and_does_not_close_the_gate(path, measurer):
    [entry, *_] = verify(path, 0.02, 1, opener(measurer), Silent()).entries
    seconds = tuple(entry.entry.latency_s * factor for factor in (0.9, 1.3, 2.5))
    rough = replace(entry, time=AllocationTime(seconds, seconds, 0.0))
    assert rough.time_verdict(1.25) == "unsure"
    found = Verification(LookupTable.read(path), (rough,), 0.02, "synthetic", {}, 1.25)
    assert found.passed
    assert f"The time of {entry.entry.allocation} could not be judged: 1.30" in verdicts(found)[-1]


def test_only_the_chosen_entries_are_made_again_on_the_confirmation_images(path, measurer):
    measurer.made.clear()
    found = verify(path, 0.02, 2, opener(measurer), Silent())
    assert {job.allocation for job in measurer.made} == {v.entry.allocation for v in found.entries}
    assert {job.chunk.set_name for job in measurer.made} == {"confirm"}


def test_other_weights_are_refused_by_name(path, measurer):
    table = json.loads(path.read_text())
    table["provenance"]["key"]["weights.XL"] = "0" * 64
    path.write_text(json.dumps(table))
    with pytest.raises(ConfigError, match=r"these facts differ:\n  weights\.XL: 0{64} there"):
        verify(path, 0.02, 2, opener(measurer), Silent())
    with pytest.raises(ConfigError, match=r"weights\.XL"):
        recalibrate(path, "here", opener(measurer), Silent())


def test_another_solver_or_dtype_is_refused_with_the_reason(path, measurer):
    with pytest.raises(ConfigError, match=r"dtype: float32 there, bfloat16 now"):
        recalibrate(path, "here", opener(measurer), Silent(), settings=["workers.dtype=bfloat16"])
    with pytest.raises(ConfigError, match=r"space\.solver: the pipeline's own there, PNDMScheduler now"):
        recalibrate(path, "here", opener(measurer), Silent(), settings=["space.solver=PNDMScheduler"])


def test_a_table_that_moved_needs_its_study(path, measurer, tiny_family, tmp_path):
    moved = tmp_path / "far" / "away" / "lookup.json"
    moved.parent.mkdir(parents=True)
    moved.write_bytes(path.read_bytes())
    study = tiny_family / "study.yaml"
    assert verify(moved, 0.02, 2, opener(measurer), Silent(), study, ["confirm.max_entries=20"]).passed
    table = json.loads(path.read_text())
    del table["provenance"]["study"]
    moved.write_text(json.dumps(table))
    with pytest.raises(ConfigError, match="does not say which study made it"):
        verify(moved, 0.02, 2, opener(measurer), Silent())


def test_another_device_gets_its_own_times_and_front_and_keeps_the_qualities(path, measurer):
    before = LookupTable.read(path)
    steps = {"S": 0.1, "B": 0.11, "XL": 0.12}
    gpu = SyntheticMeasurer(measurer.reference, step_s=steps, device="another device")
    after = recalibrate(path, "here", opener(gpu), Silent())
    assert [p.id for p in after.operating_points] == ["here", "default"]
    assert [p.device for p in after.operating_points] == ["another device", "synthetic"]
    qualities = {c.allocation: c.quality for c in (*before.entries, *before.candidates)}
    assert {c.allocation: c.quality for c in (*after.entries, *after.candidates)} == qualities
    for entry in after.entries:
        assert entry.latency_s == pytest.approx(latency_s(entry.allocation, steps))
        assert entry.latency_by_point["default"].latency_s == pytest.approx(latency_s(entry.allocation))
    assert after.provenance["retimed_from"] == [{"device": "synthetic", "point": "default"}]
    assert after.pick(at="default") == after.entries[-1]


def test_what_leaves_the_front_on_one_device_comes_back_on_the_other(path, measurer):
    before = LookupTable.read(path)
    steps = {"S": 0.1, "B": 3.0, "XL": 1.0}
    after = recalibrate(path, "here", opener(SyntheticMeasurer(measurer.reference, step_s=steps)), Silent())
    confirmed = [*after.entries, *(c for c in after.candidates if c.confirmed)]
    front = pareto_front([(latency_s(c.allocation, steps), c.quality) for c in confirmed])
    assert [e.allocation for e in after.entries] == [confirmed[i].allocation for i in front]
    assert len(after.entries) < len(before.entries)
    back = SyntheticMeasurer(measurer.reference)
    path.write_text(json.dumps(after.to_json()))
    again = recalibrate(path, "back", opener(back), Silent())
    assert [e.allocation for e in again.entries] == [e.allocation for e in before.entries]


def test_an_operating_point_is_not_taken_twice(path, measurer):
    with pytest.raises(ConfigError, match="has an operating point 'default' already"):
        recalibrate(path, "default", opener(measurer), Silent())


def test_spread_takes_the_ends_and_no_entry_twice():
    entries = list(range(10))
    assert spread(entries, 3) == [0, 4, 9]
    assert spread(entries, 50) == entries
    assert spread(entries[:1], 3) == [0]


def test_further_operating_points_stand_beside_and_are_measured_once(run, measurer):
    settings = ["latency.points=[{id: one, batch_size: 1}]"]
    table = run(measurer, *settings).table
    assert [(p.id, p.batch_size) for p in table.operating_points] == [("default", 2), ("one", 2)]
    for candidate in (*table.entries, *table.candidates):
        assert candidate.latency_by_point["one"].latency_s == pytest.approx(latency_s(candidate.allocation))
        assert candidate.extra_weights_mb == 10.0 * (len(candidate.allocation.steps) - 1)
    assert run(measurer, *settings).n_new == 0


def test_ids_of_operating_points_differ(tiny_family):
    with pytest.raises(ConfigError, match=r"latency\.points: got the ids default, a, a, expected each only once"):
        load_study(tiny_family / "study.yaml", ["latency.points=[{id: a}, {id: a}]"])
