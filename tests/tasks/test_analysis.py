"""`analyze`: sub-studies through the same machinery, that leave the study's own run as it was."""

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from study_run.synthetic import SyntheticMeasurer

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.ledger import read_events
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Answer, Calibrate, Chunk, Job, chunks_of
from tstitch_search.progress import Silent
from tstitch_search.quality.reference import load_reference
from tstitch_search.report.analysis_tables import COLUMNS, read_tables
from tstitch_search.study_run import Result, run_study
from tstitch_search.tasks.analysis import Analyzed, analyze_study, price_analysis
from tstitch_search.tasks.analysis.growing import evenly, prefixes
from tstitch_search.tasks.analysis.variants import Variant, Wanted, sweep, variants_of
from tstitch_search.workers.inline import InlinePool

# diffusers' Heun, which numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
ROOT = Path(__file__).parents[2]
MEASURED = "setting,allocation,n_steps,small_share,latency_s_predicted,metric,n_images,quality,quality_se,difference,"
HEADERS = {name: MEASURED + "difference_se" for name in COLUMNS} | {
    "similarity": "first,second,step,cosine,cosine_sd,n_images",
    "frequency": "denoiser,of,step,band_from,band_to,energy,energy_sd,n_images",
}


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def study(tiny_family: Path) -> Study:
    return load_study(tiny_family / "study.yaml", ["guidance_scale=2"])


def analyzed(study: Study, path: Path, wanted: Wanted, measurer: SyntheticMeasurer | None = None) -> Analyzed:
    """By real models, or by the synthetic measurer, whatever was changed in the study."""

    def open_pool(changed: Study) -> InlinePool:
        return InlinePool(lambda: measurer) if measurer else InlinePool(partial(StudyMeasurer, changed, 1))

    return analyze_study(study, path, wanted, open_pool, Listening())


# The variants


@pytest.mark.parametrize(("n_steps", "n_allocations"), [(20, 6), (20, 11), (7, 4), (4, 9), (1, 2), (100, 2)])
def test_a_sweep_goes_from_the_largest_alone_to_the_smallest_alone_once(n_steps: int, n_allocations: int) -> None:
    found = sweep("S", "XL", n_steps, n_allocations)
    assert [str(found[0]), str(found[-1])] == [f"XL*{n_steps}", f"S*{n_steps}"]
    small = [a.steps.get("S", 0) for a in found]
    assert small == sorted(set(small))
    assert len(found) == min(n_allocations, n_steps + 1)
    assert {a.n_steps for a in found} == {n_steps}


def test_what_needs_no_other_key_is_one_run_and_every_other_setting_is_its_own(study: Study) -> None:
    found = variants_of(study, Wanted(n_allocations=3, solvers=("DDPMScheduler",), guidance=(1.0, 2.0, 4.0)))
    assert [v.name for v in found] == ["as_it_is", "solver_DDPMScheduler", "guidance_1", "guidance_4"]
    assert found[0].probes == ("similarity", "frequency")
    assert found[1].study.space.solver == "DDPMScheduler"
    assert [v.study.config.guidance_scale for v in found] == [2, 2, 1, 4]
    own = {(g.analysis, g.setting) for g in found[0].groups}
    assert {("solvers", "DDIMScheduler"), ("guidance", "2"), ("steps", "4"), ("members", "B")} <= own


def test_every_group_begins_with_what_it_is_compared_with(study: Study) -> None:
    for variant in variants_of(study, Wanted()):
        for group in variant.groups:
            assert set(group.allocations[0].steps) == {"XL"}


def test_fewer_steps_are_those_that_stitching_leaves_to_the_largest(study: Study) -> None:
    groups = variants_of(study, Wanted(names=("step-reduction",), n_allocations=3))[0].groups
    texts = [list(map(str, group.allocations)) for group in groups]
    assert texts == [["XL*4", "S*2-XL*2", "S*4"], ["XL*4", "XL*2"]]


def test_only_what_is_asked_for_is_measured(study: Study) -> None:
    assert variants_of(study, Wanted(names=("growing-n",))) == []
    (probes,) = variants_of(study, Wanted(names=("frequency",)))
    assert (probes.groups, probes.probes) == ((), ("frequency",))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"names": ("similarities",)}, "unknown analysis 'similarities', expected one or more of similarity, freq"),
        ({"n_images": 19}, "got 19 images, expected at least 20"),
        ({"n_allocations": 1}, "expected at least the two ends"),
        ({"steps": (0,)}, "got 0 steps"),
        ({"names": ()}, "unknown analysis ''"),
        ({"solvers": ("../DDIM",)}, "got the solver '../DDIM', expected a diffusers class such as DDIMScheduler"),
        ({"guidance": (0.5,)}, "got the guidance scale 0.5"),
    ],
)
def test_what_cannot_be_analyzed_is_refused_in_words(wanted: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Wanted(**wanted)


def test_a_study_of_recorded_numbers_or_of_one_member_is_refused(tiny_family: Path) -> None:
    with pytest.raises(ConfigError, match="no members that could draw"):
        variants_of(load_study(ROOT / "studies" / "recorded" / "dit_s_xl.yaml"), Wanted())
    alone = load_study(tiny_family / "study.yaml", ["space.denoisers=[{name: S, weights: S}]"])
    with pytest.raises(ConfigError, match="one denoiser, expected two or more"):
        variants_of(alone, Wanted())


def test_the_price_counts_images_and_doubles_with_guidance(study: Study) -> None:
    found = price_analysis(study, Wanted(names=("guidance",), n_images=30, n_allocations=3, guidance=(1.0, 4.0)))
    assert found is not None
    assert found.n_images == {"as_it_is": 90, "guidance_1": 90, "guidance_4": 90}
    assert found.stages_s["guidance_4"] == found.stages_s["as_it_is"] == pytest.approx(2 * found.stages_s["guidance_1"])
    assert "270 images in 3 runs" in str(found)
    assert price_analysis(study, Wanted(names=("growing-n",))) is None


# With real models


@pytest.fixture(scope="module")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Analyzed]:
    """All analyses of the tiny family; Heun's noise has another scale than its pipeline starts from."""
    path = tmp_path_factory.mktemp("analyzed")
    return path, analyzed(study, path, WANTED)


WANTED = Wanted(
    n_images=20,
    n_allocations=2,
    steps=(2, 4),
    solvers=("HeunDiscreteScheduler",),
    guidance=(1.0,),
)


def test_every_analysis_leaves_a_table_of_stated_columns(finished: tuple[Path, Analyzed]) -> None:
    path, found = finished
    written = {file.stem: file.read_text().splitlines() for file in (path / "analysis").glob("*.csv")}
    assert set(written) == set(COLUMNS) - {"growing-n"}  # which needs a run
    assert {name: lines[0] for name, lines in written.items()} == {name: HEADERS[name] for name in written}
    assert {table.name: table for table in found.tables} == read_tables(path)


def test_probes_have_a_row_for_every_pair_or_member_and_step(finished: tuple[Path, Analyzed]) -> None:
    similarity, frequency = (rows(finished[0], name) for name in ("similarity", "frequency"))
    assert [(r["first"], r["second"], r["step"]) for r in similarity] == [
        (a, b, str(step)) for a, b in (("S", "B"), ("S", "XL"), ("B", "XL")) for step in (1, 2, 3, 4)
    ]
    assert len(frequency) == 3 * 2 * 4 * 4  # members, clean and noise, steps, bands
    assert {r["n_images"] for r in (*similarity, *frequency)} == {"20"}


def test_a_setting_that_the_models_do_not_take_is_left_out_and_the_rest_goes_on(
    finished: tuple[Path, Analyzed],
) -> None:
    assert {r["setting"] for r in rows(finished[0], "solvers")} == {"DDIMScheduler"}
    assert {r["setting"] for r in rows(finished[0], "guidance")} == {"2", "1"}


class Tiring(SyntheticMeasurer):
    """Its device is slower each time it is asked how fast it is."""

    def do(self, job: Job) -> Answer:
        if isinstance(job, Calibrate):
            self.step_s = {name: 2 * step_s for name, step_s in self.step_s.items()}
        return super().do(job)


def test_solvers_share_the_step_times_of_the_study_as_it_is(study: Study, tmp_path: Path) -> None:
    """Calibrations of their own would tell solvers apart that take the same time, on a noisy machine."""
    wanted = Wanted(names=("solvers",), n_images=20, n_allocations=2, solvers=("DDPMScheduler",))
    analyzed(study, tmp_path, wanted, Tiring(load_reference("reference.npz", study.study_path.parent)))
    found = rows(tmp_path, "solvers")
    assert {r["setting"] for r in found} == {"DDIMScheduler", "DDPMScheduler"}
    assert len({r["latency_s_predicted"] for r in found if r["allocation"] == "S*4"}) == 1


def test_the_same_images_have_the_same_value_in_every_analysis(finished: tuple[Path, Analyzed]) -> None:
    own = {"members": "S", "steps": "4", "solvers": "DDIMScheduler", "guidance": "2"}
    values = {
        (r["quality"], r["difference"])
        for name, setting in own.items()
        for r in rows(finished[0], name)
        if (r["setting"], r["allocation"]) == (setting, "S*4")
    }
    assert len(values) == 1
    other = {r["quality"] for r in rows(finished[0], "guidance") if r["allocation"] == "S*4"}
    assert len(other) == 2


def test_a_second_call_measures_nothing_and_writes_the_same(finished: tuple[Path, Analyzed], study: Study) -> None:
    path, found = finished
    before = {file: file.read_bytes() for file in (path / "analysis").glob("*.csv")}
    again = analyzed(study, path, WANTED)
    assert again.n_new == 0 < found.n_new
    assert {file: file.read_bytes() for file in before} == before


def rows(path: Path, name: str) -> list[dict[str, str]]:
    with open(path / "analysis" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


# Beside a run


@dataclass(frozen=True)
class Beside:
    """A run by the synthetic measurer, its page and ledger as they were before it was analyzed, and the analysis."""

    ran: Result
    page: str
    ledger: bytes
    found: Analyzed


@pytest.fixture(scope="module")
def beside(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    study, path = load_study(tiny_family / "study.yaml"), tmp_path_factory.mktemp("runs") / "run"
    measurer = SyntheticMeasurer(load_reference("reference.npz", tiny_family))
    ran = run_study(study, path, lambda _: InlinePool(lambda: measurer), Silent())
    page, ledger = ran.report.read_text(), (path / "ledger.jsonl").read_bytes()
    wanted = Wanted(names=("members", "steps", "growing-n"), n_images=20, n_allocations=5)
    return Beside(ran, page, ledger, analyzed(study, path, wanted, measurer))


def test_values_are_those_that_the_search_found(beside: Beside) -> None:
    path = beside.ran.folder
    trials = {e["allocation"]: e for e in read_events(path / "ledger.jsonl") if e["event"] == "trial"}
    found = rows(path, "members")
    assert len(found) == 10
    for row in found:
        trial = trials[row["allocation"]]
        assert float(row["quality"]) == pytest.approx(trial["quality"], rel=1e-5)
        assert float(row["quality_se"]) == pytest.approx(trial["quality_se"], rel=1e-5)
        assert float(row["latency_s_predicted"]) == pytest.approx(trial["latency_s"], rel=1e-5)


def test_the_run_stays_as_it_was_and_its_report_gains_a_section(beside: Beside) -> None:
    assert (beside.ran.folder / "ledger.jsonl").read_bytes() == beside.ledger
    assert beside.found.report == beside.ran.report
    assert "Analysis</h2>" not in beside.page
    assert "Analysis</h2>" in beside.ran.report.read_text()


def test_growing_n_ends_at_the_values_of_the_table(beside: Beside) -> None:
    """Of all 40 confirmation images; the table's are torch-fidelity's own."""
    found = rows(beside.ran.folder, "growing-n")
    assert sorted({int(r["n_images"]) for r in found}) == [20, 40]
    table = beside.ran.table
    known = {str(e.allocation): e for e in (*table.entries, *table.candidates) if e.n_images == 40}
    at_all = {r["allocation"]: float(r["quality"]) for r in found if r["n_images"] == "40"}
    assert "XL*4" in at_all
    assert at_all == pytest.approx({text: known[text].quality for text in at_all}, rel=1e-3)


def test_growing_n_without_a_run_says_what_is_missing(tmp_path: Path, study: Study) -> None:
    progress = Listening()
    found = analyze_study(study, tmp_path, Wanted(names=("growing-n",)), lambda _: pytest.fail("no pool"), progress)
    assert found.tables == ()
    assert "growing-n is left out: it reads the images of a confirmed front" in progress.notes[0]


def test_an_allocation_that_cannot_be_measured_costs_its_rows_only(study: Study, tmp_path: Path) -> None:
    broken = SyntheticMeasurer(load_reference("reference.npz", study.study_path.parent), broken=frozenset({"S*2-XL*2"}))
    analyzed(study, tmp_path, Wanted(names=("members",), n_images=20, n_allocations=3), broken)
    assert [r["allocation"] for r in rows(tmp_path, "members")] == ["XL*4", "S*4", "XL*4", "B*2-XL*2", "B*4"]


def test_stopped_in_between_it_goes_on_from_there(study: Study, tmp_path: Path) -> None:
    reference = load_reference("reference.npz", study.study_path.parent)
    wanted = Wanted(names=("members",), n_images=20, n_allocations=3)
    with pytest.raises(KeyboardInterrupt):
        analyzed(study, tmp_path, wanted, SyntheticMeasurer(reference, interrupt_after=3))
    whole = SyntheticMeasurer(reference)
    found = analyzed(study, tmp_path, wanted, whole)
    assert len(found.tables[0].rows) == 6
    assert len(whole.made) == 5 * 2 - 3  # two chunks of each allocation


def test_prefixes_halve_the_images_as_far_as_errors_can_be_computed() -> None:
    assert [p[-1].last for p in prefixes(chunks_of("confirm", 800, 50))] == [50, 100, 200, 400, 800]
    assert [p[-1].last for p in prefixes(chunks_of("confirm", 90, 10))] == [20, 40, 90]
    assert all(prefix[0] == Chunk("confirm", 0, 50) for prefix in prefixes(chunks_of("confirm", 800, 50)))


def test_evenly_keeps_both_ends() -> None:
    allocations = sweep("S", "XL", 20, 11)
    assert evenly(allocations, 3) == [allocations[0], allocations[5], allocations[10]]
    assert evenly(allocations[:2], 6) == list(allocations[:2])
    assert evenly(allocations, 1) == [Allocation.parse("XL*20")]


def test_variants_name_folders_that_every_file_system_takes(study: Study) -> None:
    variants: list[Variant] = variants_of(study, Wanted(guidance=(1.5,), solvers=("UniPCMultistepScheduler",)))
    assert all(v.name.replace("_", "").replace(".", "").isalnum() for v in variants)
