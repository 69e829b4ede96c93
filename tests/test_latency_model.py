"""Time is known: the model is Eq. 7 with a fixed part, and it says when its assumption is contradicted."""

from math import sqrt

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibration

STEP_S = {"S": 0.1, "B": 0.3, "XL": 1.0}


def model(**step_s: float) -> LatencyModel:
    return LatencyModel(
        Calibration(
            step_s=STEP_S | step_s,
            step_se={"S": 0.003, "B": 0.01, "XL": 0.02},
            fixed_s=0.5,
            fixed_se=0.1,
            spread=0.0,
            peak_memory_mb=100.0,
            device="cpu",
            batch_size=8,
            n_repeats=5,
        )
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("S*10", 0.5 + 1), ("S*8-XL*12", 0.5 + 0.8 + 12), ("S*2-B*5-XL*3-S*1", 0.5 + 0.3 + 1.5 + 3)]
)
def test_latency_is_the_fixed_part_and_the_steps_of_each_denoiser(text, seconds):
    assert model().latency_s(Allocation.parse(text)) == pytest.approx(seconds)


def test_order_of_the_segments_does_not_change_the_time():
    a, b = (model().latency_s(Allocation.parse(text)) for text in ("S*8-XL*12", "XL*12-S*8"))
    assert a == pytest.approx(b)


def test_errors_of_independent_parts_add_in_squares_and_those_of_one_denoiser_in_steps():
    error = model().latency_se(Allocation.parse("S*10-XL*4-S*10"))
    assert error == pytest.approx(sqrt(0.1**2 + (20 * 0.003) ** 2 + (4 * 0.02) ** 2))


def test_listed_order_that_the_times_contradict_is_said_with_the_times():
    assert model().order_warning(["S", "B", "XL"]) is None
    assert model(B=0.05).order_warning(["S", "B", "XL"]) == (
        "the denoisers are listed cheap to expensive, but their measured step times are S 0.1 s, B 0.05 s, XL 1 s"
    )
