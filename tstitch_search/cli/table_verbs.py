"""What is done with a lookup table. Each verb imports what it needs itself, so that `pick` stays fast."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tstitch_search.cli.app import (
    AsJson,
    Device,
    OtherStudy,
    Settings,
    TablePath,
    Workers,
    app,
    overrides,
    require_output,
    said,
    seconds,
    share,
)


@app.command()
def pick(
    table: TablePath,
    budget: Annotated[str | None, typer.Option(help="Time for one batch: 0.8s or 250ms.")] = None,
    max_fid: Annotated[float | None, typer.Option(help="The FID to stay below.")] = None,
    limit: Annotated[
        float | None, typer.Option(help="The worst value to accept, of a table about another metric.")
    ] = None,
    max_fid_loss: Annotated[str | None, typer.Option(help="How much worse than the anchor it may be: 2%.")] = None,
    max_memory: Annotated[
        float | None, typer.Option(help="Peak memory in MB not to exceed.", metavar="MB", min=0)
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="The fastest that is shown to lose nothing.")] = False,
    at: Annotated[str | None, typer.Option(help="Another operating point of the table.", metavar="ID")] = None,
    at_batch: Annotated[int | None, typer.Option(help="The operating point with batches of so many images.")] = None,
    group: Annotated[
        str | None, typer.Option(help="By the values of this group of images alone.", metavar="NAME")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The best allocation in a time budget or quality limit.

    Example: tstitch-search pick reports/quickstart/lookup.json --budget 0.3s
    """
    from tstitch_search.api import load_table

    lookup = load_table(table)
    if group is not None:
        lookup = lookup.of_group(group)
    entry = lookup.pick(seconds(budget), max_fid, limit, share(max_fid_loss), max_memory, at, at_batch, lossless)
    picked = lookup.describe(entry, at, at_batch)
    if lossless and entry.allocation == lookup.anchor:
        from tstitch_search.lookup import promising

        left, could = f"{lookup.anchor_name}, the anchor, is what is left", promising(lookup)
        more = f"; {could}: run --until-lossless" if could else ""
        typer.echo(f"no faster entry is shown to lose nothing; {left}{more}", err=True)
    if as_json:
        print(json.dumps({**entry.to_json(lookup.objective), "picked_at": picked.to_json()}, indent=2))
    else:
        print(f"{entry.allocation}  {picked}")


@app.command()
def recalibrate(
    table: TablePath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table to write.")] = Path("lookup-here.json"),
    point: Annotated[str, typer.Option("--id", help="Name of this device's operating point.")] = "here",
    study: OtherStudy = None,
    settings: Settings = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """The table for this device: times anew, qualities kept.

    Example: tstitch-search recalibrate reports/quickstart/lookup.json -o lookup-here.json
    """
    require_output(output)
    from tstitch_search import api

    given = overrides(settings, None, None, device)
    made = api.recalibrate(table, point, study=study, overrides=given, progress=said())
    from tstitch_search.cli.tables import print_table

    made.write(output)
    print_table(made, output, as_json)


@app.command()
def merge(
    first: TablePath,
    second: Annotated[Path, typer.Argument(help="Another table of the same key, or its run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Table to write.")] = Path("lookup-merged.json"),
    as_json: AsJson = False,
) -> None:
    """Two tables of one study, or of its seeds, made into one.

    Example: tstitch-search merge reports/a/lookup.json reports/b/lookup.json -o lookup-merged.json
    """
    require_output(output)
    from tstitch_search import api

    made = api.merge(first, second)
    from tstitch_search.cli.tables import print_table

    made.write(output)
    print_table(made, output, as_json)


@app.command()
def verify(
    table: TablePath,
    max_fid_loss: Annotated[str, typer.Option(help="How much worse than the table says an entry may be.")] = "2%",
    max_slowdown: Annotated[
        float, typer.Option(help="How many times as long as the table says an entry may take.", min=1)
    ] = 1.25,
    entries: Annotated[int, typer.Option(help="How many entries to measure again, spread over the front.", min=1)] = 3,
    study: OtherStudy = None,
    settings: Settings = None,
    workers: Workers = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Whether a table still holds. Measures quality and time of a few entries again; exit code 5 when one differs.

    Example: tstitch-search verify reports/quickstart/lookup.json --max-fid-loss 2%
    """
    from tstitch_search import api

    given, max_loss = overrides(settings, None, workers, device), share(max_fid_loss) or 0.0
    found = api.verify(
        table,
        max_fid_loss=max_loss,
        max_slowdown=max_slowdown,
        n_entries=entries,
        study=study,
        overrides=given,
        progress=said(),
    )
    from tstitch_search.cli.verification import print_verification

    print_verification(found, as_json)
    if not found.passed:
        raise typer.Exit(5)
