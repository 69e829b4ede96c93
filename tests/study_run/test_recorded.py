"""A study of recorded measurements runs from end to end on its table alone, and says that nothing was measured."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from children import HANG_S

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.ledger import read_events
from tstitch_search.measure.recorded.measurer import RecordedMeasurer
from tstitch_search.measurement import Calibration, Chunk, MakeChunk
from tstitch_search.pareto import pareto_front
from tstitch_search.progress import Silent
from tstitch_search.report.plots.pareto import pareto
from tstitch_search.report.reading import read_record
from tstitch_search.study_run import Result, run_study
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.tasks.plan import plan_study
from tstitch_search.tasks.tables.from_table import study_from_table

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "studies" / "recorded"
PAPER = json.loads((ROOT / "tests" / "golden" / "tstitch_paper.json").read_text())
STUDY = """\
name: past
search_space: {name: past, denoisers: [{name: S}, {name: XL}], n_steps: 10, grid: 1}
proxy_set: {chunk_size: 20}
measure: {recorded: table.csv, source: a notebook, device: some GPU}
quality: {n_images: 40}
confirm: {n_images: 60}
latency: {batch_size: 4, n_repeats: 3}
workers: {pool: inline}
"""
ROWS = {
    "S*10": (1.2, 40.0),
    "S*6-XL*4": (4.7, 14.0),
    "S*4-XL*6": (6.6, 9.0),
    "S*2-XL*8": (8.3, 9.4),
    "XL*10": (10, 9.2),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of 11 allocations of which 5 are recorded."""
    (tmp_path / "study.yaml").write_text(STUDY)
    write_table(tmp_path, ROWS)
    return tmp_path


def write_table(folder: Path, rows: dict[str, tuple[float, float]]) -> None:
    lines = [f"{allocation},{latency_s},{fid}" for allocation, (latency_s, fid) in rows.items()]
    (folder / "table.csv").write_text("\n".join(["allocation,latency_s,fid", *lines, ""]))


@pytest.fixture
def run(folder: Path) -> Callable[..., Result]:
    def run_with(*overrides: str) -> Result:
        return run_study(load_study(folder / "study.yaml", overrides), folder / "run", open_pool, Silent())

    return run_with


def test_the_table_holds_the_recorded_front_and_its_numbers(run: Callable[..., Result]) -> None:
    table = run().table
    entries = {str(e.allocation): (e.latency_s, pytest.approx(e.quality, rel=1e-6)) for e in table.entries}
    assert entries == {name: ROWS[name] for name in ("S*10", "S*6-XL*4", "S*4-XL*6")}
    assert {str(c.allocation) for c in (*table.entries, *table.candidates)} == set(ROWS)
    assert table.operating_points[0].device == "some GPU"


def test_without_recorded_errors_and_memory_nothing_is_claimed_of_them(run: Callable[..., Result]) -> None:
    table = run().table
    measured = [*table.entries, *table.candidates]
    assert not any(e.lossless for e in table.entries)
    assert {(e.quality_se, e.peak_memory_mb, e.extra_weights_mb) for e in measured} == {(0.0, None, None)}


def test_table_and_report_say_that_the_numbers_were_recorded_and_where(run: Callable[..., Result]) -> None:
    outcome = run()
    recorded = outcome.table.provenance["recorded"]
    assert recorded["table"] == "table.csv"
    assert recorded["source"] == "a notebook"
    assert len(recorded["sha256"]) == 64
    page = outcome.report.read_text()
    assert "Nothing was measured by this run" in page
    assert "a notebook" in page
    assert outcome.table.provenance["headline"].startswith("From recorded numbers, not measured now: ")


def test_a_finished_run_measures_nothing_and_another_table_is_another_study(
    run: Callable[..., Result], folder: Path
) -> None:
    assert run().n_new > 0
    assert run().n_new == 0
    write_table(folder, ROWS | {"S*10": (1.2, 39.0)})
    with pytest.raises(ConfigError, match=r"measure\.recorded: \w{64} there, \w{64} now"):
        run()


def test_the_run_folder_knows_its_table_by_a_path_of_its_own(run: Callable[..., Result], folder: Path) -> None:
    again = load_study(run().folder / "study.resolved.yaml")
    before = resolve_facts(load_study(folder / "study.yaml")).key
    assert resolve_facts(again).key == before


def test_device_seconds_are_what_the_recorded_times_add_up_to(run: Callable[..., Result]) -> None:
    events = read_events(run("search.racing=false").folder / "ledger.jsonl")
    spent = {(e["allocation"], e["first"], e["set"]): e["seconds"] for e in events if e["event"] == "chunk"}
    assert spent["S*4-XL*6", 20, "search"] == 6.6 * 20 / 4


def test_noise_makes_errors_of_its_size(run: Callable[..., Result]) -> None:
    table = run("measure.noise=5%", "quality.n_images=1000", "confirm.n_images=4000", "proxy_set.chunk_size=1000").table
    assert table.provenance["headline"].startswith("From recorded numbers and simulated noise, not measured now: ")
    shares = [e.quality_se / e.quality for e in table.entries]
    assert shares == pytest.approx([0.025] * len(shares), rel=0.6)  # the error of an error from 20 blocks is 16 %


def test_rivals_are_drawn_beside_the_front_with_their_source(run: Callable[..., Result], folder: Path) -> None:
    (folder / "others.csv").write_text('name,latency_s,fid,source\nDistilled,2.5,11,"somebody, 2025"\n')
    outcome = run("rivals=others.csv")
    assert outcome.table.provenance["rivals"] == [
        {"name": "Distilled", "latency_s": 2.5, "fid": 11.0, "source": "somebody, 2025"}
    ]
    (cross,) = [trace for trace in pareto(read_record(outcome.folder)).data if trace.marker.symbol == "x"]
    assert (list(cross.x), list(cross.y), list(cross.text)) == ([2.5], [11.0], ["Distilled"])
    assert "somebody, 2025" in outcome.report.read_text()
    assert load_study(outcome.folder / "study.resolved.yaml").rivals[0].name == "Distilled"
    assert "what others published" not in run("rivals=null").report.read_text()


def test_recorded_numbers_are_not_measured_again(run: Callable[..., Result]) -> None:
    outcome = run()
    path = outcome.folder / "lookup.json"
    with pytest.raises(ConfigError, match="holds recorded numbers, which cannot be measured again"):
        study_from_table(path, outcome.table, None, ())


def test_control_variates_work_on_simulated_images(run: Callable[..., Result]) -> None:
    """With noise that allocations share and 2,000 images of the denoisers alone; without those, FID is off by 20 %."""
    noise = ["measure.noise=10%", "measure.noise_correlation=0.95", "quality.n_images=100", "confirm.n_images=20"]
    outcome = run(*noise, "quality.control_images=2000", "proxy_set.chunk_size=100")
    trials = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "trial"]
    errors = {e["allocation"]: abs(e["quality"] / ROWS[e["allocation"]][1] - 1) for e in trials}
    assert errors.keys() == ROWS.keys()
    assert max(errors.values()) < 0.1


def test_missing_denoiser_is_named_by_plan_already(folder: Path) -> None:
    write_table(folder, {name: row for name, row in ROWS.items() if name != "S*10"})
    with pytest.raises(ConfigError, match=r"lacks S\*10, which every study measures"):
        plan_study(load_study(folder / "study.yaml"), folder / "run", None, Silent())


def test_baselines_that_were_not_recorded_are_left_out(run: Callable[..., Result], folder: Path) -> None:
    write_table(folder, {name: row for name, row in ROWS.items() if name != "S*4-XL*6"})
    table = run("focus.latency_s=[0.1, 20]").table
    assert {str(c.allocation) for c in (*table.entries, *table.candidates)} == set(ROWS) - {"S*4-XL*6"}


def test_recorded_rows_of_fewer_steps_are_baselines_known_by_name(run: Callable[..., Result], folder: Path) -> None:
    write_table(folder, ROWS | {"XL*5": (5.2, 9.1)})
    outcome = run()
    front = {str(e.allocation): e for e in outcome.table.entries}
    assert list(front) == ["S*10", "S*6-XL*4", "XL*5", "S*4-XL*6"]
    assert front["XL*5"].latency_s_predicted == pytest.approx(5.2, rel=0.05)
    assert outcome.table.provenance["baselines"]["XL*5"] == "XL, 5 steps"
    assert "XL, 5 steps" in outcome.report.read_text()
    assert "1.9x faster: XL*5, FID" in outcome.table.provenance["headline"]


def test_times_that_no_steps_explain_are_refused_by_plan_already(folder: Path) -> None:
    write_table(folder, ROWS | {"S*4-XL*6": (0.1, 9.0)})
    with pytest.raises(ConfigError, match="step times do not explain"):
        plan_study(load_study(folder / "study.yaml"), folder / "run", None, Silent())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("quality.objective=inception_score", "a record knows FID only"),
        ("quality.metrics=[kid]", "a record knows FID only, the study asks for fid, kid"),
        ("latency.points=[{id: other, batch_size: 1}]", "one operating point"),
        ("latency.from=other.json", "one operating point"),
        ("quality.reference=zoo:fashion", "expected none: it comes with measure.recorded"),
        ("measure.recorded=null", "source: got 'a notebook' without recorded"),
        ("measure={}", "pipeline is missing"),
    ],
)
def test_what_a_record_cannot_answer_is_refused(folder: Path, override: str, expected: str) -> None:
    reference = ["quality.reference=zoo:fashion"] if override == "measure={}" else []
    with pytest.raises(ConfigError) as caught:
        resolve_facts(load_study(folder / "study.yaml", [override, *reference]))
    assert expected in caught.value.message


def test_an_allocation_that_was_not_recorded_costs_itself_only(folder: Path) -> None:
    measurer = RecordedMeasurer(load_study(folder / "study.yaml"))
    measurer.load()
    with pytest.raises(MeasurementError, match=r"S\*5-XL\*5 was not recorded"):
        measurer.do(MakeChunk(Allocation.parse("S*5-XL*5"), Chunk("search", 0, 20)))


def test_the_features_of_real_images_are_measured_as_they_are(run: Callable[..., Result], folder: Path) -> None:
    """40 of 100 images for the search, 60 for the confirmation; a shift of all d = 4 features adds 4 shift^2."""
    rng = np.random.default_rng(0)
    (folder / "kept").mkdir()
    real = rng.normal(size=(500, 4))
    np.savez(folder / "kept" / "reference.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False), features=real)
    noise = rng.normal(size=(100, 4))
    for allocation, shift in (("S*10", 3.0), ("S*6-XL*4", 2.0), ("S*4-XL*6", 1.0), ("S*2-XL*8", 0.9), ("XL*10", 0.8)):
        np.save(folder / "kept" / f"{Allocation.parse(allocation).file_name}.npy", noise + shift)
    table = run("measure.features=kept", "quality.metrics=[kid, recall]").table
    assert [str(e.allocation) for e in table.entries] == list(ROWS)
    assert table.entries[0].quality == pytest.approx(4 * 3.0**2, rel=0.15)
    assert set(table.entries[0].metrics) == {"kid", "recall"}
    assert table.entries[0].quality_difference_se < table.entries[0].quality_se  # the images are paired


def shipped_rows(name: str) -> dict[str, tuple[float, float]]:
    """(seconds, FID) by allocation, read independently of the package."""
    with (RECORDED / f"{name}.csv").open() as stream:
        return {r["allocation"]: (float(r["latency_s"]), float(r["fid"])) for r in csv.DictReader(stream)}


@pytest.mark.parametrize(("name", "large"), [("dit_s_xl", "XL"), ("ldm", "L")])
def test_shipped_records_hold_the_printed_numbers(name: str, large: str) -> None:
    """Against the copy of tables 9 and 1 that other tests use."""
    printed = PAPER[name]
    steps = [round(100 * r) for r in printed["small_fraction"]]
    names = [str(Allocation.from_steps(("S", large), (n, 100 - n))) for n in steps]
    assert shipped_rows(name) == dict(zip(names, zip(printed["time_s"], printed["fid"], strict=True), strict=True))


@pytest.mark.parametrize("name", ["dit_s_uvit_h", "lcm_sdxl_2_steps"])
def test_a_shipped_record_is_answered_by_its_own_front(name: str, tmp_path: Path) -> None:
    rows = shipped_rows(name)
    table = run_study(load_study(RECORDED / f"{name}.yaml"), tmp_path, open_pool, Silent()).table
    names = list(rows)
    front = {names[i]: rows[names[i]] for i in pareto_front(list(rows.values()))}
    assert {str(e.allocation): (e.latency_s, pytest.approx(e.quality, rel=1e-6)) for e in table.entries} == front


def test_calibration_of_a_record_predicts_it(folder: Path) -> None:
    calibration = resolve_facts(load_study(folder / "study.yaml")).record.calibration
    assert isinstance(calibration, Calibration)
    assert calibration.step_s == pytest.approx({"S": 0.12, "XL": 1.0}, rel=0.02)


def test_a_run_imports_no_torch(tmp_path: Path) -> None:
    study = RECORDED / "dit_s_xl.yaml"
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from tstitch_search.cli import app\n"
        f"said = CliRunner().invoke(app, ['run', r'{study}', '-o', r'{tmp_path / 'run'}'])\n"
        "assert said.exit_code == 0, said.exception\n"
        "print([m for m in ('torch', 'diffusers', 'ray', 'torch_fidelity') if m in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_S)
    assert said.stdout.strip() == "[]", said.stdout + said.stderr
    entries = json.loads((tmp_path / "run" / "lookup.json").read_text())["entries"]
    assert entries[-1]["allocation"] == "S*40-XL*60"
    assert entries[-1]["fid"] == pytest.approx(8.95, rel=1e-6)
