"""What the error of a FID costs, and whether it is right. Writes results/error_cost.{json,md}.

    OMP_NUM_THREADS=1 uv run python benchmarks/error_cost.py [--replicates 200] [--only cost]

Cost: seconds of this process at 2,048 features, one thread: the value alone; with its error, the blocks of images left
out one by one; with its error from one eigenproblem (`quality/leave_out.py`), alone and with control variates. Honesty:
standard error over standard deviation of the replicates, Gaussian features with a spectrum that decays exponentially,
at 128, 512 and 2,048 features, of FID and of a paired difference; beside it that of the jackknife alone, without second
differences. And how often nominal 90 % intervals (Student's t) hold the mean of the replicates.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from tstitch_search.quality.control_variates import ControlVariates
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Jackknifed, jackknifed
from tstitch_search.quality.reference import Reference
from tstitch_search.study_run.folder import environment

RESULTS = Path(__file__).parent / "results"
N_COST, N_ALL, WIDE = (100, 500, 1000), 4000, 2048
CASES = [(d, n) for d in (128, 512, 2048) for n in (100, 250, 500, 1000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--features", type=int, nargs="+", default=[128, 512, 2048], help="of the honesty's cases")
    parser.add_argument("--n", type=int, nargs="+", default=[100, 250, 500, 1000], help="images of the honesty's cases")
    parser.add_argument("--only", choices=("cost", "honesty"), help="leave the other out, and what is written as it is")
    arguments = parser.parse_args()
    path = RESULTS / "error_cost.json"
    document = json.loads(path.read_text()) if path.exists() else {"cost": [], "honesty": []}
    document["environment"] = environment()
    if arguments.only != "honesty":
        document["cost"] = cost()
        write(path, document)
    if arguments.only != "cost":
        for d, n in [case for case in CASES if case[0] in arguments.features and case[1] in arguments.n]:
            others = [row for row in document["honesty"] if (row["d"], row["n"]) != (d, n)]
            rows = [*others, honesty(d, n, arguments.replicates)]
            document["honesty"] = sorted(rows, key=lambda row: (row["d"], row["n"]))
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
                "one_by_one": seconds(lambda x=x: jackknifed(lambda values: distance(values), x)),
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
    """Of FID and of a paired difference, what `truth` says of the replicates."""
    scales = spectrum(d)
    distance = FrechetDistance(Reference(np.zeros(d), np.diag(scales**2), None, None, ""))
    levels, differences = [], []
    for i in range(n_replicates):
        rng = np.random.default_rng((d, n, i))
        common, own = rng.normal(size=(n, d)), rng.normal(size=(n, d))
        anchor = distance.jackknifed(1.05 * common * scales)
        other = distance.jackknifed((common + 0.3 * own) * scales + 0.05 * scales)
        levels.append(other)
        differences.append(other.minus(anchor))
    row = {"d": d, "n": n, "n_replicates": n_replicates, "fid": truth(levels), "difference": truth(differences)}
    print(row, flush=True)
    return row


def truth(found: list[Jackknifed]) -> dict[str, float]:
    """Root mean square of the standard errors over the standard deviation of the values, and coverage."""
    values, errors, df = np.array([(f.value, f.se, f.df) for f in found]).T
    alone = np.array([Jackknifed(f.value, f.left_out, f.n_images).se for f in found])
    covered = np.abs(values - values.mean()) < -stdtrit(df, 0.05) * errors
    ratios = [float(np.sqrt((e**2).mean()) / values.std(ddof=1)) for e in (errors, alone)]
    return {"se_over_sd": ratios[0], "jackknife_alone": ratios[1], "covered": float(covered.mean())}


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
    honest = [
        f"| {r['d']} | {r['n']} | {r['n_replicates']} | {of(r['fid'])} | {of(r['difference'])} |"
        for r in document["honesty"]
    ]
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
            "Standard error over standard deviation of so many replicates; above 1 it is cautious. Of 200 replicates a "
            "ratio is known to 5 %, a coverage to 2 points. *Alone*: the jackknife without second differences. "
            "*Covered*: nominal 90 %.",
            "",
            "| features | n | replicates | FID | alone | covered | paired difference | alone | covered |",
            "|---|---|---|---|---|---|---|---|---|",
            *honest,
            "",
            f"`OMP_NUM_THREADS=1 python benchmarks/error_cost.py`, one of {machine['cpu_cores']} cores, "
            f"{machine['platform']}.",
            "",
        ]
    )


def of(row: dict[str, float]) -> str:
    return f"**{row['se_over_sd']:.2f}** | {row['jackknife_alone']:.2f} | {100 * row['covered']:.0f} %"


if __name__ == "__main__":
    main()
