"""Members of your own: `weights: module:function` in a search space; `examples/custom_member.py` shows one.

The module says what its denoiser is in a dictionary `CONFIG`, as a config.json would; it is read from the source, so
that a study can be planned without running it. `function()` returns the denoiser. Imports no torch.
"""

import ast
import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.zoo import PREFIX


def is_custom(weights: str) -> bool:
    """Whether `weights` of a denoiser means a function of your own."""
    module, separator, function = weights.partition(":")
    return (
        bool(separator)
        and not weights.startswith(PREFIX)
        and function.isidentifier()
        and all(part.isidentifier() for part in module.split("."))
    )


def source_of(weights: str, owner: str) -> Path:
    """The file of the module in `module:function`, found without running it. Raises ConfigError when there is none."""
    module = weights.partition(":")[0]
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"{owner}: Python finds no module {module!r}",
            hint="install it where the workers run, or put its folder on PYTHONPATH",
        )
    return Path(spec.origin)


def read_custom_config(source: Path, owner: str) -> Mapping[str, Any]:
    """The dictionary `CONFIG` in the module's source. Raises ConfigError when it has none of plain values."""
    for statement in ast.parse(source.read_text()).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["CONFIG"]:
            try:
                config = ast.literal_eval(statement.value)
            except ValueError:
                break
            if isinstance(config, dict):
                return config
    raise ConfigError(
        f"{owner}: {source} has no CONFIG, a dictionary of plain values",
        hint='for example CONFIG = {"in_channels": 4, "sample_size": 32, "num_class_embeds": 1001}',
    )


def call(weights: str, owner: str) -> Any:
    """What the function in `module:function` returns. Raises EnvironmentProblem when it cannot be called."""
    module, _, name = weights.partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except Exception as error:  # of whatever type the user's code raises
        raise EnvironmentProblem(f"{owner}: calling {weights} failed: {type(error).__name__}: {error}") from error
