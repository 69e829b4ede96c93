"""How members run: compiled or not, memory layout, attention kernel, kept on the device or brought in for their turn.

The same options hold while calibrating, searching and deploying. They are part of the key: they change times a lot, and
images by rounding.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from diffusers.hooks import apply_group_offloading
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tstitch_search.config.models import ExecutionConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.changes.twins import tensors_of
from tstitch_search.members.weights import first_line

# torch's kernels for scaled dot product attention, by the study's word for them; `default` lets torch choose.
KERNELS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


def require_working(options: ExecutionConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Nothing, when torch can do here what the options ask for. Raises EnvironmentProblem otherwise."""
    _require(f"attention is {options.attention}", lambda: _attend(options, device, dtype))
    if options.compile:
        _require("compile is true", lambda: torch.compile(_twice)(torch.ones(2, device=device)))


def _require(option: str, work: Callable[[], object]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says of every kernel why it will not do; the error is enough
            work()
    except Exception as error:  # of whatever type a compiler or driver raises
        raise EnvironmentProblem(
            f"execution.{option}, which does not work here: {first_line(error)}",
            hint="attention: default and compile: false work everywhere; compiling needs a C++ compiler, or Triton",
        ) from error


def _attend(options: ExecutionConfig, device: torch.device, dtype: torch.dtype) -> None:
    query = torch.ones(1, 1, 16, 64, device=device, dtype=dtype)
    with attention(options):
        nn.functional.scaled_dot_product_attention(query, query, query)


def _twice(x: torch.Tensor) -> torch.Tensor:
    return x + x


@contextmanager
def attention(options: ExecutionConfig) -> Iterator[None]:
    """Meanwhile attention is computed by the kernel that the options name; diffusers' DiT asks torch for it."""
    if options.attention == "default":
        yield
        return
    with sdpa_kernel(KERNELS[options.attention]):
        yield


def home_of_members(options: ExecutionConfig, device: torch.device) -> torch.device:
    """Where the members are loaded to: the device, or main memory when they are brought in for their turn."""
    return device if options.offload == "none" else torch.device("cpu")


def prepare(members: Iterable[nn.Module], vae: Any, options: ExecutionConfig) -> None:
    """Lay out members and VAE in memory, compile the members, and have the VAE tile, as the options ask for.

    Raises ConfigError for a VAE that cannot decode in tiles.
    """
    if options.vae_tiling:
        try:
            vae.enable_tiling()
        except (AttributeError, NotImplementedError) as error:
            raise ConfigError(
                f"execution.vae_tiling: {type(vae).__name__} cannot decode in tiles",
                hint="leave it out; a smaller workers.device_batch_size takes less memory, too",
            ) from error
    for module in (*members, vae):
        if options.channels_last:
            module.to(memory_format=torch.channels_last)
    for member in members:
        if options.compile:
            member.compile()


def offload_of(
    members: Iterable[nn.Module], options: ExecutionConfig, device: torch.device
) -> "Offload | GroupOffload | None":
    """What brings in members, which are on the CPU, for their turn; None where the options keep them on `device`."""
    if options.offload == "none":
        return None
    return (Offload if options.offload == "model" else GroupOffload)(members, device)


class Offload:
    """Only the member whose turn it is has its weights on the device; all of them stay in main memory.

    diffusers' own model offload would not do: to a pipeline all members are one component, and move together. Nothing
    is copied back, since weights do not change: what a turn takes depends on the member that comes, not on the one that
    goes.
    """

    def __init__(self, members: Iterable[nn.Module], device: torch.device):
        """`members` are on the CPU; on a GPU their weights are pinned there, for faster copies."""
        self.device = device
        self._present: nn.Module | None = None
        members = list(members)
        homes = {id(t): _at_home(t, device) for t in tensors_of(members)}  # of what members share there is one
        self._home = {member: [(t, homes[id(t)]) for t in tensors_of([member])] for member in members}
        self._send_home(*self._home)  # what was pinned takes the place of what was not

    def bring_in(self, member: nn.Module) -> None:
        """Have the member on the device, and no other."""
        if member is self._present:
            return
        self.leave()
        try:
            for tensor, home in self._home[member]:
                tensor.data = home.to(self.device, non_blocking=True, copy=True)
        except torch.OutOfMemoryError:  # half a member would stay there for good
            self._send_home(member)
            raise
        self._present = member

    def leave(self) -> None:
        """Have no member on the device, so that every trajectory begins alike and decoding has room."""
        if self._present is not None:
            self._send_home(self._present)
        self._present = None

    def _send_home(self, *members: nn.Module) -> None:
        for member in members:
            for tensor, home in self._home[member]:
                tensor.data = home


def require_groups(class_names: Mapping[str, str]) -> None:
    """Nothing, when members of these classes can be offloaded block by block, by name. Raises ConfigError otherwise."""
    for name, kind in class_names.items():
        if not getattr(getattr(diffusers, kind, None), "_supports_group_offloading", True):
            raise ConfigError(
                f"denoiser {name!r}: execution.offload group does not go with {kind}, whose blocks ask each other",
                hint="execution.offload: model",
            )


class GroupOffload:
    """Of the member whose turn it is, only the block at work has its weights on the device, and on a GPU the next one.

    diffusers' group offloading, of each member for itself: members of the same weights have one copy of them in main
    memory. On a GPU the host waits for each block, since one that ran ahead would have all of them on the device.
    """

    def __init__(self, members: Iterable[nn.Module], device: torch.device):
        """`members` are on the CPU; on a GPU the weights of their blocks are pinned there, for faster copies."""
        self.device = device
        self._present: nn.Module | None = None
        for member in members:
            # beside nothing but blocks diffusers 0.42 would not wait for the copies
            use_stream = device.type == "cuda" and _has_more_than_blocks(member)
            apply_group_offloading(member, device, num_blocks_per_group=1, use_stream=use_stream)

    def bring_in(self, member: nn.Module) -> None:
        """Have no other member on the device; this one's blocks come when they are called."""
        if member is not self._present:
            self.leave()
        self._present = member

    def leave(self) -> None:
        """Have no block on the device, nor one that ran out of memory or was fetched and then skipped by a cache."""
        for group in groups_of(self._present) if self._present is not None else ():
            group.offload_()
        self._present = None


def groups_of(module: nn.Module) -> Iterator[Any]:
    """The groups in which diffusers moves the module's blocks, none where it is not offloaded so."""
    for part in module.modules():
        hooks = getattr(part, "_diffusers_hook", None)
        if hooks and (hook := hooks.get_hook("group_offloading")):
            yield hook.group


def _has_more_than_blocks(member: nn.Module) -> bool:
    own = (*member.parameters(recurse=False), *member.buffers(recurse=False))
    return bool(own) or any(not isinstance(c, nn.ModuleList | nn.Sequential) for c in member.children())


def _at_home(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.data.pin_memory() if device.type == "cuda" else tensor.data
