"""A lookup table in other tools' terms. Each verb imports what it needs itself."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tstitch_search.cli.app import OtherStudy, Settings, TablePath, app, overrides, require_output


@app.command()
def export(
    table: TablePath,
    form: Annotated[
        Literal["csv", "diffusers", "comfyui"],
        typer.Option(
            "--format",
            help="csv: a row for each step; diffusers: JSON, segments with timesteps and sigmas; comfyui: a workflow "
            "of stock nodes for one entry of SDXL, FLUX or Wan.",
        ),
    ] = "csv",
    allocation: Annotated[
        str | None, typer.Option("--allocation", "-a", help="The entry, as S*8-XL*12; default: all of the front.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: print it.")] = None,
    study: OtherStudy = None,
    settings: Settings = None,
) -> None:
    """Which denoiser takes which step, for other samplers. As CSV or JSON, of every entry, with timesteps and sigmas.

    Or one entry as a ComfyUI workflow, checked against node definitions, not run in ComfyUI (docs/tools.md).

    Example: tstitch-search export reports/quickstart/lookup.json --format csv -o steps.csv
    """
    from tstitch_search.files import write_whole
    from tstitch_search.tasks.export import export as write

    if output is not None:
        require_output(output)
    text = write(table, form, study, overrides(settings, None, None, None), allocation)
    if output is None:
        print(text, end="")
    else:
        write_whole(output, text.encode())
        print(output)
