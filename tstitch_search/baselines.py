"""What every study is held against: simple rules that need no search.

T-Stitch (arXiv 2402.14167): its rule of thumb, section 4.1 (no loss up to 40 % small, then the largest), and the other
ways of mixing two denoisers at one half each, table 7, which names the rules and no more: who starts, and how the
probability falls, are our reading. That plain step reduction is a baseline to be taken seriously, its
figure 15 shows: between 10 and 50 steps it beats stitching.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count, cycle, islice
from math import floor
from random import Random
from types import MappingProxyType

from tstitch_search.allocation import Allocation, steps_from_fractions

# Share of the steps that the paper's rule gives to the first denoiser.
PAPER_SHARE = 0.4
PAPER_RULE = "40 % rule"
# How a pipeline with two experts divides the steps by itself.
PUBLISHED_BOUNDARY = "published boundary"
# How a denoiser without a name of its own is called where it takes all steps.
ALONE = " alone"
FEWER_STEPS_EACH = "fewer_steps_each"
Rule = Callable[[str, str, int], Allocation]


def paper_rule(small: str, large: str, n_steps: int) -> Allocation:
    """40 % of the steps to `small`, then `large`; rounded as every fraction is, whatever the grid."""
    return Allocation.of(steps_from_fractions({small: PAPER_SHARE, large: 1 - PAPER_SHARE}, n_steps).items())


def interleaving(small: str, large: str, n_steps: int) -> Allocation:
    """The two taking turns step by step, `small` first (table 7)."""
    return Allocation.of((name, 1) for name in islice(cycle([small, large]), n_steps))


def decreasing_probability(small: str, large: str, n_steps: int) -> Allocation:
    """`small` drawn with a probability that falls linearly from 1 to 0 along the trajectory (table 7).

    Of the seeds 0, 1, 2, ... the first one whose draw gives half of the steps to each.
    """

    def drawn(seed: int) -> list[bool]:
        uniform = Random(seed).random
        return [uniform() < 1 - (i + 0.5) / n_steps for i in range(n_steps)]

    is_small = next(draw for draw in map(drawn, count()) if sum(draw) == n_steps // 2)
    return Allocation.of((small if chosen else large, 1) for chosen in is_small)


def large_to_small(small: str, large: str, n_steps: int) -> Allocation:
    """`large` for the first half, then `small` (table 7)."""
    return Allocation.from_steps([large, small], [n_steps - n_steps // 2, n_steps // 2])


def guidance_interval(free: str, guided: str, n_steps: int) -> Allocation:
    """`guided` for the middle 40 % of the steps, the same weights without guidance before and after.

    Kynkaanniemi et al., arXiv 2404.07724, give noise levels, other ones for each model; the shares are our reading.
    """
    n_outside = floor(0.3 * n_steps + 0.5)
    return Allocation.of([(free, n_outside), (guided, n_steps - 2 * n_outside), (free, n_outside)])


RULES: dict[str, Rule] = {
    "interleaving": interleaving,
    "decreasing_probability": decreasing_probability,
    "large_to_small": large_to_small,
}


def baselines(
    denoisers: Sequence[str],
    n_steps: int,
    fewer_steps: Sequence[int],
    rules: Sequence[str],
    twins: Mapping[str, str] = MappingProxyType({}),
    free: str | None = None,
) -> dict[Allocation, str]:
    """Every baseline with its short name: each denoiser alone, the paper's rule, the largest with fewer steps, `rules`.

    Of two that are the same the first one counts. `denoisers` are listed from the noise end, the largest last.
    `twins`: denoisers that have the weights of the largest, and what they have beside it (`LoRA`, `cache`, ...), by
    which they are called alone; `free`: the one of them that is the largest without guidance.
    """
    small, large = denoisers[0], denoisers[-1]
    named = [(Allocation.of([(name, n_steps)]), _alone(name, twins)) for name in denoisers]
    if small != large:
        named.append((paper_rule(small, large, n_steps), PAPER_RULE))
    named += [(Allocation.of([(large, n)]), f"{large}, {n} steps") for n in fewer_steps]
    for rule in rules:
        if rule == FEWER_STEPS_EACH:
            named += [(Allocation.of([(name, n)]), f"{name}, {n} steps") for name in twins for n in fewer_steps]
        elif rule == "guidance_interval" and free:
            named.append((guidance_interval(free, large, n_steps), "guidance interval"))
        elif rule in RULES and small != large:
            named.append((RULES[rule](small, large, n_steps), rule.replace("_", " ")))
    found: dict[Allocation, str] = {}
    for allocation, name in named:
        found.setdefault(allocation, name)
    return found


def _alone(name: str, twins: Mapping[str, str]) -> str:
    if name not in twins:
        return f"{name}{ALONE}"
    alike = [other for other, what in twins.items() if what == twins[name]]
    return f"{twins[name]} for all steps" + (f", {name}" if len(alike) > 1 else "")
