"""Allocations that were chosen by hand, confirmed beside the front of the guidance study on the same images.

`python benchmarks/guidance_lines.py RUN_DIR`, on a copy of the finished run folder of `studies/guidance.yaml`: only the
lines are measured anew. Then `tstitch-search compare RUN_DIR A B` for any two.
"""

import sys
from typing import Any

import tstitch_search as ts
from tstitch_search import study_run
from tstitch_search.allocation import Allocation

LINES = tuple(map(Allocation.parse, ("B*16-XL-free*4", "XL-free*4-B*16", "XL-free*6-XL*8-XL-free*6")))
select = study_run.select_for_confirmation


def select_with_lines(*args: Any) -> list[Allocation]:
    """What the study confirms, and the lines."""
    return list(dict.fromkeys([*select(*args), *LINES]))


if __name__ == "__main__":
    study_run.select_for_confirmation = select_with_lines  # type: ignore[attr-defined]
    ts.run("studies/guidance.yaml", sys.argv[1])
