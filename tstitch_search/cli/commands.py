"""The verbs. Each imports what it needs itself, so that `--help` and `pick` stay fast.

A long file of short functions: one for each verb, its options and its help.
"""

import json
import sys
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tstitch_search import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find which diffusion denoiser should take which sampling steps: a lookup table of time against FID.",
)

StudyPath = Annotated[Path, typer.Argument(help="Study file, for example studies/quickstart.yaml.", metavar="STUDY")]
TablePath = Annotated[Path, typer.Argument(help="A lookup.json.", metavar="LOOKUP")]
RunPath = Annotated[Path, typer.Argument(help="A run folder, for example reports/quickstart.", metavar="RUN_DIR")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one setting, for example --set quality.n_images=200.", metavar="KEY=VALUE"),
]
Budget = Annotated[str | None, typer.Option(help="Search no longer than this device time: 90s, 15m, 2h.")]
Workers = Annotated[int | None, typer.Option(help="Number of workers.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; default reports/STUDY-NAME.")]
OtherStudy = Annotated[
    Path | None, typer.Option(help="Study file, where the table's own paths lead nowhere.", metavar="STUDY")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table for people.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tstitch-search {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    study: StudyPath,
    settings: Settings = None,
    budget: Budget = None,
    workers: Workers = None,
    device: Device = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Search, confirm and write the lookup table and the report; go on where an earlier run stopped.

    Example: tstitch-search run studies/quickstart.yaml
    """
    from tstitch_search.cli.display import show_progress
    from tstitch_search.cli.tables import print_outcome
    from tstitch_search.config import load_study
    from tstitch_search.run import run_study
    from tstitch_search.run.pool import open_pool

    loaded = load_study(study, _overrides(settings, budget, workers, device))
    try:
        with show_progress() as progress:
            outcome = run_study(loaded, _folder(output, loaded.config.name), open_pool, progress)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    print_outcome(outcome, as_json)
    if outcome.n_failed:
        raise typer.Exit(4)


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
    as_json: AsJson = False,
) -> None:
    """Check everything, count the allocations and price the study, without running it.

    Example: tstitch-search plan studies/quickstart.yaml --calibrate
    """
    from tstitch_search.cli.display import show_progress
    from tstitch_search.cli.tables import print_plan
    from tstitch_search.config import load_study
    from tstitch_search.run.plan import plan_study
    from tstitch_search.run.pool import open_pool

    loaded = load_study(study, _overrides(settings, budget, workers, device))
    with show_progress() as progress:
        found = plan_study(loaded, _folder(output, loaded.config.name), open_pool if calibrate else None, progress)
    print_plan(found, as_json)


@app.command()
def calibrate(
    study: StudyPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("calibration.json"),
    settings: Settings = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure each denoiser's step time and memory, and write a file that `latency.from` repeats a study with.

    Example: tstitch-search calibrate studies/quickstart.yaml -o calibration.json
    """
    from tstitch_search.cli.display import show_progress
    from tstitch_search.cli.tables import print_calibration
    from tstitch_search.config import load_study
    from tstitch_search.run.pool import open_pool
    from tstitch_search.run.step_times import calibrate_study

    loaded = load_study(study, ["workers.n_workers=1", *_overrides(settings, None, None, device)])
    with show_progress() as progress:
        calibration = calibrate_study(loaded, output, open_pool, progress)
    print_calibration(calibration, output, as_json)


@app.command()
def generate(
    study: StudyPath,
    allocation: Annotated[
        list[str], typer.Option("--allocation", "-a", help="For example 'S*8-XL*12'; repeat it to compare.")
    ],
    n: Annotated[int, typer.Option("-n", help="Images per allocation.", min=1)] = 16,
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write.")] = Path("grid.png"),
    settings: Settings = None,
    device: Device = None,
) -> None:
    """Try allocations before searching: sample images with the same seeds, one row per allocation.

    Example: tstitch-search generate studies/quickstart.yaml -a 'S*8-XL*12' -a 'XL*20' -n 8 -o grid.png
    """
    from tstitch_search.cli.display import show_progress
    from tstitch_search.config import load_study
    from tstitch_search.run.generate import generate_grid
    from tstitch_search.run.pool import open_pool

    inline = ["workers.pool=inline"]
    loaded = load_study(study, [*_overrides(settings, None, None, device), *inline])
    with show_progress() as progress:
        generate_grid(loaded, allocation, n, output, open_pool, progress)
    print(output)


@app.command()
def pick(
    table: TablePath,
    budget: Annotated[str | None, typer.Option(help="Time for one batch: 0.8s or 250ms.")] = None,
    max_fid: Annotated[float | None, typer.Option(help="The FID to stay below.")] = None,
    limit: Annotated[
        float | None, typer.Option(help="The worst value to accept, of a table about another metric.")
    ] = None,
    max_fid_loss: Annotated[
        str | None, typer.Option(help="How much worse than the largest denoiser it may be: 2%.")
    ] = None,
    max_memory: Annotated[
        float | None, typer.Option(help="Peak memory in MB not to exceed.", metavar="MB", min=0)
    ] = None,
    at: Annotated[str | None, typer.Option(help="Another operating point of the table.", metavar="ID")] = None,
    as_json: AsJson = False,
) -> None:
    """The allocation to deploy: the best within a time budget, or the fastest within an FID.

    Example: tstitch-search pick reports/quickstart/lookup.json --budget 0.8s
    """
    from tstitch_search.lookup import LookupTable

    lookup = LookupTable.read(table)
    entry = lookup.pick(_seconds(budget), max_fid, limit, _share(max_fid_loss), max_memory, at)
    if as_json:
        print(json.dumps(entry.to_json(lookup.objective), indent=2))
    else:
        (option,) = (o for o in lookup.options(at) if o.candidate == entry)
        quality = f"{entry.quality:.4g} ± {entry.quality_se:.2g} (n = {entry.n_images})"
        memory = f"  {option.memory_mb:.0f} MB" if option.memory_mb < inf else ""
        print(f"{entry.allocation}  {option.latency_s:.4g} s  {lookup.objective.label} {quality}{memory}")


@app.command()
def report(
    folder: RunPath,
) -> None:
    """Write the report of a run folder again.

    Example: tstitch-search report reports/quickstart
    """
    from tstitch_search.report import write_report

    print(write_report(folder))


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
    """The table for this device: times measured anew, the front with them; qualities are kept.

    Example: tstitch-search recalibrate reports/quickstart/lookup.json -o lookup-here.json
    """
    from tstitch_search.cli.display import show_progress
    from tstitch_search.cli.tables import print_table
    from tstitch_search.run.pool import open_pool
    from tstitch_search.run.recalibrate import recalibrate as measure_again

    with show_progress() as progress:
        made = measure_again(table, point, open_pool, progress, study, _overrides(settings, None, None, device))
    made.write(output)
    print_table(made, output, as_json)


@app.command()
def verify(
    table: TablePath,
    max_fid_loss: Annotated[str, typer.Option(help="How much worse than the table says an entry may be.")] = "2%",
    entries: Annotated[int, typer.Option(help="How many entries to measure again, spread over the front.", min=1)] = 3,
    study: OtherStudy = None,
    settings: Settings = None,
    workers: Workers = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure a few entries again, after an upgrade or on another machine; exit code 5 when one does not hold.

    Example: tstitch-search verify reports/quickstart/lookup.json --max-fid-loss 2%
    """
    from tstitch_search.cli.display import show_progress
    from tstitch_search.cli.tables import print_verification
    from tstitch_search.run.pool import open_pool
    from tstitch_search.run.verify import verify as measure_again

    max_loss = _share(max_fid_loss) or 0.0
    with show_progress() as progress:
        given = _overrides(settings, None, workers, device)
        found = measure_again(table, max_loss, entries, open_pool, progress, study, given)
    print_verification(found, as_json)
    if not found.passed:
        raise typer.Exit(5)


@app.command()
def compare(
    folder: RunPath,
    first: Annotated[str, typer.Argument(help="An allocation, for example 'S*8-XL*12'.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    metric: Annotated[str | None, typer.Option(help="Instead of the study's objective, for example kid.")] = None,
    as_json: AsJson = False,
) -> None:
    """The difference between two allocations over the same images, with its interval, or "cannot tell apart".

    Example: tstitch-search compare reports/quickstart 'S*8-XL*12' 'XL*20'
    """
    from tstitch_search.cli.tables import print_comparison
    from tstitch_search.run.compare import compare as compare_two

    print_comparison(compare_two(folder, first, second, metric), as_json)


@app.command()
def requality(
    folder: RunPath,
    metric: Annotated[
        str, typer.Option(help="fid, kid, inception_score, precision, recall or clip_score.", metavar="NAME")
    ],
    reference: Annotated[
        str | None, typer.Option(help="Other real images to compare with: an .npz or zoo:FAMILY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Another metric of everything that was measured, from the stored features; needs no device.

    Example: tstitch-search requality reports/quickstart --metric kid
    """
    from tstitch_search.cli.tables import print_requality
    from tstitch_search.run.requality import requality as compute

    print_requality(compute(folder, metric, reference), as_json)


@app.command()
def schema(what: Annotated[Literal["study", "space"], typer.Argument(help="Which kind of file.")]) -> None:
    """The JSON Schema of study or search space files, for editors.

    Example: tstitch-search schema study > study.schema.json
    """
    from tstitch_search.config import json_schema

    json.dump(json_schema(what), sys.stdout, indent=2)
    print()


def _overrides(settings: list[str] | None, budget: str | None, workers: int | None, device: str | None) -> list[str]:
    """The flags as `key=value` settings; a flag wins over --set."""
    flags = {"search.device_seconds": budget, "workers.n_workers": workers, "workers.device": device}
    return [*(settings or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]


def _folder(output: Path | None, name: str) -> Path:
    return output or Path("reports") / name


def _seconds(text: str | None) -> float | None:
    from tstitch_search.config.quantities import Seconds

    return _quantity(text, Seconds, "a time, expected for example 0.8s, 250ms or 2m")


def _share(text: str | None) -> float | None:
    from tstitch_search.config.quantities import Fraction

    return _quantity(text, Fraction, "a share, expected for example 2% or 0.02")


def _quantity(text: str | None, kind: Any, expected: str) -> float | None:
    from pydantic import TypeAdapter, ValidationError

    from tstitch_search.errors import ConfigError

    try:
        return None if text is None else float(TypeAdapter(kind).validate_python(text))
    except ValidationError as error:
        raise ConfigError(f"{text!r} is not {expected}") from error
