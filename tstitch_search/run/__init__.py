"""The straight line of the whole system, from a study to a lookup table and a report. Read `run_study` first."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.lookup import LookupTable
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import load_reference
from tstitch_search.report import write_report
from tstitch_search.run.calibrations import remember
from tstitch_search.run.folder import RunFolder
from tstitch_search.run.key import resolve_facts
from tstitch_search.run.prices import price, seconds_of
from tstitch_search.run.progress import Progress
from tstitch_search.run.selection import select_for_confirmation
from tstitch_search.run.stages import (
    calibrate,
    candidates_in_focus,
    confirm_chunks,
    estimates_of,
    make_strips,
    publish_fids,
    search,
    search_chunks,
    time_entries,
)
from tstitch_search.run.table import make_table
from tstitch_search.run.workbench import Workbench
from tstitch_search.search import AllocationStudy, Rule
from tstitch_search.search_space import SearchSpace
from tstitch_search.workers.protocol import WorkerPool


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: the table, where it and the report are, and what it took."""

    table: LookupTable
    folder: Path
    report: Path
    n_new: int
    n_failed: int


def run_study(study: Study, path: Path, open_pool: Callable[[Study], WorkerPool], progress: Progress) -> Outcome:
    """Run `study` in the folder `path`, or go on with it; what is measured already is not measured again."""
    space = SearchSpace.from_config(study.space)
    facts = resolve_facts(study)
    distance = FrechetDistance(load_reference(study.config.quality.reference, study.study_path.parent))
    pool = open_pool(study)
    folder = RunFolder.open(path, study, facts.key)
    store = FeatureStore(folder.features, facts.recipe)
    with folder.ledger, Workbench(pool, folder.ledger, store, progress) as bench:
        latency = calibrate(bench, study, facts.key)
        remember(study, facts.key, latency.calibration)
        if warning := latency.order_warning(space.denoisers):
            progress.note(warning)
        candidates = candidates_in_focus(study, space, latency)
        progress.expect(price(study, space, candidates, latency).stages, partial(seconds_of, latency))

        rule = Rule(study.config.search.sampler, study.config.sampler_seed, candidates)
        trials = AllocationStudy(folder.database, study.config.name, space, rule)
        search(bench, study, trials, latency, distance)
        proxy = search_chunks(study)
        searched = estimates_of(bench, trials.allocations, space.anchor, proxy, distance)

        selected = select_for_confirmation(searched, latency, space, study.config.confirm, study.config.focus)
        progress.stage("confirm")
        held_out = confirm_chunks(study)
        bench.make([(allocation, held_out) for allocation in selected])
        confirmed = estimates_of(bench, selected, space.anchor, held_out, distance)
        times = time_entries(bench, study, list(confirmed))
        published = publish_fids(bench, list(confirmed), held_out)

        table = make_table(study, facts, latency, searched, confirmed, times, published, folder.ledger)
        table.write(folder.lookup)
        make_strips(bench, folder, table)
        folder.ledger.append("finished")
        return Outcome(table, path, write_report(path), bench.n_new, bench.n_failed)
