"""The paper's supporting experiments for a study's own members: small studies through the same machinery.

What changes only the number of steps and their division is measured in one run folder, for the study as it is;
another solver or guidance scale is another key, so each has a run folder of its own. They lie in `analysis/runs` of the
study's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.measurement import Calibration
from tstitch_search.progress import Progress
from tstitch_search.report.analysis_tables import COLUMNS, FOLDER, AnalysisTable
from tstitch_search.report.writing import write_report
from tstitch_search.study_run.key import StudyFacts, facts_as_asked, resolve_facts
from tstitch_search.study_run.times.prices import seconds_of
from tstitch_search.tasks.analysis.growing import growing_n
from tstitch_search.tasks.analysis.measuring import Measured, Rows, measure, stage_of
from tstitch_search.tasks.analysis.prices import AnalysisPrice, price_of
from tstitch_search.tasks.analysis.variants import Variant, Wanted, variants_of
from tstitch_search.workers.protocol import WorkerPool


@dataclass(frozen=True)
class Analyzed:
    """What an analysis leaves: its tables with their files, and the report where the study has been run."""

    tables: tuple[AnalysisTable, ...]
    paths: tuple[Path, ...]
    report: Path | None
    n_new: int
    n_failed: int


def analyze_study(
    study: Study,
    path: Path,
    wanted: Wanted,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Analyzed:
    """Measure what is wanted of `study` below its run folder `path`; what is measured already is not measured again.

    Tables are written after each run, so that what is finished can be read. Raises ConfigError for a study of recorded
    numbers or of one member; once `is_stopping`, KeyboardInterrupt when what is under way is recorded.
    """
    variants = variants_of(study, wanted)
    rows: Rows = {name: [] for name in COLUMNS if name in wanted.names}
    if "growing-n" in rows:
        rows["growing-n"] += growing_n(path, wanted.n_allocations, progress)
    n_new = n_failed = 0
    if variants:
        facts = resolve_facts(variants[0].study)
        _announce(price_of(variants, facts, wanted.n_images), variants, progress)
    step_times: dict[bool, Calibration | None] = {}
    for variant in variants:
        asked, known = facts_as_asked(facts, variant.study), step_times.get(variant.is_guided)
        found = _measured(variant, asked, path, wanted.n_images, known, open_pool, progress, is_stopping)
        step_times[variant.is_guided] = found.calibration or known
        n_new, n_failed = n_new + found.n_new, n_failed + found.n_failed
        for name, values in found.rows.items():
            rows[name] += values
        _written(rows, path)
    tables = _written(rows, path)
    report = write_report(path) if (path / "lookup.json").exists() else None
    return Analyzed(tables, tuple(table.file_in(path) for table in tables), report, n_new, n_failed)


def price_analysis(study: Study, wanted: Wanted) -> AnalysisPrice | None:
    """What `analyze_study` will take, None for no image. Raises what it raises."""
    variants = variants_of(study, wanted)
    return price_of(variants, resolve_facts(variants[0].study), wanted.n_images) if variants else None


def _announce(price: AnalysisPrice, variants: Sequence[Variant], progress: Progress) -> None:
    progress.note(str(price))
    stages = {stage_of(v): price.stages_s[v.name] for v in variants}
    progress.expect(stages, partial(seconds_of, price.latency))


def _measured(
    variant: Variant,
    facts: StudyFacts,
    path: Path,
    n_images: int,
    step_times: Calibration | None,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
    is_stopping: Callable[[], bool],
) -> Measured:
    """What was found; nothing, and a note, for a setting that the members or the pipeline do not take."""
    folder = path / FOLDER / "runs" / variant.name
    try:
        return measure(variant, facts, folder, n_images, step_times, open_pool, progress, is_stopping)
    except (ConfigError, MeasurementError) as error:
        if not variant.is_optional:
            raise
        progress.note(f"{variant.name.replace('_', ' ')} is left out: {error.message}")
        return Measured({}, None, 0, 0)


def _written(rows: Rows, path: Path) -> tuple[AnalysisTable, ...]:
    """The tables that hold a row, written into the run folder."""
    tables = tuple(AnalysisTable(name, tuple(values)) for name, values in rows.items() if values)
    for table in tables:
        table.write(path)
    return tables
