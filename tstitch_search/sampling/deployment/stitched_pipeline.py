"""A pipeline that is stitched: called as its entry was measured by default, one call at a time, not saved by itself.

Copies of it share their tokenizers, whose padding each call sets anew: there calls take turns.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tstitch_search.errors import ConfigError
from tstitch_search.sampling.stitching.extended_class import extended
from tstitch_search.sampling.stitching.trajectory import NOW, RESERVED, Watch, in_use, watch_of

# How a pipeline may be told its number of steps.
STEPS = ("num_inference_steps", "timesteps", "sigmas")


def make_stitched(pipeline: Any) -> None:
    """Have the pipeline go by the allocation that its scheduler is watched with, and its tokenizers take turns."""
    pipeline.__class__ = extended(type(pipeline), "stitched", _stitched)
    for part in pipeline.components.values():
        for tokenizer in (part, getattr(part, "tokenizer", None)):  # a processor has one
            if hasattr(tokenizer, "backend_tokenizer"):
                tokenizer.__class__ = extended(type(tokenizer), "taking turns", _taking_turns)


def _stitched(kind: Any) -> dict[str, Callable[..., Any]]:
    """The methods of a pipeline class that change once it is stitched."""

    @functools.wraps(kind.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = watch_of(self.scheduler)
        if watch is None or watch.allocation is None:  # made of this class anew, or with another scheduler
            return kind.__call__(self, *args, **kwargs)
        kwargs |= _arguments(functools.partial(kind.__call__, self), args, kwargs, watch)
        is_offloaded = bool(getattr(self, "_all_hooks", None)) or watch.follower.is_in_groups
        with _alone(watch, is_offloaded):
            return kind.__call__(self, *args, **kwargs)

    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> None:
        raise ConfigError(
            "a stitched pipeline is not saved: its denoiser is several members, each with a folder of its own",
            hint="save the lookup table, and each member by itself: members['XL'].save_pretrained(folder)",
        )

    return {"__call__": call, "save_pretrained": save_pretrained}


def _taking_turns(kind: Any) -> dict[str, Callable[..., Any]]:
    """The methods of a tokenizer class that set its padding and truncation, one call at a time."""
    lock = threading.RLock()

    def taking_turns(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def one_at_a_time(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return method(*args, **kwargs)

        return one_at_a_time

    return {name: taking_turns(getattr(kind, name)) for name in ("__call__", "encode", "tokenize")}


def _arguments(
    call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], watch: Watch
) -> dict[str, Any]:
    """The entry's number of steps and the study's guidance, where the pipeline takes them and the caller is silent.

    Raises ConfigError for an argument that the entry's members do not allow to change.
    """
    assert watch.allocation is not None
    signature, follower = inspect.signature(call), watch.follower
    bound = signature.bind_partial(*args, **kwargs).arguments
    given = {name: value for name, value in bound.items() if value is not None}
    for member in watch.allocation.steps:
        for name, value in follower.fixed.get(member, {}).items():
            if given.get(name, value) != value:
                raise ConfigError(
                    f"{name}={given[name]!r}: the member {member!r} has a guidance of its own, measured with {value!r}",
                    hint=f"leave {name} out",
                )
    steps = {} if given.keys() & STEPS else {STEPS[0]: watch.allocation.n_steps}
    defaults = {**follower.defaults, **steps}
    return {name: value for name, value in defaults.items() if name in signature.parameters and name not in given}


@contextmanager
def _alone(watch: Watch, is_offloaded: bool) -> Iterator[None]:
    """Meanwhile nobody else has what one call must have for itself. Raises ConfigError when somebody has it."""
    assert watch.allocation is not None
    with ExitStack() as stack:
        if not watch.in_use.take():
            raise in_use()
        stack.callback(watch.in_use.give_back)
        if is_offloaded:  # diffusers moves the members, which copies share
            if not watch.follower.in_use.take():
                why = "its members are moved to the device for one call at a time, copies or not"
                raise in_use(why, hint="let offloaded pipelines take turns")
            stack.callback(watch.follower.in_use.give_back)
        reserved = stack.enter_context(watch.follower.reserve(watch.allocation))
        before = NOW.set(None), RESERVED.set(reserved)
        stack.callback(RESERVED.reset, before[1])
        stack.callback(NOW.reset, before[0])
        yield
