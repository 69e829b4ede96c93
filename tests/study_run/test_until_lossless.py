"""`run --until-lossless`: what it calls lossless is hardly ever wrong, and it makes no image of anything else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_run.synthetic import WEAKNESS, SyntheticMeasurer, shift
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.ledger import read_events
from tstitch_search.lookup import LookupEntry, LookupTable, OperatingPoint, promising
from tstitch_search.measurement import ChunkFeatures, MakeChunk
from tstitch_search.quality.estimate import estimate
from tstitch_search.quality.jackknife import jackknifed_mean
from tstitch_search.quality.joint import shown_together
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run import Result
from tstitch_search.study_run.evaluation import LEVEL
from tstitch_search.study_run.until_lossless import MOST_TIMES, planned
from tstitch_search.tasks.tables.merge import merge

METRIC, MARGIN, N, STEP = metric_named("perceptual"), 0.05, 100, 20
TEXTS = ("S*16-XL*4", "S*12-XL*8", "S*8-XL*12", "S*4-XL*16")


def is_called_lossless(rng: np.random.Generator, losses: tuple[float, ...], sd: float = 0.3) -> bool:
    """Whether a study of entries with these true losses calls one lossless, at the confirmation or later."""

    def drawn(n: int) -> np.ndarray:
        common = rng.normal(size=n)
        own = rng.normal(size=(len(losses), n))
        values: np.ndarray = np.array(losses)[:, None] + sd * (0.6 * common + 0.8 * own)
        return values

    zero = jackknifed_mean(np.zeros(N))
    seen = [estimate(jackknifed_mean(x), zero, METRIC) for x in drawn(N)]
    if shown_together({i: q.p_of_loss(MARGIN) for i, q in enumerate(seen)}, LEVEL / 2):
        return True
    entries = [
        LookupEntry(
            allocation=Allocation.parse(text),
            latency_s=float(i + 1),
            latency_s_se=0.1,
            latency_s_predicted=float(i + 1),
            quality=10.0 - i,  # a front, whatever was drawn: only differences are judged
            quality_se=q.se,
            n_images=N,
            peak_memory_mb=None,
            quality_difference=q.difference,
            quality_difference_se=q.difference_se,
        )
        for i, (text, q) in enumerate(zip(TEXTS, seen, strict=False))
    ]
    point, about = OperatingPoint("default", "cpu", 8), {"largest": "XL", "largest_latency_s": 9.0}
    table = LookupTable("s", (point,), tuple(entries), (), about)
    for pursued in planned(table, METRIC, MARGIN, 0.0, STEP, MOST_TIMES * N):
        i = TEXTS.index(str(pursued.allocation))
        further = drawn(pursued.looks[-1])[i]
        for n in pursued.looks:
            pursued = pursued.after(estimate(jackknifed_mean(further[:n]), jackknifed_mean(np.zeros(n)), METRIC))
            if not pursued.is_open:
                break
        assert not pursued.is_open
        if pursued.outcome == "shown":
            return True
    return False


def test_at_a_loss_on_the_margin_hardly_any_study_calls_an_entry_lossless() -> None:
    rng, n_studies = np.random.default_rng(0), 2000
    wrong = np.mean([is_called_lossless(rng, (MARGIN,) * 4) for _ in range(n_studies)])
    assert wrong <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / n_studies) ** 0.5


def test_an_entry_that_loses_little_is_shown_in_the_end() -> None:
    rng = np.random.default_rng(1)
    found = np.mean([is_called_lossless(rng, (0.2, 0.1, 0.01, 0.0)) for _ in range(200)])
    assert found > 0.7


ASKED, N_CONFIRM = "confirm.until_lossless=true", 100
# Which the confirmation's images cannot tell from the loss of the best entry but the anchor: 2 standard errors above.
JUST_ABOVE = "confirm.lossless_margin=0.143"
SETTINGS = (f"confirm.n_images={N_CONFIRM}", "confirm.max_entries=4", "proxy_set.chunk_size=20", JUST_ABOVE)


class CloseCall(SyntheticMeasurer):
    """Every allocation is nearly as good as the largest denoiser."""

    def _make(self, job: MakeChunk) -> ChunkFeatures:
        made = super()._make(job)
        features = made.arrays["features"] - 0.95 * (shift(job.allocation) - WEAKNESS["XL"])
        return replace(made, arrays={"features": features.astype(np.float32)})


@pytest.fixture
def close_call(tiny_family: Path) -> CloseCall:
    return CloseCall(load_reference("reference.npz", tiny_family), own_noise=0.3)


def headline_of(table: LookupTable) -> str:
    return str(table.provenance["headline"])


def looks_in(folder: Path) -> list[dict]:
    return [e for e in read_events(folder / "ledger.jsonl") if e["event"] == "lossless_look"]


def test_only_what_could_be_shown_is_measured_further_until_it_is(
    close_call: CloseCall, run: Callable[..., Result], tmp_path: Path
) -> None:
    without = run(close_call, *SETTINGS, folder="without").table
    assert not any(e.lossless for e in without.entries if e.allocation != without.anchor)
    could = promising(without)
    assert could is not None
    assert could.seconds is not None
    assert str(could)[1:] in headline_of(without)
    said = CliRunner().invoke(app, ["pick", str(tmp_path / "without"), "--lossless"])
    assert said.stdout.startswith("XL*4 ")
    assert f"{could}: run --until-lossless" in said.stderr

    close_call.made.clear()
    result = run(close_call, *SETTINGS, ASKED, folder="asked")
    further = {
        str(j.allocation) for j in close_call.made if j.chunk.set_name == "confirm" and j.chunk.first >= N_CONFIRM
    }
    plan = result.table.provenance["until_lossless"]["candidates"]
    tried = [c for c in plan if c["seen"]]
    assert further == {str(result.table.anchor), *(c["allocation"] for c in tried)}
    shown = [c["allocation"] for c in plan if c["outcome"] == "shown"]
    assert len(shown) == 1
    assert str(result.table.pick(lossless=True).allocation) == shown[0]
    n_images = tried[-1]["seen"][-1]["n_images"]
    assert f"{n_images:,} further images" in headline_of(result.table)
    assert [e["n_images"] for e in looks_in(result.folder)] == [s["n_images"] for c in tried for s in c["seen"]]
    assert f"{shown[0]} with {n_images:,} more (shown)" in result.report.read_text()
    assert [e.quality for e in result.table.entries] == [e.quality for e in without.entries]
    for first, second in (
        ("asked", "without"),
        ("without", "asked"),
    ):  # `merge` keeps what was shown, whoever showed it
        made = merge(tmp_path / first / "lookup.json", tmp_path / second / "lookup.json")
        assert str(made.pick(lossless=True).allocation) == shown[0]
        assert f"{n_images:,} further images" in headline_of(made)


def test_an_interrupted_run_goes_on_with_its_plan_and_a_finished_one_measures_nothing(
    tiny_family: Path, run: Callable[..., Result], close_call: CloseCall
) -> None:
    whole = run(close_call, *SETTINGS, ASKED, folder="whole")
    close_call.made.clear()
    close_call.interrupt_after = 0
    again = run(close_call, *SETTINGS, folder="whole")  # a folder that began so goes on so
    assert again.n_new == 0
    assert again.table == whole.table
    assert looks_in(again.folder) == looks_in(whole.folder)

    n_before = 2 + sum(
        1 for e in read_events(whole.folder / "ledger.jsonl") if e["event"] == "chunk" and e["last"] <= N_CONFIRM
    )
    close_call.interrupt_after = n_before
    with pytest.raises(KeyboardInterrupt):
        run(close_call, *SETTINGS, ASKED, folder="cut")
    close_call.interrupt_after = None
    cut = run(close_call, *SETTINGS, ASKED, folder="cut")
    assert cut.table.provenance["until_lossless"] == whole.table.provenance["until_lossless"]
    assert cut.n_new > 0


def test_where_nothing_could_be_shown_nothing_more_is_measured(
    measurer: SyntheticMeasurer, run: Callable[..., Result]
) -> None:
    result = run(measurer, *SETTINGS, ASKED)
    assert result.table.provenance["until_lossless"]["candidates"] == []
    assert all(job.chunk.last <= N_CONFIRM for job in measurer.made)
    assert "no entry could be" in headline_of(result.table).lower()


def test_no_prompt_is_taken_twice_and_no_label_beyond_the_file(
    close_call: CloseCall, tiny_family: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    (tmp_path / "labels").write_text("3\n" * (20 + N_CONFIRM + 130))
    result = run(close_call, *SETTINGS, ASKED, f"proxy_set.labels={tmp_path / 'labels'}")
    plan = result.table.provenance["until_lossless"]["candidates"]
    assert all(c["looks"][-1] <= 130 for c in plan)
    assert max(job.chunk.last for job in close_call.made) <= N_CONFIRM + 130
