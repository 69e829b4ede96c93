"""What is done with a run folder. Each verb imports what it needs itself."""

from typing import Annotated

import typer

from tstitch_search.cli.app import (
    AsJson,
    RunPath,
    app,
    said,
)


@app.command()
def report(
    folder: RunPath,
    png: Annotated[bool, typer.Option("--png", help="The plots as PNG files too; needs kaleido.")] = False,
) -> None:
    """Write the report of a run folder again.

    While the run goes on, it tells how far that is.

    Example: tstitch-search report reports/quickstart
    """
    from tstitch_search.report.pictures import write_pictures
    from tstitch_search.report.writing import write_report

    print(write_report(folder))
    for path in write_pictures(folder) if png else []:
        print(path)


@app.command()
def compare(
    folder: RunPath,
    first: Annotated[str, typer.Argument(help="An allocation, for example 'S*8-XL*12'.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    metric: Annotated[str | None, typer.Option(help="Instead of the study's objective, for example kid.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which of two allocations is better, or "cannot tell apart". Over the same images, with its interval.

    Example: tstitch-search compare reports/quickstart 'B-free*4-XL*4-B*12' 'XL*20'
    """
    from tstitch_search.cli.tables import print_comparison
    from tstitch_search.tasks.compare import compare as compare_two

    print_comparison(compare_two(folder, first, second, metric), as_json)


@app.command()
def requality(
    folder: RunPath,
    metric: Annotated[
        str,
        typer.Option(help="fid, kid, clip_score, ssim or another that the run has.", metavar="NAME"),
    ],
    reference: Annotated[
        str | None, typer.Option(help="Other real images to compare with: an .npz or zoo:FAMILY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Another metric of all that was measured, without a device. From the stored features.

    Example: tstitch-search requality reports/quickstart --metric kid
    """
    from tstitch_search.cli.tables import print_requality
    from tstitch_search.display import shown
    from tstitch_search.tasks.requality import requality as compute

    with shown(said()) as progress:
        found = compute(folder, metric, reference, progress)
    print_requality(found, as_json)
