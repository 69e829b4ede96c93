"""Modules of one member, each for one trajectory at a time: what it remembers of its calls belongs to a trajectory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from tstitch_search.errors import ConfigError


def nothing() -> None:
    """What a member that remembers nothing does when its turn begins."""


@dataclass(frozen=True)
class Instance:
    """A module that answers for a member; `at_turn()` comes before its first answer of a segment."""

    module: nn.Module
    at_turn: Callable[[], None] = nothing


class Instances:
    """The instances of one member: as many as trajectories ever needed at once, over the same weights."""

    def __init__(self, first: Instance, more: Callable[[], Instance] | None = None):
        """`more` makes another one; without it there is only the first."""
        self._free, self._more = [first], more

    @contextmanager
    def one(self) -> Iterator[Instance]:
        """One that nobody else has meanwhile. Raises ConfigError when there is none and none can be made."""
        try:
            instance = self._free.pop()
        except IndexError:
            instance = self._another()
        try:
            yield instance
        finally:
            self._free.append(instance)

    def _another(self) -> Instance:
        if self._more is None:
            raise ConfigError(
                "a member is in use by another call: one that goes by its own earlier calls, or is offloaded, serves "
                "one only",
                hint="give pipelines that run at once members of their own, or let them take turns",
            )
        return self._more()
