"""A page about a run that has no table yet: what was measured so far."""

from datetime import UTC, datetime
from pathlib import Path

from tstitch_search.errors import ConfigError
from tstitch_search.json_fields import get
from tstitch_search.ledger import Event
from tstitch_search.lookup import Candidate
from tstitch_search.measurement import Calibration
from tstitch_search.report.frame import document, header, section
from tstitch_search.report.markup import Html, table, tag
from tstitch_search.report.reading import (
    calibration_in,
    costs_in,
    failures_in,
    images_in,
    is_finished,
    of_ledger,
    trials_in,
)
from tstitch_search.report.sections.overview import cost_table, failure_table
from tstitch_search.report.wording import DASH, duration, fractions_text, milliseconds, predicted_text, quality_text


def unfinished_page(run_folder: Path) -> str:
    """The HTML document about a run without a table. Raises ConfigError when it has no ledger, or has come to its end.

    It says nothing about a front: that takes a confirmation.
    """
    return of_ledger(run_folder, lambda events: _page(events, run_folder))


def _page(events: list[Event], run_folder: Path) -> str:
    if is_finished(events):
        problem = f"{run_folder / 'lookup.json'} is missing although the run is finished"
        raise ConfigError(problem, "run the study again: it measures nothing twice and writes the table")
    study = str(get(events[0], "study")) if events else run_folder.name
    calibration, costs = calibration_in(events), costs_in(events)
    lead = (
        "This study is not finished: its run goes on, or was interrupted; the same command goes on with it. What "
        f"follows was there at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, with {len(events)} events in the ledger."
    )
    tiles = [
        ("stage", _stage(events)),
        ("images made", f"{sum(c.n_images for c in costs):,}"),
        ("device time in all", duration(sum(c.seconds for c in costs))),
    ]
    shown = [
        header(study, lead, tiles),
        section("What was made", cost_table(costs)),
        section("Seconds of one step", _steps(calibration)),
        section("Images of each allocation so far", _images(events)),
        section("Measured by the search", _trials(trials_in(events))),
        section("Failed attempts at chunks", failure_table(failures_in(events))),
    ]
    return document(study, list(calibration.step_s) if calibration else [], shown, is_live=True)


def _steps(calibration: Calibration | None) -> Html:
    if calibration is None:
        return Html()
    rows = [[name, milliseconds(s, calibration.step_se[name])] for name, s in calibration.step_s.items()]
    return table(["denoiser", "per step (SE)"], rows, "compact small")


def _images(events: list[Event]) -> Html:
    """Images of each allocation, of the search and of the confirmation, most first."""
    made = {name: images_in(events, name) for name in ("search", "confirm")}
    rows = [
        [tag("code", text), *(f"{of[text]:,}" if of[text] else DASH for of in made.values())]
        for text, _ in (made["search"] + made["confirm"]).most_common()
    ]
    return table(["allocation", "search", "confirmation"], rows, "compact small") if rows else Html()


def _stage(events: list[Event]) -> str:
    """The furthest that the run has come."""
    kinds = {e["event"] for e in events}
    confirms = any(e["event"] == "chunk" and e.get("set") == "confirm" for e in events)
    if "timing" in kinds:
        return "timing"
    return "confirmation" if confirms else "search" if "calibration" in kinds else "preparation"


def _trials(trials: tuple[Candidate, ...]) -> Html:
    """What the search has told so far, fastest first; one that races tells all at its end."""
    if not trials:
        return Html()
    rows = [
        [
            tag("code", str(t.allocation)),
            fractions_text(t.allocation),
            predicted_text(t),
            quality_text(t),
            f"{t.n_images:,}",
        ]
        for t in sorted(trials, key=lambda t: t.latency_s_predicted)
    ]
    return table(["allocation", "shares", "predicted time", "quality (SE)", "images"], rows, "cards")
