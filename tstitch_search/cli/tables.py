"""Results as tables for people or JSON for programs, on stdout."""

import json
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from tstitch_search.cli.app import COMMAND
from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.report.headline import bend
from tstitch_search.report.notes import alike, baseline_name, front_notes, further_metrics, speed_up
from tstitch_search.report.wording import WORST, metric_text, milliseconds, named, plus_minus, worst_text

if TYPE_CHECKING:
    from tstitch_search.measurement import Calibration
    from tstitch_search.study_run import Result
    from tstitch_search.tasks.compare import Comparison
    from tstitch_search.tasks.plan import Plan
    from tstitch_search.tasks.requality import Requality

# Columns of text when stdout is no terminal and has no width of its own.
PIPE_WIDTH = 120
# Columns of the front that go first where there is little room, and the blanks between two columns.
LESS_WANTED, GAP = ("peak MB", "tie", WORST), 3


def console() -> Console:
    """Where results are printed: as wide as the terminal, in a pipe as COLUMNS says or PIPE_WIDTH."""
    is_wide = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(highlight=False, width=None if is_wide else PIPE_WIDTH)


def print_result(result: "Result", as_json: bool) -> None:
    """The front, how much faster it is at what loss, and what to do next."""
    if as_json:
        print(json.dumps({**result.table.to_json(), "folder": str(result.folder), "n_new": result.n_new}, indent=2))
        return
    out = console()
    _print_front(out, result.table)
    if result.n_new == 0:
        out.print("Nothing new was measured: everything was in the ledger already.")
    if result.n_failed:
        where = f"see `failed` in {result.folder}/ledger.jsonl"
        out.print(f"Allocations that could not be measured: {result.n_failed}; {where}.")
    for line in _next_commands(result):
        out.print(line, markup=False, soft_wrap=True)


def _next_commands(result: "Result") -> list[str]:
    """What to look at and to type next, to be copied as it stands."""
    trade = bend(result.table) or result.table.entries[0]
    table = shlex.quote(str(result.folder / "lookup.json"))
    budget = f"{math.ceil(trade.latency_s * 1000) / 1000:g}s"
    return [f"next: open {result.report}", f"      {COMMAND} pick {table} --budget {budget}"]


def print_table(table: LookupTable, path: Path, as_json: bool) -> None:
    """A table's front, its headline and where it was written."""
    if as_json:
        print(json.dumps(table.to_json(), indent=2))
        return
    out = console()
    _print_front(out, table)
    out.print(str(path), markup=False, soft_wrap=True)


def _print_front(out: Console, table: LookupTable) -> None:
    """The front, its further metrics if there are any, what its columns cannot say, and the headline."""
    if columns := front_table(table, out.width):
        out.print(columns)
    else:
        out.print(front_lines(table), markup=False)
    if further_metrics(table):
        out.print(metrics_table(table))
    about = table.provenance.get("groups")
    served = about.get("answer") if isinstance(about, dict) else None
    for note in (*front_notes(table), served, table.provenance.get("headline")):
        if note:
            out.print(note, markup=False)


def front_table(table: LookupTable, width: int = PIPE_WIDTH) -> Table | None:
    """The confirmed front, fastest first, in as many columns as `width` characters hold; None if those are too few."""
    shown = Table(title=_title(table), title_justify="left", box=box.SIMPLE_HEAD)
    rows = [{"allocation": _called(table, entry), **_cells(table, entry)} for entry in table.entries]
    names = _that_fit(rows, width)
    if _needed(rows, names) > width:
        return None
    if left_out := [name for name in rows[0] if name not in names]:
        shown.caption, shown.caption_justify = f"no room for: {', '.join(left_out)}; --json has them", "left"
    for name in names:
        is_text = name == "allocation"
        shown.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in rows:
        shown.add_row(*(row[name] for name in names))
    return shown


def front_lines(table: LookupTable) -> str:
    """The confirmed front where there is no room for columns: two lines for each entry."""
    lines = [_title(table)]
    for entry in table.entries:
        cells = _cells(table, entry)
        quality = cells[named(table.objective.label, entry.n_images)]
        lines += [_called(table, entry), f"  {cells['seconds']} s, {quality}"]
    return "\n".join(lines)


def _title(table: LookupTable) -> str:
    quality = named(table.objective.label, table.entries[0].n_images)
    batch_size = table.operating_points[0].batch_size
    return f"Pareto front of {table.study}: {quality}, seconds for a batch of {batch_size}"


def _called(table: LookupTable, entry: LookupEntry) -> str:
    called = baseline_name(table, entry.allocation)
    return f"{entry.allocation} ({called})" if called else str(entry.allocation)


def _that_fit(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that fit into `width` characters; what a reader can do without goes first."""
    names = list(rows[0])
    for name in (*LESS_WANTED, *[name for name in names if name.startswith("above ")], "lossless", "speed-up"):
        if name in names and _needed(rows, names) > width:
            names.remove(name)
    return names


def _needed(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> int:
    """How many characters the columns `names` take."""
    return sum(max(len(name), *(len(row[name]) for row in rows)) + GAP for name in names)


def _cells(table: LookupTable, entry: LookupEntry) -> dict[str, str]:
    """What is shown of an entry, by the name of its column."""
    cells = {
        "seconds": plus_minus(entry.latency_s, entry.latency_s_se),
        **({"speed-up": f"{speed_up(table, entry):.2f}x"} if "largest_latency_s" in table.provenance else {}),
        named(table.objective.label, entry.n_images): plus_minus(entry.quality, entry.quality_se),
        f"above {table.anchor_name}": plus_minus(
            entry.quality_difference or 0.0, entry.quality_difference_se or 0.0, sign=True
        ),
    }
    if any(e.quantiles for e in table.entries):
        cells[WORST] = worst_text(table.objective, entry)
    if any(e.peak_memory_mb is not None for e in table.entries):
        cells["peak MB"] = "-" if entry.peak_memory_mb is None else f"{entry.peak_memory_mb:.0f}"
    if groups := alike(table):
        cells["tie"] = str(entry.group) if entry.group in groups else ""
    return cells | {"lossless": _lossless(table, entry)}


def _lossless(table: LookupTable, entry: LookupEntry) -> str:
    if entry.allocation == table.anchor:
        return "-"
    if entry.guard_lost:
        return "guard lost"
    return "yes" if entry.lossless else "not shown"


def metrics_table(table: LookupTable) -> Table:
    """The further metrics of the front, with their errors."""
    names = further_metrics(table)
    shown = Table(title="Further metrics", title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("allocation", overflow="fold")
    for name in names.values():
        shown.add_column(named(name, table.entries[0].n_images), justify="right")
    for entry in table.entries:
        known = [entry.metrics.get(key) for key in names]
        shown.add_row(str(entry.allocation), *("-" if metric is None else metric_text(metric) for metric in known))
    return shown


def print_calibration(calibration: "Calibration", path: Path, as_json: bool) -> None:
    """The parts of a batch's time, per denoiser, and where they were written."""
    if as_json:
        print(json.dumps(asdict(calibration), indent=2))
        return
    out = console()
    out.print(calibration_table(calibration))
    out.print(
        f"outside the steps {milliseconds(calibration.fixed_s, calibration.fixed_se)}; repeats of a step differ by "
        f"{calibration.spread:.1%}; all members together need {calibration.peak_memory_mb:.0f} MB"
    )
    out.print(str(path), markup=False, soft_wrap=True)


def calibration_table(calibration: "Calibration") -> Table:
    """One row per denoiser; the segment's start is what its first step takes beyond a step."""
    c = calibration
    title = f"Steps of a batch of {c.batch_size} on {c.device}: medians of {c.n_repeats} repeats"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("denoiser", no_wrap=True)
    for name in ("per step", "relative", "start of a segment", "memory, MB", "on disk, MB"):
        shown.add_column(name, justify="right", no_wrap=True)
    for name, step_s in c.step_s.items():
        shown.add_row(
            name,
            milliseconds(step_s, c.step_se[name]),
            f"{step_s / min(c.step_s.values()):.2f}x",
            milliseconds(c.switch_s[name], c.switch_se[name]),
            f"{c.member_memory_mb[name]:.1f}",
            f"of {c.weights_of[name]}" if name in c.weights_of else f"{c.weights_mb[name]:.1f}",
        )
    return shown


def print_plan(plan: "Plan", as_json: bool, usd_per_hour: float | None = None, error: float | None = None) -> None:
    """What a study would do and take; in dollars too, where an hour of a device has a price.

    With `error` also how many images bring the standard error of a difference down to it.
    """
    needed = plan.images_needed.for_error(error) if error and plan.images_needed else None
    if as_json:
        money = {} if usd_per_hour is None else {"usd": plan.usd(usd_per_hour)}
        images = {} if error is None else {"images_for_error": needed}
        print(json.dumps(asdict(plan) | money | images, indent=2))
        return
    out = console()
    shown = Table(title=f"Plan of {plan.study}", title_justify="left", show_header=False)
    for label, value in plan.rows():
        shown.add_row(label, value)
    if error is not None:
        shown.add_row(f"images for an error of {error:g}", "not known yet" if needed is None else f"about {needed:,}")
    if usd_per_hour is not None:
        shown.add_row("price of that time", f"about ${plan.usd(usd_per_hour):.2f}")
    out.print(shown)


def print_comparison(found: "Comparison", as_json: bool) -> None:
    """The difference with its interval, and what it says."""
    low, high = found.interval_90
    if as_json:
        compared = {"first": str(found.first), "second": str(found.second), "metric": found.metric}
        about = {"set": found.set_name, "interval_90": [low, high], "verdict": found.verdict}
        together = {"n_pairs": found.n_pairs, "interval_90_together": found.interval_90_together}
        print(json.dumps({**compared, **about, **together, **asdict(found.quality)}, indent=2))
        return
    quality = found.quality
    print(f"{found.first} against {found.second}, {named(found.label, quality.n_images)} on {found.set_name} images")
    print(f"difference {plus_minus(quality.difference, quality.difference_se, sign=True)} (SE)", end=", ")
    print(f"90 % interval of this pair alone {low:+.4g} to {high:+.4g}: {found.verdict}")
    if found.n_pairs > 1:
        low, high = found.interval_90_together
        print(f"for who looked at several: 90 % for all {found.n_pairs} pairs together {low:+.4g} to {high:+.4g}")


def print_requality(found: "Requality", as_json: bool) -> None:
    """One row per set and allocation."""
    if as_json:
        rows = [{"set": name, "allocation": str(a), **asdict(quality)} for name, a, quality in found.rows]
        print(json.dumps({"metric": found.metric.name, "rows": rows}, indent=2))
        return
    shown = Table(title=f"{found.metric.label}, from stored features", title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("allocation", no_wrap=True)
    for name in ("images", "n", found.metric.label, "difference to the largest"):
        shown.add_column(name, justify="right", no_wrap=True)
    for set_name, allocation, quality in found.rows:
        difference = plus_minus(quality.difference, quality.difference_se, sign=True)
        values = (set_name, str(quality.n_images), plus_minus(quality.value, quality.se), difference)
        shown.add_row(str(allocation), *values)
    console().print(shown)
