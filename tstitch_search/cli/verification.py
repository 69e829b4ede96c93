"""What `verify` found, as a person reads it and as a program does."""

import json
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from tstitch_search.cli.tables import console
from tstitch_search.report.wording import named

if TYPE_CHECKING:
    from tstitch_search.tasks.tables.verify import Verification


def print_verification(found: "Verification", as_json: bool) -> None:
    """Each entry as the table has it and as it is now, and whether the table holds."""
    rows = [
        {
            "allocation": str(v.entry.allocation),
            "quality_recorded": v.entry.quality,
            "quality_now": v.quality,
            "loss": v.loss,
            "latency_s_recorded": v.entry.latency_s,
            "latency_s_now": v.time.latency_s,
            "slowdown": v.slowdown,
            "slowdown_se": v.slowdown_se,
        }
        for v in found.entries
    ]
    if as_json:
        about = {
            "metric": found.table.objective.name,
            "max_loss": found.max_loss,
            "max_slowdown": found.max_slowdown,
            "passed": found.passed,
            "slow": [str(v.entry.allocation) for v in found.slow],
            "times_not_judged": [str(v.entry.allocation) for v in found.unjudged],
        }
        print(json.dumps({**about, "device": found.device, "packages": found.changed, "entries": rows}, indent=2))
        return
    out = console()
    out.print(verification_table(found))
    changed = ", ".join(f"{name} {versions}" for name, versions in found.changed.items())
    out.print(f"Packages: {changed or 'the versions of the table'}.", markup=False)
    for sentence in verdicts(found):
        out.print(sentence, markup=False)


def verdicts(found: "Verification") -> list[str]:
    """Whether quality holds, whether times do and at which batch and device, and which could not be judged."""
    at, allowed = found.table.operating_points[0], f"{100 * found.max_loss:g} %"
    worst = max(v.loss for v in found.entries)
    said = [f"Quality holds: no entry lost more than {allowed}."]
    if not found.holds_quality:
        said = [f"Quality does NOT hold: an entry lost {worst:.1%}, more than {allowed}."]
    limit, batch = f"{found.max_slowdown:g} times as long", f"a batch of {at.batch_size}"
    if not found.judges_times:
        return [
            *said,
            f"Times are not judged: those of the table are for {batch} on {at.device}, and this is {found.device}; "
            "`tstitch-search recalibrate` measures them anew.",
        ]
    if found.slow:
        slow = ", ".join(f"{v.entry.allocation} ({1 + v.slowdown:.2f} times)" for v in found.slow)
        said.append(f"Times do NOT hold: {batch} on {found.device} takes more than {limit} with {slow}.")
    elif not found.unjudged:
        said.append(f"Times hold: {batch} on {found.device} takes at most {limit}.")
    for v in found.unjudged:
        ratio = f"{1 + v.slowdown:.2f} ± {v.slowdown_se:.2f}"
        said.append(f"The time of {v.entry.allocation} could not be judged: {ratio} times as long, allowed {limit}.")
    return said


def verification_table(found: "Verification") -> Table:
    """One row per entry that was measured again."""
    quality = named(found.table.objective.label, found.table.entries[0].n_images)
    shown = Table(title=f"{found.table.study}, measured again", title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("allocation", no_wrap=True)
    for name in (f"{quality}, table", "now", "loss", "seconds, table", "now", "slower by"):
        shown.add_column(name, justify="right", no_wrap=True)
    for v in found.entries:
        qualities = (f"{v.entry.quality:.4g}", f"{v.quality:.4g}", f"{v.loss:+.2%}")
        times = (f"{v.entry.latency_s:.4g}", f"{v.time.latency_s:.4g}", f"{v.slowdown:+.1%}")
        shown.add_row(str(v.entry.allocation), *qualities, *times)
    return shown
