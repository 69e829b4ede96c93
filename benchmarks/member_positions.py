"""Do measured positions of the members let the search's model predict better than the order in which they are listed?

    uv run python benchmarks/member_positions.py

Takes the 268 allocations of B and XL with and without guidance (benchmarks/results/guided_landscape.csv, FID of
3,000 images), fits the model to the controls and randomly drawn others, and predicts the rest. Prints the root mean
square error of log FID, and z: the same of errors in predicted standard deviations, 1 where the error bars hold.
"""

import csv
from itertools import combinations
from math import log
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from prefix_landscape import N_STEPS, NULL_CLASS, SPACES, ZOO, Member, load

from tstitch_search.allocation import Allocation
from tstitch_search.search.embedding import Embedding
from tstitch_search.search.gaussian_process import Observations, fit
from tstitch_search.search.positions import positions_of
from tstitch_search.search_space import SearchSpace

TABLE = Path(__file__).parent / "results" / "guided_landscape.csv"
N_PROBED, N_DRAWS, N_MEASURED = 16, 30, (26, 50)


def main() -> None:
    torch.set_grad_enabled(False)
    with TABLE.open() as stream:
        log_fid = {Allocation.parse(row["allocation"]): log(float(row["fid"])) for row in csv.DictReader(stream)}
    names = tuple(SPACES["guided"])
    orders = tuple(dict.fromkeys(tuple(s.denoiser for s in a.segments) for a in log_fid))
    controls = [a for a in SearchSpace(names, orders, N_STEPS, 4).controls() if a in log_fid]
    measured = Embedding.for_set(names, list(log_fid), positions_of(names, distances(names)))
    for n in N_MEASURED:
        for what, embedding in (("listed order", Embedding.for_set(names, list(log_fid))), ("measured", measured)):
            error, z = np.mean([predicted(log_fid, controls, embedding, n, seed) for seed in range(N_DRAWS)], axis=0)
            print(f"{n} measured, {what}: error of log FID {error:.3f}, z {z:.2f}")


def distances(names: tuple[str, ...]) -> np.ndarray:
    """How far apart the members' predictions are (K, K), as a study measures it: along the last one's trajectories."""
    nets = {weights: load(weights, torch.device("cpu")) for weights, _ in SPACES["guided"].values()}
    members = {name: Member(nets[weights], scale) for name, (weights, scale) in SPACES["guided"].items()}
    scheduler = DDIMScheduler.from_pretrained(ZOO / "scheduler")
    scheduler.set_timesteps(N_STEPS)
    x = torch.randn(N_PROBED, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(N_PROBED) % NULL_CLASS
    squares = np.zeros((len(names), len(names)))
    for t in scheduler.timesteps:
        answers = {name: members[name](x, t, labels) for name in names}
        for (i, a), (j, b) in combinations(enumerate(names), 2):
            cosine = torch.cosine_similarity(answers[a].flatten(1), answers[b].flatten(1)).mean()
            squares[i, j] = squares[j, i] = squares[i, j] + (2 - 2 * float(cosine)) / N_STEPS
        x = scheduler.step(answers[names[-1]], t, x).prev_sample
    return np.sqrt(squares)


def predicted(
    log_fid: dict[Allocation, float], controls: list[Allocation], embedding: Embedding, n: int, seed: int
) -> tuple[float, float]:
    """Error and z of the predictions, with the controls and others up to about `n` measured."""
    every = list(log_fid)
    drawn = np.random.default_rng(seed).permutation(len(every))[: n - len(controls)]
    known = list(dict.fromkeys([*controls, *(every[i] for i in drawn)]))
    left_out = [a for a in every if a not in known]
    y = np.array([log_fid[a] for a in known])
    process = fit(Observations(embedding.of(known), y, np.full(len(known), 1e-4), embedding.groups))
    mean, sd = process.posterior(embedding.of(left_out))
    errors = np.array([log_fid[a] for a in left_out]) - mean
    return float(np.sqrt(np.mean(errors**2))), float(np.sqrt(np.mean((errors / sd) ** 2)))


if __name__ == "__main__":
    main()
