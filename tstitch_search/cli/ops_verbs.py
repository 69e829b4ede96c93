"""Looking after runs: how one is getting on, and mending what was damaged. Each verb imports what it needs itself."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tstitch_search.cli.app import COMMAND, AsJson, RunPath, app

if TYPE_CHECKING:
    from tstitch_search.tasks.status import Status

# What became of a trial, in the words of people who do not know Optuna.
STATES = {
    "COMPLETE": "on all images",
    "PRUNED": "on as many images as they were worth",
    "FAIL": "could not be measured",
}


@app.command()
def status(folder: RunPath, as_json: AsJson = False) -> None:
    """How a run is getting on, from another shell. It is not disturbed.

    Example: tstitch-search status reports/quickstart
    """
    from tstitch_search.tasks.status import status_of

    found = status_of(folder)
    if as_json:
        print(json.dumps({**asdict(found), "silent_s": round(found.silent_s, 1)}, indent=2))
        return
    print(_finished(found) if found.answer else _under_way(found))


def _finished(found: "Status") -> str:
    """What came out, and where to look next."""
    assert found.answer is not None
    lines = [
        f"{found.study}: finished; {sum(found.n_images.values())} images in {found.device_seconds:.0f} device seconds"
    ]
    lines += [f"  {allocation}  {seconds:.4g} s  {quality:.4g}" for allocation, seconds, quality in found.answer.front]
    lines += [found.answer.headline] if found.answer.headline else []
    lines += [f"next: {COMMAND} show {found.answer.table}", f"      the report is {found.answer.report}"]
    return "\n".join(lines)


def _under_way(found: "Status") -> str:
    """How far the run is, and what the search has seen."""
    running = "running" if found.is_running else "not running"
    images = ", ".join(f"{n} {name}" for name, n in found.n_images.items())
    trials = ", ".join(f"{found.trials[state]} {STATES[state]}" for state in STATES if found.trials.get(state))
    lines = [
        f"{found.study}: {found.stage}, {running}; last event {found.silent_s:.0f} s ago",
        f"images made: {images}; {found.device_seconds:.0f} device seconds",
        f"allocations: {trials or 'none measured yet'}",
        *(f"{name} on {device}" for name, device in found.workers.items()),
    ]
    if found.search_stopped:
        lines.append(f"search stopped: {found.search_stopped}")
    if found.n_failed_chunks:
        lines.append(f"{found.n_failed_chunks} chunks failed, the last one: {found.last_error}")
    if found.front:
        lines.append("front of the search so far, on few images and with predicted times:")
    lines += [f"  {allocation}  {latency_s:.4g} s  {quality:.4g}" for allocation, latency_s, quality in found.front]
    return "\n".join(lines)


@app.command()
def repair(folder: RunPath) -> None:
    """Rebuild the Optuna study of a run from its ledger. For when its database was lost or damaged.

    Example: tstitch-search repair reports/quickstart
    """
    from tstitch_search.tasks.repair import repair as rebuild

    made = rebuild(folder)
    print(f"{made.n_trials} trials of the study {made.name!r} written to {made.database}")
