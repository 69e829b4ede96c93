"""How long work must take at least: its operations against the device's peak, its bytes against the memory's.

Modules are run on torch's `meta` device, which computes shapes only. Of every operator: `seconds = max(flops / peak,
bytes / bandwidth)`, with each tensor read and written once, as without fusing. Attention counts as one operator that
does not write its scores. Peaks are the data sheet's of an H100 SXM: 989 TFLOP/s in bfloat16, dense, and 3.35 TB/s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

PEAK_FLOPS, PEAK_BYTES = 989e12, 3.35e12
# Pinned memory to the device: PCIe 5.0 with 16 lanes has 64 GB/s less its framing.
PEAK_COPY_BYTES = 55e9
# What large products reach in practice; what the host takes for an operator, which counts where work is small (seen on
# the machine of an H100: 42 ms for the 1,700 operators of a DiT-XL/2).
EFFICIENCY, LAUNCH_S = 0.6, 25e-6


@dataclass(frozen=True)
class Cost:
    """Operations, bytes, launched operators, and the least seconds on the device."""

    flops: float = 0.0
    bytes: float = 0.0
    n_operators: float = 0.0
    floor_s: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.n_operators + other.n_operators,
            self.floor_s + other.floor_s,
        )

    def __mul__(self, n: float) -> "Cost":
        return Cost(self.flops * n, self.bytes * n, self.n_operators * n, self.floor_s * n)

    @property
    def expected_s(self) -> float:
        """Usual efficiency on the device, or the host's launches, whichever is longer."""
        return max(self.floor_s / EFFICIENCY, self.n_operators * LAUNCH_S)

    def as_estimate(self, extra_s: float, how: str) -> dict[str, Any]:
        """As a part's estimate; `extra_s`: of work that is not the device's, such as building and compiling."""
        return {
            "tflop": round(self.flops / 1e12, 2),
            "gbyte": round(self.bytes / 1e9, 2),
            "floor_s": round(self.floor_s, 2),
            "expected_s": round(self.expected_s + extra_s, 1),
            "how": f"{how}; {extra_s:g} s for what is not the device's work",
        }


def cost_of(work: Callable[[], Any]) -> Cost:
    """Of work on tensors of the `meta` device."""
    counter = _Counter()
    with torch.no_grad(), counter, _Attention(counter):
        work()
    return counter.cost


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.cost = Cost()

    def add(self, flops: float, n_bytes: float) -> None:
        self.cost += Cost(flops, n_bytes, 1, max(flops / PEAK_FLOPS, n_bytes / PEAK_BYTES))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns):
            return out  # a view
        count = flop_registry.get(func._overloadpacket)
        flops = float(count(*args, **(kwargs or {}), out_val=out)) if count else 0.0
        self.add(flops, _bytes_of((args, kwargs, out)))
        return out


class _Attention(TorchFunctionMode):
    """Takes attention out of torch's hands, which on `meta` would write the scores."""

    def __init__(self, counter: _Counter):
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = {**dict(zip(("query", "key", "value"), args, strict=False)), **(kwargs or {})}
        query, key, value = given["query"], given["key"], given["value"]
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        flops = 2 * query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        self._counter.add(flops, _bytes_of((query, key, value, out)))
        return out


def _bytes_of(tensors: Any) -> float:
    return float(sum(t.nbytes for t in tree_leaves(tensors) if isinstance(t, torch.Tensor)))
