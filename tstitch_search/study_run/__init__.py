"""The straight line of the whole system, from a study to a lookup table and a report. Read `run_study` first.

That function is over 40 lines, because it is the straight line: one call for each stage, in order, and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.lookup import LookupTable
from tstitch_search.progress import Progress, Reporter
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.metrics import arrays_for, needs_real_features
from tstitch_search.quality.reference import save_reference
from tstitch_search.report.figure import notebook_html
from tstitch_search.report.live import LiveReport
from tstitch_search.report.reuse import reuse_in_words
from tstitch_search.report.writing import write_report
from tstitch_search.search import AllocationStudy
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.calibrations import calibrate_points, remember
from tstitch_search.study_run.confirmation import confirm, make_strips
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.study_run.folder import RunFolder
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.member_positions import member_positions
from tstitch_search.study_run.prices import price, seconds_of
from tstitch_search.study_run.proxy_quality import ProxyQuality
from tstitch_search.study_run.race import race
from tstitch_search.study_run.references import prepare_reference
from tstitch_search.study_run.selection import posterior_estimates, record_posterior, select_for_confirmation
from tstitch_search.study_run.stages import (
    calibrate,
    candidates_in_focus,
    confirm_chunks,
    require_budget,
    rule_of,
    search,
)
from tstitch_search.study_run.table import make_table, with_groups
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.workers.protocol import WorkerPool


@dataclass(frozen=True)
class Result:
    """What a run leaves: the table, its folder and report, how much was measured now, how many allocations failed."""

    table: LookupTable
    folder: Path
    report: Path
    n_new: int
    n_failed: int

    def _repr_html_(self) -> str:
        """For notebooks: the front as a table, and the plot of the report."""
        return notebook_html(self.folder)


def run_study(
    study: Study,
    path: Path,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
    is_stopping: Callable[[], bool] = lambda: False,
    reporter: Reporter | None = None,
) -> Result:
    """Run `study` in the folder `path`, or go on with it; what is measured already is not measured again.

    Once `is_stopping`, what is under way is finished and recorded, then KeyboardInterrupt raised. `reporter` hears of
    everything that is recorded.
    """
    space, config = SearchSpace.from_config(study.space), study.config
    facts = resolve_facts(study)
    pool = open_pool(study)
    folder = RunFolder.open(path, study, facts.key)
    folder.ledger.listen(LiveReport(path).event)
    if reporter:
        folder.ledger.listen(reporter.event)
    store = FeatureStore(folder.features, facts.recipe, config.quality.features_dtype)
    arrays = arrays_for(config.quality.all_metrics)
    with folder.ledger, Workbench(pool, folder.ledger, store, progress, arrays, is_stopping) as bench:
        at_points = calibrate_points(study, facts.key, folder.ledger, open_pool, progress)
        reference = prepare_reference(bench, study, facts, needs_real_features(config.quality.all_metrics))
        if reference:
            save_reference(reference, folder.reference)
        evaluator = Evaluator(config.quality, space.anchor, reference)
        latency = calibrate(bench, study, facts.key)
        remember(study, facts.key, latency.calibration)
        candidates = candidates_in_focus(study, space, latency, facts.measurable(space))
        require_budget(study, candidates, latency)
        progress.expect(price(study, space, candidates, latency).stages, partial(seconds_of, latency))

        proxy = ProxyQuality(study, space, candidates, evaluator)
        positions = member_positions(bench, study, space)
        rule = rule_of(study, evaluator.objective, candidates, latency, proxy.controls, positions)
        name = folder.record_name(config.name, proxy.n_level)
        trials = AllocationStudy(config.storage or folder.database, name, space, rule, folder.identity)
        find = race if config.races else search
        searched = proxy.estimates(bench, find(bench, study, trials, latency, proxy))
        if gained := proxy.summary():
            progress.note(gained)

        posterior = posterior_estimates(searched, trials)
        record_posterior(folder.ledger, posterior, searched, latency)
        selected = select_for_confirmation(posterior, latency, space, config.confirm, config.focus)
        confirmed = confirm(bench, study, evaluator, selected)
        table = make_table(study, facts, latency, evaluator, searched, confirmed, folder.ledger, at_points)
        table = with_groups(
            table, evaluator.groups(bench, [e.allocation for e in table.entries], confirm_chunks(study))
        )
        table.write(folder.lookup)
        make_strips(bench, folder, table)
        if saved := reuse_in_words(folder.ledger.of("chunk"), latency):
            progress.note(saved)
        folder.ledger.append("finished")
        return Result(table, path, write_report(path), bench.n_new, bench.n_failed)
