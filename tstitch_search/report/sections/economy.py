"""What the study saved: by searching instead of enumerating, and by sharing beginnings of trajectories."""

from tstitch_search.config import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.report.record import Record
from tstitch_search.report.reuse import prompts_in_words
from tstitch_search.report.wording import duration, percent
from tstitch_search.search_space import SearchSpace

LARGEST_SPACE = 20_000  # allocations; adding up the times of more would keep the reader waiting


def enumeration(record: Record) -> str:
    """What measuring every allocation would have taken, beside what the search took; empty when it is not known."""
    n_images, space = record.table.provenance.get("n_images_search"), _space(record)
    if record.calibration is None or space is None or not isinstance(n_images, int):
        return ""
    latency = LatencyModel(record.calibration)
    seconds = sum(latency.latency_s(a) for a in space) * n_images / record.calibration.batch_size
    search = record.costs[0].seconds
    return (
        f"Measuring all {len(space):,} allocations of the space, {n_images:,} images each, would have taken about "
        f"{duration(seconds)} of device time, from the calibration; the search took {duration(search)}, "
        f"{percent(search / seconds)} of that."
    )


def _space(record: Record) -> SearchSpace | None:
    """The study's space as the table describes it; None for a table that does not, or a very large space."""
    size, study = (record.table.provenance.get(key) for key in ("space_size", "study"))
    described = study.get("search_space") if isinstance(study, dict) else None
    if not isinstance(size, int) or size > LARGEST_SPACE:
        return None
    try:
        return SearchSpace.from_config(SpaceConfig.model_validate(described))
    except (ValueError, ConfigError):
        return None


def reuse(record: Record) -> str:
    """What trajectories that begin alike saved; empty when nothing was."""
    calls = record.calls
    if not calls.n_reused or record.calibration is None:
        return ""
    return (
        f"Trajectories that begin alike were shared: {calls.n_reused:,} of {calls.n_all:,} denoiser calls were not "
        f"made again, {percent(calls.share_saved(record.calibration.step_s))} of the denoisers' time."
    )


def prompts(record: Record) -> str:
    """What encoding prompts once saved; empty when nothing was."""
    said = prompts_in_words(record.prompts)
    return f"{said[0].upper()}{said[1:]}." if said else ""
