"""The two ways to write an allocation as Optuna parameters: lossless, and no draw of a stock sampler is wasted."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import create_study

from tstitch_search.allocation import Allocation
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
    "any order": SearchSpace(S_B_XL, ANY, 12, 2),
    "orders of different length": SearchSpace(S_B_XL, (S_XL, XL_S, S_B_XL), 20, 2),
    "there and back": SearchSpace(S_XL, (("S", "XL", "S"), ("XL",)), 12, 1),
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
        assert type(value) is kinds[type(encoding(space).distributions[name])]


@pytest.mark.parametrize("name", SPACES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_draw_decodes_to_a_member_of_the_space(name, data):
    space = SPACES[name]
    distributions = StickBreaking(space).distributions
    params = {key: data.draw(draws(distribution), label=key) for key, distribution in distributions.items()}
    assert StickBreaking(space).decode(params) in space


def test_independent_draws_reach_every_allocation():
    space = SPACES["three in tenths"]
    encoding = StickBreaking(space)
    study = create_study(sampler=RandomSampler(seed=0))
    trials = [study.ask(encoding.distributions) for _ in range(1500)]
    assert {encoding.decode(t.params) for t in trials} == set(space)


def test_cut_points_are_the_steps_where_the_denoiser_changes():
    assert CutPoints(SPACES["three in tenths"]).encode(Allocation.parse("S*4-B*6-XL*10")) == {"cut_1": 4, "cut_2": 10}
    assert CutPoints(SPACES["three in tenths"]).encode(Allocation.parse("S*4-XL*16")) == {"cut_1": 4, "cut_2": 4}


def test_order_is_a_parameter_only_where_there_are_several():
    assert "order" not in CutPoints(SPACES["four"]).distributions
    params = CutPoints(SPACES["orders of different length"]).encode(Allocation.parse("XL*4-S*16"))
    assert params == {"order": "XL-S", "cut_1": 4, "cut_2": 20}


@encodings
def test_allocation_outside_the_orders_cannot_be_encoded(encoding):
    with pytest.raises(ValueError, match=r"XL\*10-S\*10 follows none of the orders"):
        encoding(SPACES["two"]).encode(Allocation.parse("XL*10-S*10"))
