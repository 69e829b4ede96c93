"""The straight line of the whole system. In: a checked study and a folder. Out: a lookup table and a report.

Read `run_study` first: one call for each stage, in order. Then `stages.py`; the search in `race.py` or in
`ask_and_tell.py`; `confirmation.py` and `table.py`. `workbench.py` is where everything is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.lookup import LookupTable
from tstitch_search.progress import Progress, Reporter
from tstitch_search.report.figure import notebook_html
from tstitch_search.report.live import LiveReport
from tstitch_search.report.reading import prompts_in
from tstitch_search.report.reuse import prompts_in_words, reuse_in_words
from tstitch_search.report.writing import write_report
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.ask_and_tell import search
from tstitch_search.study_run.confirmation import confirm
from tstitch_search.study_run.folder import RunFolder
from tstitch_search.study_run.groups import by_groups
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.pictures import make_strips, make_worst
from tstitch_search.study_run.preparation.networks import require_networks
from tstitch_search.study_run.proxy_quality import ProxyQuality
from tstitch_search.study_run.race import race
from tstitch_search.study_run.selection import posterior_estimates, record_posterior, select_for_confirmation
from tstitch_search.study_run.stages import (
    calibrate,
    candidates_in_focus,
    open_bench,
    open_trials,
    prepare_evaluator,
    require_budget,
    tell,
)
from tstitch_search.study_run.table import in_groups, make_table
from tstitch_search.study_run.times.calibrations import calibrate_points
from tstitch_search.study_run.times.drift import settle_times
from tstitch_search.study_run.times.prices import price, seconds_of
from tstitch_search.study_run.until_lossless import as_planned, until_lossless
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
    everything that is recorded. A little over 40 lines: one or two for each stage.
    """
    require_networks(study)
    space, facts = SearchSpace.of_study(study), resolve_facts(study)
    study = study.model_copy(update={"run_folder": path})
    pool, folder = open_pool(study), RunFolder.open(path, study, facts.key)
    folder.ledger.listen(LiveReport(path).event)
    study = as_planned(study, folder.ledger)
    if reporter:
        folder.ledger.listen(reporter.event)
    with folder.ledger, open_bench(pool, folder, study, facts, progress, is_stopping) as bench:
        at_points = calibrate_points(study, facts.key, folder.ledger, open_pool, progress)
        evaluator = prepare_evaluator(bench, study, facts, folder)
        latency = calibrate(bench, study, facts.key)
        candidates = candidates_in_focus(study, space, latency, facts.measurable(space))
        require_budget(study, candidates, latency)
        progress.expect(price(study, space, candidates, latency).stages, partial(seconds_of, latency))

        proxy = ProxyQuality(study, space, candidates, evaluator)
        trials = open_trials(bench, study, folder, candidates, latency, proxy)
        find = race if study.config.races else search
        searched = proxy.estimates(bench, find(bench, study, trials, latency, proxy))
        tell(progress, proxy.summary())
        latency = settle_times(bench, study, latency)

        posterior = posterior_estimates(searched, trials)
        record_posterior(folder.ledger, posterior, searched, latency)
        selected = select_for_confirmation(posterior, latency, space, study.config.confirm, study.config.focus)
        confirmed = confirm(bench, study, evaluator, selected)
        table = make_table(study, facts, latency, evaluator, searched, confirmed, folder.ledger, at_points)
        table = by_groups(in_groups(table, evaluator, bench, study), evaluator, bench, study)
        table.write(folder.lookup)
        table = until_lossless(table, bench, evaluator, study)
        table.write(folder.lookup)
        make_strips(bench, folder, table)
        make_worst(bench, folder, table, evaluator, study)
        tell(progress, reuse_in_words(folder.ledger.of("chunk"), latency))
        tell(progress, prompts_in_words(prompts_in(folder.ledger.of("chunk"))))
        folder.ledger.append("finished")
        return Result(table, path, write_report(path), bench.n_new, bench.n_failed)
