"""Step times measured on this machine, kept between studies so that `plan` can price one without measuring."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.files import make_folder, write_whole
from tstitch_search.measurement import Calibration

# The facts of a study that its times depend on.
TIMED_BY = ("space.n_steps", "space.solver", "weights.", "guidance_scale", "dtype", "execution", "latency.batch_size")


def remember(study: Study, key: Mapping[str, str], calibration: Calibration) -> None:
    """Keep the calibration for later plans on this machine; one that cannot be kept is no loss."""
    path = _path(study, key)
    with suppress(EnvironmentProblem):
        make_folder(path.parent)
        write_whole(path, json.dumps(asdict(calibration)).encode())


def recall(study: Study, key: Mapping[str, str]) -> Calibration | None:
    """The calibration of the same members, batch and settings on this machine, if there is one."""
    try:
        return Calibration(**json.loads(_path(study, key).read_text()))
    except (OSError, ValueError, TypeError):  # none, or written by another version: as good as none
        return None


def _path(study: Study, key: Mapping[str, str]) -> Path:
    timed_by = {name: value for name, value in key.items() if name.startswith(TIMED_BY)}
    identity = json.dumps([platform.node(), study.config.workers.device, sorted(timed_by.items())])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tstitch-search" / "calibrations" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
