"""Memory: what a batch adds, to the byte where the sizes are known, whatever the process has done before."""

import copy

import pytest
import torch
from torch import nn

from tstitch_search.measure.memory import CpuMemory, CudaMemory, memory_of, tensors_mb

MB = 250_000  # float32 values


def work() -> None:
    first = torch.ones(3 * MB)
    del first
    second = torch.ones(2 * MB)
    third = second + 1
    del second, third


def test_on_cpu_the_rise_is_the_peak_of_live_tensors_and_not_their_sum() -> None:
    meter = memory_of(torch.device("cpu"))
    assert isinstance(meter, CpuMemory)
    held = torch.ones(50 * MB)
    for _ in range(2):  # memory that the process kept hides nothing
        assert meter.rise_mb(work) == pytest.approx(4, rel=0.01)
    assert held.nbytes == 50e6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_what_was_there_before_does_not_count() -> None:
    meter = memory_of(torch.device("cuda"))
    assert isinstance(meter, CudaMemory)
    held = torch.ones(50 * MB, device="cuda")
    with torch.device("cuda"):
        assert meter.rise_mb(work) == pytest.approx(4, rel=0.1)
    assert held.nbytes == 50e6


def test_parameters_and_buffers_count_in_the_number_format_they_have() -> None:
    layer = nn.BatchNorm1d(1000).bfloat16()
    layer.register_buffer("more", torch.zeros(250, dtype=torch.float32))
    assert tensors_mb([layer]) == pytest.approx((4 * 1000 * 2 + 8 + 1000) / 1e6)
    assert tensors_mb([layer, copy.deepcopy(layer)]) == pytest.approx(2 * tensors_mb([layer]))


def test_what_modules_share_counts_once() -> None:
    layer = nn.Linear(10, 10)
    assert tensors_mb([layer, layer]) == tensors_mb([layer])
