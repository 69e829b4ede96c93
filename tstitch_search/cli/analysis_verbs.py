"""The paper's supporting experiments for one's own members. The verb imports what it needs itself."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tstitch_search.cli.app import AsJson, Device, Output, Settings, StudyPath, Workers, app, overrides, said

if TYPE_CHECKING:
    from pathlib import Path

    from tstitch_search.config import Study
    from tstitch_search.tasks.analysis import Analyzed
    from tstitch_search.tasks.analysis.variants import Wanted


@app.command()
def analyze(
    study: StudyPath,
    only: Annotated[
        str | None,
        typer.Option(
            help="Some of: similarity, frequency, members, baselines, steps, step-reduction, solvers, guidance, "
            "growing-n.",
            metavar="NAMES",
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Images per allocation.")] = 200,
    allocations: Annotated[int, typer.Option(help="From the smallest to the largest so many allocations.")] = 6,
    steps: Annotated[str | None, typer.Option(help="Numbers of steps to compare, as 10,20,50.")] = None,
    solvers: Annotated[str | None, typer.Option(help="Solvers to compare, as DDIMScheduler,DDPMScheduler.")] = None,
    guidance: Annotated[str | None, typer.Option(help="Guidance scales to compare, as 1,1.5,4.")] = None,
    price: Annotated[bool, typer.Option("--price", help="Say what it would take, and do nothing.")] = False,
    settings: Settings = None,
    workers: Workers = None,
    device: Device = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """The paper's supporting experiments, for your own members. Goes on where an earlier call stopped.

    Example: tstitch-search analyze studies/quickstart.yaml --only similarity,frequency
    """
    from tstitch_search.api import load_study, run_folder
    from tstitch_search.report.analysis_tables import COLUMNS
    from tstitch_search.tasks.analysis.variants import Wanted

    loaded = load_study(study, overrides(settings, None, workers, device))
    wanted = Wanted(
        names=tuple(COLUMNS) if only is None else tuple(_listed(only)),
        n_images=n,
        n_allocations=allocations,
        steps=tuple(map(int, _numbers(steps, "--steps", whole=True))),
        solvers=tuple(_listed(solvers)),
        guidance=tuple(_numbers(guidance, "--guidance")),
    )
    if price:
        _print_price(loaded, wanted, as_json)
    else:
        _analyze_and_print(loaded, wanted, run_folder(loaded, output), as_json)


def _print_price(study: "Study", wanted: "Wanted", as_json: bool) -> None:
    from tstitch_search.tasks.analysis import price_analysis

    found = price_analysis(study, wanted)
    if found is None:
        print("null" if as_json else "no image has to be made")
        return
    told = {"n_images": found.n_images, "device_seconds": found.stages_s, "basis": found.basis}
    print(json.dumps(told, indent=2) if as_json else found)


def _analyze_and_print(study: "Study", wanted: "Wanted", folder: "Path", as_json: bool) -> None:
    """Raises typer.Exit when it was interrupted or allocations failed."""
    from tstitch_search.cli.running import interrupted
    from tstitch_search.display import shown
    from tstitch_search.signals import stop_on_signals
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.tasks.analysis import analyze_study

    try:
        with shown(said()) as progress, stop_on_signals() as is_stopping:
            found = analyze_study(study, folder, wanted, open_pool, progress, is_stopping)
    except KeyboardInterrupt as stop:
        raise interrupted(stop) from None
    print(json.dumps(_as_json(found), indent=2) if as_json else _as_text(found))
    if found.n_failed:
        raise typer.Exit(4)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if text else []


def _numbers(text: str | None, option: str, *, whole: bool = False) -> list[float]:
    """Numbers as typed. Raises ConfigError for anything else."""
    from tstitch_search.errors import ConfigError

    try:
        return [int(part) if whole else float(part) for part in _listed(text)]
    except ValueError as error:
        expected = "whole numbers such as 10,20,50" if whole else "numbers such as 1,1.5,4"
        raise ConfigError(f"{option}: got {text!r:.60}, expected {expected}") from error


def _as_text(found: "Analyzed") -> str:
    """What was written, a line for each file."""
    said = [f"{path}  {len(table.rows)} rows" for table, path in zip(found.tables, found.paths, strict=True)]
    said += ["Nothing new was measured: everything was there already."] if found.n_new == 0 and said else []
    said += [str(found.report)] if found.report else []
    return "\n".join(said) or "Nothing could be analyzed; see the notes above."


def _as_json(found: "Analyzed") -> dict[str, object]:
    return {
        "tables": {table.name: table.records() for table in found.tables},
        "files": [str(path) for path in found.paths],
        "report": str(found.report) if found.report else None,
        "n_new": found.n_new,
        "n_failed": found.n_failed,
    }
