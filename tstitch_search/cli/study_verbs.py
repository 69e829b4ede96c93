"""What is done with a study file. Each verb imports what it needs itself, so that `--help` stays fast."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tstitch_search.cli.app import (
    AsJson,
    Budget,
    Device,
    Output,
    Settings,
    StudyPath,
    Workers,
    app,
    overrides,
    require_output,
    said,
)


@app.command()
def run(
    study: StudyPath,
    settings: Settings = None,
    budget: Budget = None,
    workers: Workers = None,
    device: Device = None,
    output: Output = None,
    until_lossless: Annotated[
        bool,
        typer.Option("--until-lossless", help="Where nothing is shown lossless, make more images of what could be."),
    ] = False,
    as_json: AsJson = False,
    json_log: Annotated[
        bool, typer.Option("--json-log", help="Say what happens as JSON on stderr, one event a line.")
    ] = False,
    tracker: Annotated[
        Literal["tensorboard", "mlflow", "wandb"] | None,
        typer.Option(help="Also send curves to an experiment tracker; mlflow and wandb need the extra of that name."),
    ] = None,
) -> None:
    """Search, confirm, and write the lookup table and the report. Goes on where an earlier run stopped.

    Example: tstitch-search run studies/quickstart.yaml
    """
    from tstitch_search.cli.running import run_and_show

    given = overrides(settings, budget, workers, device)
    given += ["confirm.until_lossless=true"] if until_lossless else []
    run_and_show(study, given, output, as_json=as_json, json_log=json_log, tracker=tracker)


@app.command()
def plan(
    study: StudyPath,
    settings: Settings = None,
    budget: Budget = None,
    workers: Workers = None,
    device: Device = None,
    output: Output = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure step times first, for an exact price.")
    ] = False,
    usd_per_hour: Annotated[
        float | None, typer.Option(help="What one worker's device costs an hour: the plan then says dollars.", min=0)
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(help="A standard error of the difference to the anchor: how many images bring it down to that?"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check, count and price a study without running it.

    Example: tstitch-search plan studies/quickstart.yaml --calibrate
    """
    from tstitch_search import api
    from tstitch_search.errors import ConfigError

    if error is not None and error <= 0:
        raise ConfigError(f"--error: got {error:g}, expected a standard error above 0, in the objective's own unit")
    given = overrides(settings, budget, workers, device)
    found = api.plan(study, output, overrides=given, calibrate=calibrate, progress=said())
    from tstitch_search.cli.tables import print_plan

    print_plan(found, as_json, usd_per_hour, error)


@app.command()
def calibrate(
    study: StudyPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("calibration.json"),
    settings: Settings = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Time each denoiser's step, into a file. With `latency.from` it repeats a study's decisions.

    Example: tstitch-search calibrate studies/quickstart.yaml -o calibration.json
    """
    from tstitch_search import api

    require_output(output)
    calibration = api.calibrate(study, output, overrides=overrides(settings, None, None, device), progress=said())
    from tstitch_search.cli.tables import print_calibration

    print_calibration(calibration, output, as_json)


@app.command()
def schema(
    what: Annotated[Literal["study", "space", "lookup"], typer.Argument(help="Which kind of file.")],
) -> None:
    """The JSON Schema of study, space or lookup files. For editors, and for readers of tables.

    Example: tstitch-search schema study > study.schema.json
    """
    from tstitch_search.config import json_schema
    from tstitch_search.lookup import lookup_schema

    json.dump(lookup_schema() if what == "lookup" else json_schema(what), sys.stdout, indent=2)
    print()
