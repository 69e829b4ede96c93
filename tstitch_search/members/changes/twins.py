"""Members of the same weights: a module of its own for each, over parameters that are in memory once.

What is changed in one of them (adapters, hooks, caches, compiled graphs) stays its own; nothing is switched between
steps, so that several threads may ask several members of one set of weights at once.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import nn


def twin_of(module: nn.Module) -> Any:
    """A copy of the module that has the same parameters and buffers. Moved or cast, they are so for both."""
    return deepcopy(module, {id(tensor): tensor for tensor in tensors_of([module])})


def tensors_of(modules: Iterable[nn.Module]) -> list[torch.Tensor]:
    """Parameters and buffers of the modules, each once however many of them share it."""
    found = {id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())}
    return list(found.values())
