"""The seam for those who want a run's numbers elsewhere as well, for example in TensorBoard."""

from collections.abc import Mapping
from typing import Any, Protocol


class Reporter(Protocol):
    """Hears each line of the ledger once it is written; what was there before this run is not repeated."""

    def event(self, event: Mapping[str, Any]) -> None:
        """One line of the ledger, of whatever kind. Must be quick."""
        ...

    def close(self) -> None:
        """The run has ended, one way or another."""
        ...
