"""What earlier studies say of the members of this one: read from lookup tables and run folders, checked, and hashed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import Candidate, LookupTable
from tstitch_search.quality.metrics import metric_named
from tstitch_search.search.earlier import Earlier
from tstitch_search.search.posterior import QualityScale

# A trend through fewer allocations says nothing.
MIN_KNOWN = 6


def warm_start(study: Study) -> tuple[Earlier, ...]:
    """The studies that `search.warm_start` names, each with its values on the scale of the objective.

    Raises ConfigError naming the file, where one cannot be read, is about another metric, or about other members.
    """
    return tuple(_earlier(study, path) for path in _paths(study))


def warm_start_facts(study: Study) -> dict[str, str]:
    """The hashes of these files, for the key: decisions depend on them."""
    hashes = [hashlib.sha256(_read(path)).hexdigest() for path in _paths(study)]
    return {"search.warm_start": " ".join(hashes)} if hashes else {}


def _paths(study: Study) -> list[Path]:
    near = study.study_path.parent
    found = [near / text for text in study.config.search.warm_start]
    return [path / "lookup.json" if path.is_dir() else path for path in found]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"search.warm_start: {path} cannot be read: {error.strerror}",
            hint="give the lookup.json or the folder of a finished run",
        ) from error


def _earlier(study: Study, path: Path) -> Earlier:
    _read(path)
    table, metric = LookupTable.read(path), metric_named(study.config.quality.objective)
    if table.objective.name != metric.name:
        raise ConfigError(
            f"search.warm_start: {path} is about {table.objective.label}, and the study's objective is {metric.label}"
        )
    measured: list[Candidate] = [*table.candidates, *table.entries]
    profiles = {"", *study.space.profiles}
    known = [
        c for c in measured if set(c.allocation.steps) <= set(study.space.names) and c.allocation.profile in profiles
    ]
    if len({c.allocation for c in known}) < MIN_KNOWN:
        raise _other_members(study, path, measured, len(known))
    scale = QualityScale(metric.relative, "maximize" if metric.higher_is_better else "minimize")
    usable = [c for c in known if c.quality > 0 or not metric.relative]
    return Earlier({c.allocation: (*scale.y(c.quality, c.quality_se), c.n_images) for c in usable})


def _other_members(study: Study, path: Path, measured: Sequence[Candidate], n_known: int) -> ConfigError:
    there = list(dict.fromkeys(name for c in measured for name in _names(c.allocation)))
    other = [name for name in there if name not in study.space.names]
    why = f"its denoisers {', '.join(other)} are none of this study's" if other else "it measured too few allocations"
    return ConfigError(
        f"search.warm_start: {path} knows {n_known} allocations of {', '.join(study.space.names)}, expected at least "
        f"{MIN_KNOWN}: {why}",
        hint="give a table whose denoisers have the names of these, or rename them in the search space",
    )


def _names(allocation: Allocation) -> list[str]:
    return list(allocation.steps)
