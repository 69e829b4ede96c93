"""The lookup table: it survives the disk, answers budgets honestly, and refuses what is not one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError, EnvironmentProblem, QualityGateError
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable, Objective, OperatingPoint, PointTime, build_table

GOLDEN = Path(__file__).parent / "golden" / "lookup_v1.json"
CPU = OperatingPoint("cpu-16", "2 cores", 16)


def entry(allocation: str, latency_s: float, fid: float, n_images: int = 500) -> LookupEntry:
    return LookupEntry(
        allocation=Allocation.parse(allocation),
        latency_s=latency_s,
        latency_s_predicted=latency_s,
        latency_s_se=0.01,
        quality=fid,
        quality_se=0.5,
        n_images=n_images,
        peak_memory_mb=None,
    )


def table(*entries: LookupEntry) -> LookupTable:
    return build_table("study", [CPU], entries, [], {})


numbers = st.floats(-1e6, 1e6)
positive = st.floats(0, 1e6)
allocations = st.lists(st.tuples(st.sampled_from(["S", "B", "XL+deepcache3"]), st.integers(1, 50)), min_size=1).map(
    Allocation.of
)
measurements = {
    "allocation": allocations,
    "latency_s_predicted": positive,
    "quality": numbers,
    "quality_se": positive,
    "n_images": st.integers(1, 10**9),
    "peak_memory_mb": st.none() | positive,
    "quality_difference": st.none() | numbers,
    "quality_difference_se": st.none() | positive,
    "lossless": st.booleans(),
}
entries = st.builds(LookupEntry, latency_s=positive, latency_s_se=positive, **measurements)
candidates = st.builds(Candidate, latency_s=st.none() | positive, latency_s_se=st.none() | positive, **measurements)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
points = st.builds(OperatingPoint, st.text(), st.text(), st.integers(1, 512))
tables = st.builds(
    build_table,
    study=st.text(),
    operating_points=st.lists(
        st.builds(OperatingPoint, st.text(), st.text(), st.integers(1, 512)), min_size=1, max_size=2
    ),
    objective=st.builds(Objective, st.sampled_from(["fid", "clip_score"]), st.text(), st.booleans()),
    confirmed=st.lists(entries, min_size=1, max_size=6),
    others=st.lists(candidates, max_size=4),
    provenance=st.dictionaries(st.text(), json_values, max_size=3),
)


@given(tables)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, table: LookupTable) -> None:
    path = tmp_path_factory.mktemp("table") / "lookup.json"
    table.write(path)
    assert LookupTable.read(path) == table
    assert LookupTable.read(str(path)) == table
    assert [p.name for p in path.parent.iterdir()] == ["lookup.json"]


def test_a_profile_is_a_field_of_its_own_where_there_is_one_and_has_to_agree(tmp_path: Path) -> None:
    made = table(entry("XL-fast*4@lightning", 1, 9), entry("XL*20", 5, 8))
    made.write(tmp_path / "lookup.json")
    document = json.loads((tmp_path / "lookup.json").read_text())
    assert [e.get("profile") for e in document["entries"]] == ["lightning", None]
    assert LookupTable.read(tmp_path / "lookup.json") == made
    document["entries"][0]["profile"] = "hyper"
    (tmp_path / "lookup.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="profile: expected lightning for XL-fast"):
        LookupTable.read(tmp_path / "lookup.json")


@given(tables, st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_budget_never_gives_a_worse_entry(table: LookupTable, one: float, other: float) -> None:
    least = table.entries[0].latency_s
    small, large = (table.pick(budget_s=s) for s in sorted((max(one, least), max(other, least))))
    assert table.objective.loss(large.quality) <= table.objective.loss(small.quality)
    assert small.latency_s <= max(min(one, other), least)


@given(tables, numbers, numbers)
def test_a_stricter_limit_is_never_faster(table: LookupTable, one: float, other: float) -> None:
    loss, best = table.objective.loss, table.entries[-1].quality
    strict, loose = sorted((max((one, best), key=loss), max((other, best), key=loss)), key=loss)
    assert table.pick(limit=strict).latency_s >= table.pick(limit=loose).latency_s
    assert loss(table.pick(limit=strict).quality) <= loss(strict)


@given(tables, st.none() | positive, st.none() | numbers, st.none() | positive)
def test_a_pick_is_what_looking_at_every_entry_finds(
    table: LookupTable, budget_s: float | None, limit: float | None, memory_mb: float | None
) -> None:
    loss = table.objective.loss
    fitting = [
        e
        for e in table.entries
        if (budget_s is None or e.latency_s <= budget_s)
        and (limit is None or loss(e.quality) <= loss(limit))
        and (memory_mb is None or (e.peak_memory_mb is not None and e.peak_memory_mb <= memory_mb))
    ]
    if not fitting:
        with pytest.raises(QualityGateError):
            table.pick(budget_s, limit=limit, max_memory_mb=memory_mb)
        return
    expected = fitting[0] if budget_s is None and limit is not None else fitting[-1]
    for _ in range(2):  # asked again, it is prepared
        assert table.pick(budget_s, limit=limit, max_memory_mb=memory_mb) == expected


def test_max_fid_of_a_table_about_something_else_is_refused() -> None:
    about_clip = LookupTable("s", (CPU,), THREE.entries[:1], (), {}, Objective("clip_score", "CLIP score", True))
    with pytest.raises(ConfigError, match="this table is about CLIP score, not FID"):
        about_clip.pick(max_fid=3)
    with pytest.raises(QualityGateError, match="no entry has CLIP score at least 31; the best is"):
        about_clip.pick(limit=31)


THREE = table(entry("S*20", 0.1, 30), entry("S*10-XL*10", 0.5, 20), entry("XL*20", 0.9, 10))


@pytest.mark.parametrize(
    ("budget_s", "max_fid", "expected"),
    [
        (None, None, "XL*20"),
        (0.5, None, "S*10-XL*10"),
        (0.89, None, "S*10-XL*10"),
        (None, 25, "S*10-XL*10"),
        (None, 30, "S*20"),
        (9, 25, "XL*20"),
        (0.6, 30, "S*10-XL*10"),
    ],
)
def test_pick_answers_with_a_measured_entry(budget_s: float | None, max_fid: float | None, expected: str) -> None:
    assert str(THREE.pick(budget_s, max_fid).allocation) == expected


def test_a_budget_below_the_fastest_says_what_is_possible() -> None:
    with pytest.raises(QualityGateError, match=r"at most 0\.05 s; the fastest is S\*20 with 0\.1 s") as refused:
        THREE.pick(budget_s=0.05)
    assert refused.value.hint == "a budget of at least 0.1 s"


def test_an_fid_below_the_best_says_what_is_possible() -> None:
    with pytest.raises(QualityGateError, match=r"at most 9; the best is XL\*20 .* FID 10 at n = 500"):
        THREE.pick(max_fid=9)


def test_two_limits_that_exclude_each_other_name_the_nearest_on_both_sides() -> None:
    with pytest.raises(QualityGateError, match=r"in that time is S\*20 .* as good is S\*10-XL\*10"):
        THREE.pick(budget_s=0.2, max_fid=25)


@given(entries)
def test_the_number_in_a_refusal_is_enough(only: LookupEntry) -> None:
    with pytest.raises(QualityGateError) as refused:
        table(only).pick(max_fid=only.quality - 1)
    assert table(only).pick(max_fid=float(refused.value.hint.rpartition(" ")[2])) == only


def test_a_dominated_confirmation_becomes_a_candidate() -> None:
    slow_and_bad = entry("S*4-XL*16", 0.8, 25)
    split = table(entry("XL*20", 0.9, 10), slow_and_bad, entry("S*20", 0.1, 20))
    assert [str(e.allocation) for e in split.entries] == ["S*20", "XL*20"]
    assert [str(c.allocation) for c in split.candidates] == ["S*4-XL*16"]
    assert split.candidates[0].latency_s == 0.8


def test_fids_at_different_n_share_no_front() -> None:
    split = table(entry("XL*20", 0.9, 10), entry("S*20", 0.1, 20, n_images=100))
    assert [str(e.allocation) for e in split.entries] == ["XL*20"]
    assert [c.n_images for c in split.candidates] == [100]
    with pytest.raises(ConfigError, match="n_images"):
        LookupTable("study", (CPU,), (entry("S*20", 0.1, 20, n_images=100), entry("XL*20", 0.9, 10)), (), {})


def test_the_golden_file_reads_and_is_written_byte_for_byte(tmp_path: Path) -> None:
    golden = LookupTable.read(GOLDEN)
    golden.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == GOLDEN.read_bytes()
    assert [str(e.allocation) for e in golden.entries] == ["S*20", "S*8-XL*12", "XL*20"]
    assert golden.candidates[0].latency_s is None


def test_the_oldest_table_of_this_version_still_reads() -> None:
    oldest = LookupTable.read(GOLDEN.with_name("lookup_v1_first.json"))
    assert [str(e.allocation) for e in oldest.entries] == ["S*20", "S*8-XL*12", "XL*20"]
    assert oldest.objective == Objective("fid", "FID", higher_is_better=False)


def test_a_table_with_only_the_fields_other_tools_rely_on_is_readable(tmp_path: Path) -> None:
    data = json.loads(GOLDEN.read_bytes())
    for measured in data["entries"] + data["candidates"]:
        for later in ("fid_difference", "fid_difference_se", "lossless", "guard_lost", "metrics"):
            del measured[later]
        measured["unknown to this version"] = 1
    path = tmp_path / "lookup.json"
    path.write_text(json.dumps(data))
    assert LookupTable.read(path).pick().quality_difference is None


def test_a_missing_file_and_an_unwritable_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read"):
        LookupTable.read(tmp_path / "nowhere.json")
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        THREE.write(tmp_path / "file" / "lookup.json")


def test_nothing_outside_the_standard_library_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); import tstitch_search.lookup;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "{'tstitch_search'}"


def at_two_points() -> LookupTable:
    """On the GPU the slow candidate is faster than an entry, and needs less memory."""

    def with_gpu(measured: LookupEntry, latency_s: float, memory_mb: float) -> LookupEntry:
        on_gpu = {"gpu": PointTime(latency_s=latency_s, latency_s_se=0.0, peak_memory_mb=memory_mb)}
        return replace(measured, latency_by_point=on_gpu, peak_memory_mb=10 * memory_mb, confirmed=True)

    confirmed = [
        with_gpu(replace(entry("S*20", 0.1, 30), quality_difference=20.0), 0.01, 1),
        with_gpu(replace(entry("XL*20", 0.9, 10), quality_difference=0.0), 0.03, 9),
        with_gpu(replace(entry("S*4-XL*16", 0.95, 10.5), quality_difference=0.5), 0.02, 5),
    ]
    return build_table("study", [CPU, OperatingPoint("gpu", "a GPU", 1)], confirmed, [], {})


def test_pick_at_another_operating_point_goes_by_its_times_and_may_find_a_candidate() -> None:
    table = at_two_points()
    assert [str(e.allocation) for e in table.entries] == ["S*20", "XL*20"]
    assert str(table.pick(budget_s=0.02, at="gpu").allocation) == "S*4-XL*16"
    assert str(table.pick(budget_s=0.5, at="cpu-16").allocation) == "S*20"
    with pytest.raises(ConfigError, match="unknown operating point 'tpu', expected one of cpu-16, gpu"):
        table.pick(at="tpu")


def test_the_front_of_a_point_is_what_pick_may_answer_with() -> None:
    table = at_two_points()
    assert table.front() == table.entries
    assert [str(c.allocation) for c in table.front(at="gpu")] == ["S*20", "S*4-XL*16", "XL*20"]
    assert table.front(at_batch=1) == table.front(at="gpu")


def test_a_point_may_be_named_by_its_batch_size_if_only_one_has_it() -> None:
    table = at_two_points()
    assert table.pick(budget_s=0.02, at_batch=1) == table.pick(budget_s=0.02, at="gpu")
    assert table.option_of(table.pick(at_batch=1), at_batch=1).latency_s == 0.03
    known = "found cpu-16 with batches of 16, gpu with batches of 1"
    with pytest.raises(ConfigError, match=f"no operating point with batches of 2, {known}"):
        table.pick(at_batch=2)
    with pytest.raises(ConfigError, match="no operating point with batches of 1"):
        table.pick(at="cpu-16", at_batch=1)
    twice = replace(table, operating_points=(*table.operating_points, OperatingPoint("tpu", "a TPU", 1)))
    with pytest.raises(ConfigError, match="more than one operating point with batches of 1"):
        twice.pick(at_batch=1)


def test_memory_limits_what_is_picked_and_a_refusal_says_the_least() -> None:
    table = at_two_points()
    assert str(table.pick(max_memory_mb=20).allocation) == "S*20"
    assert str(table.pick(max_memory_mb=5, at="gpu").allocation) == "S*4-XL*16"
    with pytest.raises(QualityGateError, match=r"no entry needs at most 0\.5 MB; the least is 1 MB"):
        table.pick(max_memory_mb=0.5, at="gpu")
    with pytest.raises(QualityGateError, match="their memory was not measured"):
        THREE.pick(max_memory_mb=5)


def test_a_loss_is_a_share_of_the_largest_denoisers_own_quality() -> None:
    table = at_two_points()
    assert str(table.pick(max_fid_loss=0.05, at="gpu").allocation) == "S*4-XL*16"
    assert str(table.pick(max_fid_loss=0.04, at="gpu").allocation) == "XL*20"
    assert str(table.pick(max_fid_loss=2.0).allocation) == "S*20"
    with pytest.raises(ConfigError, match="does not say how good the anchor is"):
        THREE.pick(max_fid_loss=0.1)


def test_the_lossless_pick_is_the_fastest_that_was_shown_and_loses_no_guard() -> None:
    entries = tuple(
        replace(e, lossless=i > 0, guard_lost=i == 1) for i, e in enumerate(THREE.entries)
    )  # the second is lossless, but loses the guard
    table = replace(THREE, entries=entries)
    assert table.pick(lossless=True) == entries[2]
    with pytest.raises(QualityGateError, match="shown to be lossless; the fastest that is"):
        table.pick(budget_s=entries[0].latency_s, lossless=True)


def test_a_table_shows_itself_in_a_notebook_with_every_entry_escaped() -> None:
    sample = LookupTable.read(Path(__file__).parent.parent / "reports" / "quickstart-sample" / "lookup.json")
    shown = replace(sample, study="<b>mine</b>")._repr_html_()
    assert all(f"<td>{entry.allocation}</td>" in shown for entry in sample.entries)
    assert "&lt;b&gt;mine&lt;/b&gt;" in shown
    assert f"n = {sample.entries[0].n_images}" in shown
