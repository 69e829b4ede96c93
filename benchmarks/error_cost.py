"""What the error of a FID costs, and whether it is right. Writes results/error_cost.{json,md}.

    OMP_NUM_THREADS=1 uv run python benchmarks/error_cost.py [--replicates 200] [--only cost]

Cost: seconds of this process at 2,048 features, one thread: the value alone; with its error, each block of images left
out one by one, as it was done before; with its error from one eigenproblem (`quality/leave_out.py`), alone and with
control variates. Honesty: standard error over standard deviation of the replicates, Gaussian features with a spectrum
that decays exponentially, at 128, 512 and 2,048 features, of FID and of a paired difference.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tstitch_search.quality.control_variates import ControlVariates
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import without_each_block
from tstitch_search.quality.reference import Reference
from tstitch_search.study_run.folder import environment

RESULTS = Path(__file__).parent / "results"
N_COST, N_ALL, WIDE = (100, 500, 1000), 4000, 2048
CASES = [(d, n) for d in (128, 512, 2048) for n in (100, 250, 500, 1000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--only", choices=("cost", "honesty"), help="leave the other out, and what is written as it is")
    arguments = parser.parse_args()
    path = RESULTS / "error_cost.json"
    document = json.loads(path.read_text()) if path.exists() else {"cost": [], "honesty": []}
    document["environment"] = environment()
    if arguments.only != "honesty":
        document["cost"] = cost()
        write(path, document)
    if arguments.only != "cost":
        document["honesty"] = []
        for d, n in CASES:
            document["honesty"].append(honesty(d, n, arguments.replicates))
            write(path, document)


def spectrum(d: int) -> np.ndarray:
    return np.exp(-np.arange(d) / (d / 7))


def cost() -> list[dict]:
    """Seconds by number of images; the reference's root is made before."""
    rng, scales = np.random.default_rng(0), spectrum(WIDE)
    turn = np.linalg.qr(rng.normal(size=(WIDE, WIDE)))[0] * scales
    distance = FrechetDistance(Reference(np.zeros(WIDE), turn @ turn.T, None, None, ""))
    noise = rng.normal(size=(N_ALL, WIDE))

    def features(n: int, own: float) -> np.ndarray:
        return ((noise[:n] + own * rng.normal(size=(n, WIDE))) @ turn.T).astype(np.float32)

    controls = {
        name: features(N_ALL, 0.1 * (i + 1)) for i, name in enumerate(("XL", "B*10-XL*10", "B", "S*10-B*10", "S"))
    }
    variates, rows = ControlVariates(distance, controls, "XL"), []
    for n in N_COST:
        x = features(n, 0.35)
        first, again = seconds(lambda x=x: variates.estimate(x)), seconds(lambda x=x: variates.estimate(x))
        rows.append(
            {
                "n": n,
                "value": seconds(lambda x=x: distance(x)),
                "one_by_one": seconds(lambda x=x: [distance(rest) for rest in without_each_block(x)]),
                "with_error": seconds(lambda x=x: distance.jackknifed(x)),
                "with_control_variates": again,
                "once_for_every_n": first - again,
            }
        )
        print(rows[-1], flush=True)
    return rows


def seconds(call: Callable[[], object]) -> float:
    """Seconds that this process computed: other work on the machine does not count."""
    started = time.process_time()
    call()
    return time.process_time() - started


def honesty(d: int, n: int, n_replicates: int) -> dict:
    """Root mean square of the standard errors over the standard deviation of the values, with its own error."""
    scales = spectrum(d)
    distance = FrechetDistance(Reference(np.zeros(d), np.diag(scales**2), None, None, ""))
    levels, differences = [], []
    for i in range(n_replicates):
        rng = np.random.default_rng((d, n, i))
        common, own = rng.normal(size=(n, d)), rng.normal(size=(n, d))
        anchor = distance.jackknifed(1.05 * common * scales)
        other = distance.jackknifed((common + 0.3 * own) * scales + 0.05 * scales)
        levels.append((other.value, other.se))
        differences.append(((paired := other.minus(anchor)).value, paired.se))
    row = {"d": d, "n": n, "n_replicates": n_replicates}
    row |= {name: ratio(np.array(found)) for name, found in (("fid", levels), ("difference", differences))}
    print(row, flush=True)
    return row


def ratio(found: np.ndarray) -> float:
    values, errors = found.T
    return float(np.sqrt((errors**2).mean()) / values.std(ddof=1))


def write(path: Path, document: dict) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")
    path.with_suffix(".md").write_text(page(document))


def page(document: dict) -> str:
    """The results as Markdown."""
    costs = [
        f"| {r['n']} | {r['value']:.2f} | {r['one_by_one']:.2f} | **{r['with_error']:.2f}** | "
        f"**{r['with_control_variates']:.2f}** | {r['once_for_every_n']:.1f} |"
        for r in document["cost"]
    ]
    honest = [f"| {r['d']} | {r['n']} | {r['fid']:.2f} | {r['difference']:.2f} |" for r in document["honesty"]]
    n = document["honesty"][0]["n_replicates"] if document["honesty"] else 0
    machine = document["environment"]
    return "\n".join(
        [
            "# What the error of a FID costs, and whether it is right",
            "",
            f"Seconds of computing at {WIDE:,} features on one thread, N = {N_ALL:,} images of five control variates. "
            "*Once*: what the control variates need once for every n.",
            "",
            "| n | value alone | error, blocks one by one | value and error | with control variates | once |",
            "|---|---|---|---|---|---|",
            *costs,
            "",
            f"Standard error over standard deviation, {n} replicates each (so each ratio is uncertain by about "
            f"{100 / max(2 * n, 1) ** 0.5:.0f} %); above 1 it is cautious.",
            "",
            "| features | n | FID | paired difference |",
            "|---|---|---|---|",
            *honest,
            "",
            f"`OMP_NUM_THREADS=1 python benchmarks/error_cost.py`, one of {machine['cpu_cores']} cores, "
            f"{machine['platform']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
