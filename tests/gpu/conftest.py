"""Fixtures of the tests that need a GPU; `scripts/gpu_evidence --reduced` runs on a CPU what does not."""

import pytest
import torch
from torch_fixtures import one_thread, same_random_numbers  # noqa: F401


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")
