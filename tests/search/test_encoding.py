"""The two ways to write an allocation as Optuna parameters: lossless, and no draw of a stock sampler is wasted."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tstitch_search.allocation import Allocation
from tstitch_search.baselines import RULES
from tstitch_search.search.encoding import CutPoints, StickBreaking
from tstitch_search.search_space import SearchSpace

S_XL, XL_S, S_B_XL = ("S", "XL"), ("XL", "S"), ("S", "B", "XL")
ANY = (S_B_XL, ("S", "XL", "B"), ("B", "S", "XL"), ("B", "XL", "S"), ("XL", "S", "B"), ("XL", "B", "S"))
SPACES = {
    "one denoiser": SearchSpace(("S",), (("S",),), 4, 1),
    "two": SearchSpace(S_XL, (S_XL,), 20, 1),
    "three in tenths": SearchSpace(S_B_XL, (S_B_XL,), 20, 2),
    "three in single steps": SearchSpace(S_B_XL, (S_B_XL,), 30, 1),
    "four": SearchSpace(("S", "B", "L", "XL"), (("S", "B", "L", "XL"),), 50, 5),
    "any order": SearchSpace(S_B_XL, ANY, 12, 2),  # 40 % lies off the grid
    "orders of different length": SearchSpace(S_B_XL, (S_XL, XL_S, S_B_XL), 20, 2),
    "there and back": SearchSpace(S_XL, (("S", "XL", "S"), ("XL",)), 12, 1),
    "two step counts": SearchSpace(S_B_XL, (S_B_XL,), 20, 2, fewer_counts=(12, 7)),
    "one denoiser, two step counts": SearchSpace(("S",), (("S",),), 8, 1, fewer_counts=(4,)),
    "any sequence": SearchSpace(S_B_XL, (), 6, 1, max_switches=2),
    "every baseline": SearchSpace(S_B_XL, (S_B_XL,), 20, 5, fewer_steps=(15, 10), rules=tuple(RULES)),
    "profiles": SearchSpace(S_B_XL, ANY, 12, 2, profiles=(("fast", (4, 2), S_XL), ("one", (3,), ("B",)))),
    "profiles, any sequence": SearchSpace(S_B_XL, (), 6, 1, max_switches=2, profiles=(("fast", (2,), S_XL),)),
    "all of it": SearchSpace(
        S_XL, (), 10, 2, fewer_counts=(6,), max_switches=2, fewer_steps=(6, 3), rules=tuple(RULES)
    ),
}
spaces = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
encodings = pytest.mark.parametrize("encoding", [CutPoints, StickBreaking])


def holds(distribution: BaseDistribution, value: Any) -> bool:
    match distribution:
        case IntDistribution(low=low, high=high, step=step):
            return low <= value <= high and (value - low) % step == 0
        case FloatDistribution(low=low, high=high):
            return low <= value <= high
        case CategoricalDistribution(choices=choices):
            return value in choices
    raise AssertionError(f"no other distribution is expected: {distribution}")


def draws(distribution: BaseDistribution) -> st.SearchStrategy[Any]:
    match distribution:
        case IntDistribution(low=low, high=high, step=step):
            return st.integers(0, (high - low) // step).map(lambda n: low + n * step)
        case FloatDistribution(low=low, high=high):
            return st.floats(low, high)
        case CategoricalDistribution(choices=choices):
            return st.sampled_from(choices)
    raise AssertionError(f"no other distribution is expected: {distribution}")


def at_random(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """As Optuna's random sampler draws: evenly."""
    match distribution:
        case IntDistribution(low=low, high=high, step=step):
            return low + step * int(rng.integers((high - low) // step + 1))
        case FloatDistribution(low=low, high=high):
            return float(rng.uniform(low, high))
        case CategoricalDistribution(choices=choices):
            return choices[rng.integers(len(choices))]
    raise AssertionError(f"no other distribution is expected: {distribution}")


@spaces
@encodings
def test_decoding_gives_every_allocation_of_the_space_back(encoding, space):
    for allocation in space:
        assert encoding(space).decode(encoding(space).encode(allocation)) == allocation


@spaces
@encodings
def test_encoded_values_lie_in_their_distributions_which_are_the_same_for_all(encoding, space):
    distributions = encoding(space).distributions
    for allocation in space:
        params = encoding(space).encode(allocation)
        assert params.keys() == distributions.keys()
        for name, value in params.items():
            assert holds(distributions[name], value), (allocation, name, value)


@spaces
@encodings
def test_values_keep_their_type_in_a_database(encoding, space):
    kinds = {IntDistribution: int, FloatDistribution: float, CategoricalDistribution: str}
    for name, value in encoding(space).encode(space.anchor).items():
        distribution = encoding(space).distributions[name]
        chosen = isinstance(distribution, CategoricalDistribution) and name == "n_steps"
        assert type(value) is (int if chosen else kinds[type(distribution)])


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=100)
@given(data=st.data())
def test_any_draw_decodes_to_a_member_of_the_space(name, data):
    space = SPACES[name]
    distributions = StickBreaking(space).distributions
    params = {key: data.draw(draws(distribution), label=key) for key, distribution in distributions.items()}
    assert StickBreaking(space).decode(params) in space


@pytest.mark.parametrize("name", ["three in tenths", "two step counts", "any sequence"])
def test_independent_draws_reach_every_allocation(name):
    space = SPACES[name]
    encoding = StickBreaking(space)
    rng = np.random.default_rng(0)
    drawn = [{key: at_random(d, rng) for key, d in encoding.distributions.items()} for _ in range(20_000)]
    assert {encoding.decode(params) for params in drawn} == set(space)


def test_cut_points_are_the_steps_where_the_denoiser_changes():
    assert CutPoints(SPACES["three in tenths"]).encode(Allocation.parse("S*4-B*6-XL*10")) == {"cut_1": 4, "cut_2": 10}
    assert CutPoints(SPACES["three in tenths"]).encode(Allocation.parse("S*4-XL*16")) == {"cut_1": 4, "cut_2": 4}


def test_order_is_a_parameter_only_where_there_are_several():
    assert "order" not in CutPoints(SPACES["four"]).distributions
    params = CutPoints(SPACES["orders of different length"]).encode(Allocation.parse("XL*4-S*16"))
    assert params == {"order": "XL-S", "cut_1": 4, "cut_2": 20}


def test_step_count_sequence_and_baseline_are_parameters_where_the_space_asks_for_them():
    encode = CutPoints(SPACES["two step counts"]).encode
    assert encode(Allocation.parse("S*4-XL*8")) == {"n_steps": 12, "cut_1": 4, "cut_2": 4}
    encode = CutPoints(SPACES["any sequence"]).encode
    assert encode(Allocation.parse("S*1-XL*4-S*1")) == {
        "who_1": "S", "who_2": "XL", "who_3": "S", "cut_1": 1, "cut_2": 5,
    }  # fmt: skip
    encode = StickBreaking(SPACES["every baseline"]).encode
    assert encode(Allocation.parse("S*8-XL*12")) == {"baseline": "S*8-XL*12", "steps_1": 10, "share_2": 0.0}
    assert encode(Allocation.parse("XL*10")) == {"baseline": "XL*10", "steps_1": 0, "share_2": 0.0}
    assert encode(Allocation.parse("S*5-XL*15")) == {"baseline": "none", "steps_1": 5, "share_2": 0.0}


@encodings
def test_allocation_outside_the_orders_cannot_be_encoded(encoding):
    with pytest.raises(ValueError, match=r"XL\*10-S\*10 follows none of the orders"):
        encoding(SPACES["two"]).encode(Allocation.parse("XL*10-S*10"))
