"""Fixtures of tests that call torch: one CPU thread for networks this small, and the same random numbers each time."""

from collections.abc import Iterator

import pytest
import torch

from tstitch_search.members.device import cpu_threads


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    torch.manual_seed(0)
