"""Looking after runs: how one is getting on, and mending what was damaged. Each verb imports what it needs itself."""

import json
from dataclasses import asdict

from tstitch_search.cli.app import AsJson, RunPath, app


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
    running = "running" if found.is_running else "not running"
    print(f"{found.study}: {found.stage}, {running}; last event {found.silent_s:.0f} s ago")
    images = ", ".join(f"{n} {name}" for name, n in found.n_images.items())
    print(f"images made: {images}; {found.device_seconds:.0f} device seconds")
    trials = ", ".join(f"{n} {state}" for state, n in sorted(found.trials.items()))
    print(f"trials answered: {trials or 'none'}")
    for name, device in found.workers.items():
        print(f"{name} on {device}")
    if found.search_stopped:
        print(f"search stopped: {found.search_stopped}")
    if found.n_failed_chunks:
        print(f"{found.n_failed_chunks} chunks failed, the last one: {found.last_error}")
    for allocation, latency_s, quality in found.front:
        print(f"  {allocation}  {latency_s:.4g} s  {quality:.4g}")


@app.command()
def repair(folder: RunPath) -> None:
    """Rebuild the Optuna study of a run from its ledger. For when its database was lost or damaged.

    Example: tstitch-search repair reports/quickstart
    """
    from tstitch_search.tasks.repair import repair as rebuild

    made = rebuild(folder)
    print(f"{made.n_trials} trials of the study {made.name!r} written to {made.database}")
