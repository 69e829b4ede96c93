"""Optuna's own samplers, by their names in `search.sampler`."""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler

from tstitch_search.search.encoding import BASELINE, REGULAR
from tstitch_search.search.rule import SamplerName


def stock_sampler(name: SamplerName, seed: int, question: int, *, holds_all: bool) -> BaseSampler:
    """The sampler of one question, which depends on nothing but the study's seed and the number of the question.

    Unless grid and orders hold all baselines (`holds_all`), the others are asked first, and are not for it to propose.
    """
    sampler = _sampler(name, (seed * 1_000_003 + question) % 2**32)
    if holds_all:
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # so is this one
        return PartialFixedSampler({BASELINE: REGULAR}, sampler)


def _sampler(name: SamplerName, seed: int) -> BaseSampler:
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=12)
        case "gp":
            return GPSampler(seed=seed)
        case _:  # an enumeration draws from it only what it repeats
            return RandomSampler(seed=seed)
