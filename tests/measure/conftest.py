"""One CPU thread for networks this small: more would only wait for each other."""

from collections.abc import Iterator

import pytest
import torch

from tstitch_search.measure.device import cpu_threads


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    torch.manual_seed(0)
