"""A class with more methods, under its own name: an object keeps what is in it, and libraries find it as before."""

import threading
from collections.abc import Callable
from typing import Any

_made: dict[tuple[Any, str], Any] = {}
_making = threading.Lock()


def extended(kind: Any, purpose: str, methods: Callable[[Any], dict[str, Any]]) -> Any:
    """`kind` with `methods(kind)` over its own; the same class for each `purpose`, and once extended, itself."""
    if getattr(kind, "extended_for", None) == purpose:
        return kind
    with _making:
        if (kind, purpose) not in _made:
            same = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__qualname__": kind.__qualname__}
            _made[kind, purpose] = type(kind.__name__, (kind,), {"extended_for": purpose, **same, **methods(kind)})
        return _made[kind, purpose]
