"""What is asked before device time is spent. Each verb imports what it needs itself."""

import json
from typing import TYPE_CHECKING

from tstitch_search.cli.app import AsJson, Settings, StudyPath, app, overrides

if TYPE_CHECKING:
    from tstitch_search.run.check import Check


@app.command()
def check(study: StudyPath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Do the members fit together, and what could be gained? Reads configurations only; exit code 2 when they do not.

    Example: tstitch-search check studies/quickstart.yaml
    """
    from tstitch_search.config import load_study
    from tstitch_search.errors import ConfigError
    from tstitch_search.run.check import check_study

    found = check_study(load_study(study, overrides(settings, None, None, None)))
    print(json.dumps(_as_json(found), indent=2) if as_json else _as_text(found))
    if found.problem:
        raise ConfigError(found.problem, hint="other denoisers, or `convert: true` in the space where it is offered")


def _as_text(found: "Check") -> str:
    """A line for each pair, with what differs; then what could be gained."""
    lines = [f"{found.study}: do its members fit together?"]
    width = max(len(f"{match.who}, {match.other}") for match in found.matches)
    for match in found.matches:
        compared = ", ".join(dict.fromkeys("VAE" if "VAE" in f.what else f.what for f in match.findings))
        said = "; ".join(map(str, match.differing)) or compared
        lines.append(f"  {f'{match.who}, {match.other}':{width}}  {match.verdict:11}  {said}")
    if found.speed:
        relative = ", ".join(f"{factor:.3g} of {name}" for name, factor in found.speed.relative.items())
        lines.append(f"One step of the slowest takes as long as {relative} (from {found.speed.basis}).")
        lines.append(f"No allocation can be more than {found.speed.best:.3g} times as fast as the slowest alone.")
    else:
        lines.append("How fast they are is not known: the weights are not all on this machine.")
    return "\n".join(lines)


def _as_json(found: "Check") -> dict[str, object]:
    return {
        "study": found.study,
        "fits": found.problem is None,
        "problem": found.problem,
        "matches": [
            {
                "denoiser": match.who,
                "other": match.other,
                "verdict": match.verdict,
                "differing": [{"what": f.what, "verdict": f.verdict, "said": str(f)} for f in match.differing],
            }
            for match in found.matches
        ],
        "speed": found.speed
        and {"relative": found.speed.relative, "best_speed_up": found.speed.best, "basis": found.speed.basis},
    }
