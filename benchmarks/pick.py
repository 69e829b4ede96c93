"""How long `LookupTable.pick` takes on a table of 5,000 entries, in microseconds; the goal is 50.

`uv run python benchmarks/pick.py` writes benchmarks/results/pick.md.
"""

import platform
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import LookupEntry, LookupTable, OperatingPoint

N_ENTRIES, N_ASKED, N_REPEATS, GOAL_US = 5000, 1000, 50, 50
RESULT = Path(__file__).parent / "results" / "pick.md"


def table() -> LookupTable:
    """A front of 5,000 entries: S*1-XL*5000, S*2-XL*4999, ... from slow and good to fast and bad."""
    n = N_ENTRIES
    entries = [
        LookupEntry(
            allocation=Allocation.of([("S", i), ("XL", n + 1 - i)]),
            latency_s=1 + (n - i) / n,
            latency_s_predicted=1 + (n - i) / n,
            latency_s_se=0.01,
            quality=10 + i / n,
            quality_se=0.1,
            n_images=5000,
            peak_memory_mb=1000 + i % 7,
            quality_difference=i / n,
        )
        for i in range(n, 0, -1)
    ]
    return LookupTable("pick", (OperatingPoint("default", "a device", 1),), tuple(entries), (), {})


def ask(table: LookupTable, question: str, x: float) -> None:
    """One question, `x` from 0 to 1 being where on the front its answer lies."""
    if question == "budget":
        table.pick(budget_s=1 + x)
    elif question == "FID":
        table.pick(max_fid=11.1 - x)
    elif question == "share of FID lost":
        table.pick(max_fid_loss=0.1 * (1 - x) + 0.001)
    else:
        table.pick(budget_s=1.1 + x, max_memory_mb=1003.5)


def microseconds(table: LookupTable, question: str) -> list[float]:
    """Mean time of a question in each repeat."""
    found = []
    for _ in range(N_REPEATS):
        began = perf_counter()
        for i in range(N_ASKED):
            ask(table, question, i / N_ASKED)
        found.append(1e6 * (perf_counter() - began) / N_ASKED)
    return found


def main() -> None:
    asked = table()
    rows = []
    for question in ("budget", "FID", "share of FID lost", "budget and memory"):
        began = perf_counter()
        ask(asked, question, 0.5)
        first = 1000 * (perf_counter() - began)
        low, median, high = quantiles(microseconds(asked, question), n=4)
        rows.append(f"| {question} | {median:.1f} ({low:.1f} to {high:.1f}) | {first:.1f} |")
    text = [
        f"# A pick from {N_ENTRIES:,} entries",
        "",
        f"Goal: {GOAL_US} microseconds. {N_REPEATS} repeats of {N_ASKED:,} picks each, one thread, "
        f"{platform.machine()}, Python {platform.python_version()}. Command: `uv run python benchmarks/pick.py`.",
        "",
        "| limit | microseconds a pick, median (quartiles) | the first pick, ms |",
        "|---|---|---|",
        *rows,
        "",
        "The first pick of a table prepares it; a limit on memory that was not asked lately prepares it for that.",
    ]
    RESULT.write_text("\n".join(text) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
