"""What is asked before device time is spent. Each verb imports what it needs itself."""

import json
from dataclasses import asdict
from math import comb
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from tstitch_search.cli.app import AsJson, Device, Settings, StudyPath, app, overrides, said

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tstitch_search.tasks.check import Check, Match, Speed

BARS = "▁▂▃▄▅▆▇█"


@app.command()
def check(
    study: StudyPath,
    probe: Annotated[
        int, typer.Option(help="Load the members too, and compare their predictions on so many images.", min=0)
    ] = 0,
    settings: Settings = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Do the members fit together, and what could be gained?

    Reads configurations only; exit code 2 when they do not.

    Example: tstitch-search check studies/quickstart.yaml --probe 8
    """
    from tstitch_search import api
    from tstitch_search.cli.tables import console
    from tstitch_search.errors import ConfigError

    given = overrides(settings, None, None, device)
    found = api.check(study, probe=probe, overrides=given, progress=said())
    print(json.dumps(_as_json(found), indent=2) if as_json else _as_text(found, console().width))
    if found.missing and not (found.misfit or found.beside):
        raise found.missing
    if found.problem:
        of_members = "other denoisers, or `convert: true` in the space where it is offered"
        raise ConfigError(found.problem, of_members if found.misfit else "add some, or lower the numbers of images")


def _bars(values: "Sequence[float]") -> str:
    """A bar for each value between the smallest and 1."""
    low = min(values)
    span = max(1 - low, 1e-9)
    return "".join(BARS[min(int((value - low) / span * len(BARS)), len(BARS) - 1)] for value in values)


def _as_text(found: "Check", width: int) -> str:
    """A line for each pair that differs, one for all others together; then what could be gained."""
    lines = [f"{found.study}: do its members fit together?", *_pairs(found.matches, width)]
    lines += [f"Note: {remark}." for remark in found.remarks]
    if found.beside:
        lines.append(f"Beside the members: {found.beside}.")
    if found.missing:
        lines.append(f"Beside the members: {found.missing.message}.")
    if found.speed:
        relative = ", ".join(f"{factor:.3g} of {name}" for name, factor in found.speed.relative.items())
        lines.append(f"One step of the slowest takes as long as {relative} (from {found.speed.basis}).")
        lines.append(_bound(found.speed))
    else:
        lines.append("How fast they are is not known: the weights are not all on this machine.")
    if alike := found.similarity:
        lines.append(f"Cosine similarity of predictions, noise end to image end, n = {alike.n_images} images:")
        longest = max(len(f"{pair.first}, {pair.second}") for pair in alike.pairs)
        for pair in alike.pairs:
            first, last, low = pair.mean[0], pair.mean[-1], min(pair.mean)
            shown = f"{_bars(pair.mean)}  {first:.3f} to {last:.3f}, least {low:.3f}"
            lines.append(f"  {f'{pair.first}, {pair.second}':{longest}}  {shown}")
    return "\n".join(lines)


def _pairs(matches: "Sequence[Match]", width: int) -> "Iterator[str]":
    """What was held against what, and what came of it: pairs of which the same is said share their lines."""
    alike: dict[tuple[str, str], list[Match]] = {}
    for match in matches:
        compared = ", ".join(dict.fromkeys("VAE" if "VAE" in f.what else f.what for f in match.findings))
        said = "; ".join(map(str, match.differing)) or compared
        alike.setdefault((match.verdict, said), []).append(match)
    for (verdict, said), pairs in alike.items():
        yield from wrap(f"{_whom(pairs)}: {verdict}", width, initial_indent="  ", subsequent_indent="  ")
        yield from wrap(said, width, initial_indent="    ", subsequent_indent="    ")


def _whom(pairs: "Sequence[Match]") -> str:
    """The pairs in words, the shorter way where they are all that can be made."""
    if len({match.other for match in pairs}) == 1:
        return f"{pairs[0].other} with {', '.join(match.who for match in pairs)}"
    names = list(dict.fromkeys(name for match in pairs for name in (match.other, match.who)))
    if len(pairs) == comb(len(names), 2):
        return f"{', '.join(names)} with each other"
    return "; ".join(f"{match.other} with {match.who}" for match in pairs)


def _as_json(found: "Check") -> dict[str, object]:
    return {
        "study": found.study,
        "fits": found.misfit is None,
        "problem": found.problem,
        "beside_the_members": found.beside,
        "matches": [
            {
                "denoiser": match.who,
                "other": match.other,
                "verdict": match.verdict,
                "differing": [{"what": f.what, "verdict": f.verdict, "said": str(f)} for f in match.differing],
            }
            for match in found.matches
        ],
        "remarks": found.remarks,
        "speed": found.speed and _speed(found.speed),
        "similarity": found.similarity and asdict(found.similarity),
    }


def _speed(speed: "Speed") -> dict[str, object]:
    best = {"best_speed_up": speed.best, "best_speed_up_se": speed.best_se, "at_most": speed.at_most}
    return {"relative": speed.relative, **best, "basis": speed.basis}


def _bound(speed: "Speed") -> str:
    """What no allocation gains more than, with the error of what that is computed from."""
    if not speed.best_se:
        return f"No allocation can be more than about {speed.best:.3g} times as fast as the slowest alone."
    return (
        f"No allocation can be more than {speed.at_most:.3g} times as fast as the slowest alone "
        f"(95 %; {speed.best:.3g} ± {speed.best_se:.2g})."
    )
