"""Members trained on for what they are used for. Each verb imports what it needs itself."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tstitch_search.cli.app import AsJson, Device, OtherStudy, Settings, TablePath, app, overrides, said


@app.command()
def finetune(
    table: TablePath,
    entry: Annotated[str, typer.Option(help="An allocation of the table, for example 'S*8-XL*12'.")],
    member: Annotated[str, typer.Option(help="The denoiser to train, for example S.", metavar="NAME")],
    data: Annotated[
        str, typer.Option(help="Images in a folder for each class, 000/, 001/, ...; or zoo:fashion.", metavar="DIR")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained member.")],
    iterations: Annotated[int, typer.Option(help="Batches to train on.", min=1)] = 5000,
    batch_size: Annotated[int, typer.Option(help="Images in each.", min=1)] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW; falls to zero over the last quarter.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Seed of the batches, their noise and timesteps.", min=0)] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Iterations between two checkpoints.", min=1)] = 500,
    study: OtherStudy = None,
    settings: Settings = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a member on the timesteps that an allocation leaves it. Into a folder that a search space can name.

    Interrupted, the same command goes on from its last checkpoint.

    Example: tstitch-search finetune LOOKUP --entry 'S*12-B*8' --member S --data zoo:fashion -o S_tuned
    """
    from tstitch_search.allocation import Allocation
    from tstitch_search.display import shown
    from tstitch_search.tasks.finetune import Wanted
    from tstitch_search.tasks.finetune import finetune as train

    wanted = Wanted(member, data, iterations, batch_size, learning_rate, seed, checkpoint_every)
    given = overrides(settings, None, None, device)
    try:
        with shown(said()) as progress:
            made = train(table, Allocation.parse(entry), wanted, output, progress, study, given)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from its last checkpoint", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps({"folder": str(made.folder), "is_new": made.is_new, **made.record}, indent=2))
        return
    intervals = " and ".join(f"{first} to {last}" for first, last in made.record["settings"]["timesteps"])
    done = "trained" if made.is_new else "had been trained already"
    print(f"{member} of {entry} {done} on timesteps {intervals}: {made.folder}")
    print(f"in a search space: - {{name: {member}, weights: {made.folder.absolute()}}}")
