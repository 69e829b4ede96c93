"""tstitch-search: which diffusion denoiser should take which sampling steps (T-Stitch, arXiv 2402.14167).

In production: `from tstitch_search import LookupTable, stitch`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tstitch_search.allocation import Allocation

if TYPE_CHECKING:
    from tstitch_search.lookup import LookupTable
    from tstitch_search.sampling.deploy import stitch

__all__ = ["Allocation", "LookupTable", "__version__", "stitch"]
__version__ = "0.1.0"

# Imported when first asked for, since `stitch` brings torch and diffusers with it.
_HOMES = {"LookupTable": "tstitch_search.lookup", "stitch": "tstitch_search.sampling.deploy"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
