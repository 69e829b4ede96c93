"""What may and may not be concluded from the page, in plain words."""

from math import hypot

from tstitch_search.lookup import Candidate, LookupEntry
from tstitch_search.quality.metrics import METRICS
from tstitch_search.report.notes import alike, anchor_in_words, guard_name
from tstitch_search.report.record import Record
from tstitch_search.report.wording import named, percent


def limits(record: Record) -> list[str]:
    """One paragraph for each thing to know; of most of them only where the table has any."""
    return [
        *_about_quality(record),
        *_about_confirmation(record),
        *_about_further_looks(record),
        *_about_controls(record),
        *_about_ties(record),
        *_about_guard(record),
        *_about_time(record),
        *_about_batches(record),
        *_about_records(record),
        *_about_rivals(record),
        *_about_idle_members(record),
        "Every entry was measured as it stands. Nothing between two entries is interpolated.",
    ]


def _about_quality(record: Record) -> list[str]:
    said = (
        f"Quality is {record.label}{_compared_with(record)} "
        "It compares allocations of this study, not this study with papers. It only approximates what people see: look "
        "at the samples."
    )
    if _is_mean(record):
        return [said]
    return [
        said,
        f"The value of {record.label} depends on the number of images n. Values at different n are never compared with "
        "each other: the front is all at one n, and so is each difference.",
    ]


def _is_mean(record: Record) -> bool:
    """Whether the metric is a mean over images, whose expected value does not depend on their number."""
    metric = METRICS.get(record.table.objective.name)
    return metric is not None and metric.kind != "set"


def _compared_with(record: Record) -> str:
    metric = METRICS.get(record.table.objective.name)
    if metric and metric.kind == "pair":
        return (
            f": each image is compared with the one that {_anchor(record)} makes of the same seed, which is the best "
            "by construction. An image that people like better counts as a loss."
        )
    if metric and metric.kind == "image":
        return ", the mean over images."
    extractor, reference = (
        record.table.provenance.get(key, f"the study's {key}") for key in ("extractor", "reference")
    )
    return f" with the features of {extractor} against {reference}."


def _about_confirmation(record: Record) -> list[str]:
    n = record.table.entries[0].n_images
    search = sorted({named(record.label, t.n_images) for t in record.trials})
    return [
        f"The search looks at few images ({', '.join(search) or 'none'}), so what did best there was partly lucky. The "
        f"front was therefore measured again, with {named(record.label, n)}, on images of other seeds that the search "
        "never saw. Allocations that the search dropped by bad luck were not.",
        f"± is one standard error. Bars of the confirmed entries are 95 % intervals ({_held(record)}), those of the "
        f"search are single ones. Differences to {_anchor(record)} are paired over the same images, so they are more "
        "certain than the values themselves.",
        f"Lossless means that the loss against {_anchor(record)} is shown to be below {_margin(record)}. The verdicts "
        "of the table hold together: with 95 % confidence, none of them is wrong. “Not shown” does not mean worse: "
        "more images may show it.",
    ]


def _held(record: Record) -> str:
    n = record.intervals.together
    return f"all {n} together: in 19 of 20 studies none of them misses" if n > 1 else "each for itself"


def _about_further_looks(record: Record) -> list[str]:
    about = record.table.provenance.get("until_lossless")
    tried = [c for c in about["candidates"] if c["seen"]] if isinstance(about, dict) else []
    if not tried:
        return []
    ends = ", ".join(f"{c['allocation']} with {c['seen'][-1]['n_images']:,} more ({c['outcome']})" for c in tried)
    return [
        f"The confirmation showed no faster entry to be lossless, so more images were made: {ends}. Looks were planned "
        "in advance, and together with the confirmation such verdicts err in 5 % of studies at most. The values on "
        "this page stay those of the confirmation."
    ]


def _about_controls(record: Record) -> list[str]:
    if record.controls is None:
        return []
    made, worth, n = record.controls.n_made, record.controls.effective_n, record.controls.n_allocations
    return [
        f"While searching, the denoisers alone, measured on more images, served as control variates. For {n} "
        f"allocations {made:.0f} images each told as much as {worth:.0f} would have without (medians). The front's own "
        f"values are plain {record.label}."
    ]


def _about_ties(record: Record) -> list[str]:
    if not alike(record.table):
        return []
    return [
        "A tie is a run of neighbours on the front, none of which is shown to be better than the tie's fastest "
        "(paired differences; 95 % for all that was confirmed together). It does not mean that they are equal, only "
        "that this n cannot say which is better."
    ]


def _about_guard(record: Record) -> list[str]:
    guard = record.table.provenance.get("guard")
    if not isinstance(guard, dict):
        return []
    tolerance = guard.get("tolerance")
    allowed = percent(tolerance) if isinstance(tolerance, int | float) else "the study's tolerance"
    return [
        f"The guard is {guard_name(record.table)}: an allocation that is worse in it than {_anchor(record)} by more "
        f"than {allowed} is flagged, and not called lossless. It goes by the value, not by its interval, and it takes "
        "nothing off the front."
    ]


def _about_time(record: Record) -> list[str]:
    point = record.table.operating_points[0]
    return [
        f"Seconds are for one batch of {point.batch_size} images, from noise to decoded images, on {point.device}. "
        "Another device needs its own times; the quality stays.",
        "Measured seconds are of whole batches, timed end to end. Predicted seconds add up calibrated parts (steps, "
        "starts of segments, what is outside the steps); a confirmed allocation's prediction takes the parts at the "
        "speed that the machine had while it was timed.",
    ]


def _about_batches(record: Record) -> list[str]:
    """Members whose cache decides by the whole batch."""
    denoisers = record.table.provenance.get("denoisers", ())
    by_batch = [d["name"] for d in denoisers if isinstance(d, dict) and d.get("decides_by_batch")]
    if not by_batch:
        return []
    return [
        f"What the cache of {', '.join(by_batch)} skips depends on the whole batch: an image depends on the others in "
        "its batch, and seconds depend on the prompts. Values and times hold for batches as in this study; their "
        "size is in its key."
    ]


def _about_records(record: Record) -> list[str]:
    recorded = record.table.provenance.get("recorded")
    if not isinstance(recorded, dict):
        return []
    return [
        f"Nothing was measured by this run: times and qualities were recorded in {recorded.get('table')} "
        f"({recorded.get('source') or 'no source given'}). Images are {recorded.get('images')}; what the sample grid "
        "shows are grey tiles. An error of 0 means that none was recorded, not that there is none. Device time is what "
        "the recorded times add up to."
    ]


def _about_rivals(record: Record) -> list[str]:
    if not record.rivals:
        return []
    return [
        "Crosses are numbers that others published. Nothing about them was checked here: machines, batch sizes, "
        "numbers of images and feature networks may differ from this study's."
    ]


def _about_idle_members(record: Record) -> list[str]:
    """Members that take no step on the front, and alone are beaten by an entry, each with the evidence."""
    table = record.table
    used = {name for entry in table.entries for name in entry.allocation.steps}
    alone = {next(iter(c.allocation.steps)): c for c in table.candidates if c.confirmed and _is_alone(record, c)}
    said = []
    for name, idle in alone.items():
        beaten_by = [entry for entry in table.entries if _beats(record, entry, idle)]
        if beaten_by and name not in used:
            best = beaten_by[-1]
            said.append(
                f"{name} takes no step on the front. Alone it has {record.label} {idle.quality:.3g} ± "
                f"{idle.quality_se:.2g} in {idle.latency_s:.3g} s; {best.allocation} has {best.quality:.3g} ± "
                f"{best.quality_se:.2g} in {best.latency_s:.3g} s. The study may do without it."
            )
    return said


def _beats(record: Record, entry: LookupEntry, idle: Candidate) -> bool:
    """Whether the entry is no slower, and better by more than two standard errors."""
    loss = record.table.objective.loss
    is_better = loss(idle.quality) - loss(entry.quality) > 2 * hypot(idle.quality_se, entry.quality_se)
    return is_better and idle.latency_s is not None and entry.latency_s <= idle.latency_s


def _is_alone(record: Record, candidate: Candidate) -> bool:
    n_steps = max(entry.allocation.n_steps for entry in record.table.entries)
    return len(candidate.allocation.steps) == 1 and candidate.allocation.n_steps == n_steps


def _anchor(record: Record) -> str:
    return anchor_in_words(record.table)


def _margin(record: Record) -> str:
    if isinstance(own := record.table.provenance.get("margin"), int | float):
        return f"{own:.3g} ({record.table.objective.label})"
    margin = record.table.provenance.get("lossless_margin")
    of_anchor = f" of the latter's {record.label}"
    return (percent(margin) if isinstance(margin, int | float) else "the study's margin") + of_anchor
