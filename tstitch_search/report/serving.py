"""Whether one table serves all groups of images, in a sentence."""

from collections.abc import Mapping
from typing import Any

from tstitch_search.lookup import Objective


def one_table_for_all(about: Mapping[str, Any], objective: Objective, margin: float | None) -> str:
    """The answer that the provenance's `groups` give; `margin`: the loss that counts as none.

    "No" where a gain of choosing by group is shown, "yes" where one of `margin` or more is ruled out.
    """
    found, n = about["gains"], len(about["n_images"])
    if not found:
        return f"Whether one table serves all {n} groups cannot be said: too few images of each, or one entry only."
    shown = [g for g in found if g["low"] > 0]
    held = f"95 %, over {about['n_compared']:,} comparisons together"
    if shown:
        g = shown[0]
        more = f"; so does choosing by itself in {len(shown) - 1} more" if len(shown) > 1 else ""
        return (
            f"One table does not serve all {n} groups: in {g['group']}, {g['better']} is faster than {g['instead_of']} "
            f"and better by {g['gain']:.3g} of {objective.label} ({g['low']:.2g} to {g['high']:.2g}; {held}){more}."
        )
    above = f" of more than {about['ruled_out']:.2g} of {objective.label}" if about["ruled_out"] > 0 else ""
    most = f"gains{above} are ruled out ({held})"
    if margin is not None and about["ruled_out"] <= margin:
        return f"One table serves all {n} groups: {most}."
    return f"Choosing by group is not shown to gain anything in any of {n} groups; {most}."
