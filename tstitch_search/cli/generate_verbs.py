"""What makes images for people, before a search and after. Each verb imports what it needs itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from tstitch_search.cli.app import Device, OtherStudy, Settings, app, overrides, require_output, said, seconds, share

# The options that only a table can answer.
OF_A_TABLE = ("budget", "max_fid_loss", "at", "labels", "prompt", "negative_prompt", "seed", "strict")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@app.command()
def generate(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(help="A study file, a run folder, or its lookup.json.", metavar="STUDY|RUN")
    ],
    allocation: Annotated[
        list[str] | None, typer.Option("--allocation", "-a", help="For example 'S*8-XL*12'; repeat it to compare.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Images per allocation, of a study.", min=1)] = 16,
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write.")] = Path("grid.png"),
    budget: Annotated[str | None, typer.Option(help="Of a table: time for one batch, 0.8s or 250ms.")] = None,
    max_fid_loss: Annotated[str | None, typer.Option(help="Of a table: how much worse than the largest: 2%.")] = None,
    at: Annotated[str | None, typer.Option(help="Of a table: another operating point.", metavar="ID")] = None,
    labels: Annotated[str | None, typer.Option(help="Of a table: a class label for each image, as 3,7.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Of a table: an image's prompt; repeat it for more.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="Of a table: what no image shall show.")] = None,
    seed: Annotated[int, typer.Option(help="Of a table: image i has the noise of seed + i.", min=0)] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse files that are not those of the table.")] = False,
    study: OtherStudy = None,
    settings: Settings = None,
    device: Device = None,
) -> None:
    """Sample images of a study's allocations or of a pick. Side by side they have the same seeds.

    Example: tstitch-search generate studies/quickstart.yaml -a 'B-free*4-XL*4-B*12' -a 'XL*20' -n 8 -o grid.png

    Example: tstitch-search generate reports/quickstart/lookup.json --budget 0.3s --labels 3,7 -o out.png
    """
    from tstitch_search import api

    require_output(output, PICTURES)
    of_run = api.is_of_run(source)
    if not of_run:
        _refuse_for_a_study(source, context.params)
    made = api.generate(
        source,
        allocation or (),
        n=n,
        labels=_whole_numbers(labels),
        prompts=prompt or (),
        negative_prompt=negative_prompt,
        seed=seed,
        budget_s=seconds(budget),
        max_fid_loss=share(max_fid_loss),
        at=at,
        strict=strict,
        study=study,
        overrides=overrides(settings, None, None, device),
        progress=said(),
    )
    from tstitch_search.measure.picture_files import save_grid, save_strip

    if of_run:
        save_strip(next(iter(made.values())), output)
    else:
        save_grid(made, output)
    print(output)


def _refuse_for_a_study(study: Path, given: Mapping[str, object]) -> None:
    """Raises ConfigError when an option was given that only a table can answer."""
    from tstitch_search.errors import ConfigError

    if useless := [name for name in OF_A_TABLE if given[name]]:
        raise ConfigError(
            f"--{useless[0].replace('_', '-')} asks a lookup table, got the study {study}",
            hint="give the lookup.json of its run, or leave it out",
        )


def _whole_numbers(text: str | None) -> tuple[int, ...]:
    from tstitch_search.errors import ConfigError

    parts = [part.strip() for part in text.split(",")] if text else []
    if wrong := [part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 10)]:
        raise ConfigError(f"--labels: got {wrong[0]!r:.40}, expected whole numbers as 3,7")
    return tuple(map(int, parts))
