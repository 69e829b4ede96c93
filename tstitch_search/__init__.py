"""tstitch-search: which diffusion denoiser should take which sampling steps (T-Stitch, arXiv 2402.14167).

`import tstitch_search as ts`: `ts.run` searches, `ts.load_table(...).pick(...)` answers, `ts.stitch` deploys. All of it
is in docs/api.md; whatever is heavy is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tstitch_search import errors
    from tstitch_search.allocation import Allocation
    from tstitch_search.api import (
        calibrate,
        check,
        compare,
        generate,
        load_study,
        load_table,
        merge,
        plan,
        plot,
        push_to_hub,
        recalibrate,
        run,
        verify,
    )
    from tstitch_search.config import Study
    from tstitch_search.lookup import LookupTable
    from tstitch_search.sampling.deployment.stitch import stitch
    from tstitch_search.sampling.deployment.warm_up import warm_up
    from tstitch_search.study_run import Result

__all__ = [
    "Allocation",
    "LookupTable",
    "Result",
    "Study",
    "__version__",
    "calibrate",
    "check",
    "compare",
    "errors",
    "generate",
    "load_study",
    "load_table",
    "merge",
    "plan",
    "plot",
    "push_to_hub",
    "recalibrate",
    "run",
    "stitch",
    "verify",
    "warm_up",
]
__version__ = "0.1.0"

# Imported when first asked for: `stitch` brings torch and diffusers with it.
_HOMES = {
    "Allocation": "tstitch_search.allocation",
    "LookupTable": "tstitch_search.lookup",
    "Result": "tstitch_search.study_run",
    "Study": "tstitch_search.config",
    "stitch": "tstitch_search.sampling.deployment.stitch",
    "warm_up": "tstitch_search.sampling.deployment.warm_up",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("tstitch_search.errors")
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "tstitch_search.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
