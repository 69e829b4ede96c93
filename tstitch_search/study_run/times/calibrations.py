"""Step times: measured by themselves (for `calibrate`, for a price before the run, for other operating points), read
from a file that a study names so that its decisions can be repeated exactly, and kept on this machine so that `plan`
can price a study without measuring.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from math import inf
from pathlib import Path
from typing import Any

from tstitch_search.config import Study
from tstitch_search.config.models import PointConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import cache_folder, make_folder, write_whole
from tstitch_search.json_fields import check_count, check_number, check_text, get, read_json, refuse
from tstitch_search.latency_model import NOISY, LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import NEWER_OF_CALIBRATION, Calibration
from tstitch_search.progress import Progress
from tstitch_search.study_run.folder import Key
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.times.timing import time_denoisers
from tstitch_search.study_run.workbench import run_alone
from tstitch_search.workers.protocol import WorkerPool

# The facts of a study that its times depend on.
TIMED_BY = (
    "space.denoisers",
    "space.n_steps",
    "space.solver",
    "space.profiles.",
    "weights.",
    "accelerator.",
    "guidance.",
    "lora.",
    "measure.",
    "guidance_scale",
    "dtype",
    "quantization.",
    "execution",
    "latency.batch_size",
)
PER_DENOISER = ("step_s", "step_se", "switch_s", "switch_se", "member_memory_mb", "weights_mb")
FILE_VERSION = 1


def calibrate_study(
    study: Study, output: Path | None, open_pool: Callable[[Study], WorkerPool], progress: Progress
) -> Calibration:
    """Step times of the study's denoisers, measured now; `output` is a file to write for `latency.from`."""
    facts = resolve_facts(study)
    calibration = measure_calibration(study, open_pool, progress)
    if output is not None:
        write_calibration(output, facts.key, calibration)
    remember(study, facts.key, calibration)
    return calibration


def calibrate_points(
    study: Study, key: Key, ledger: Ledger, open_pool: Callable[[Study], WorkerPool], progress: Progress
) -> dict[str, LatencyModel]:
    """The latency model of each further operating point by id, measured once per run folder or read from its file.

    Each has workers of its own, which are gone before the next one is measured.
    """
    known = {event["point"]: event["calibration"] for event in ledger.of("point")}
    models = {}
    for point in study.config.latency.points:
        at_point = _study_at(study, point)
        if point.id not in known:
            timed = {**key, "latency.batch_size": str(at_point.config.latency.batch_size)}
            given = given_calibration(at_point, timed)
            calibration = given or measure_calibration(at_point, open_pool, progress)
            known[point.id] = ledger.append("point", point=point.id, calibration=asdict(calibration))["calibration"]
        models[point.id] = LatencyModel(Calibration(**known[point.id]))
    return models


def _study_at(study: Study, point: PointConfig) -> Study:
    """The study as it would be at the operating point."""
    latency, workers = study.config.latency, study.config.workers
    at = {"batch_size": point.batch_size or latency.batch_size, "from_file": point.from_file, "points": ()}
    on = {"device": point.device or workers.device, "n_workers": 1}
    updates = {"latency": latency.model_copy(update=at), "workers": workers.model_copy(update=on)}
    return study.model_copy(update={"config": study.config.model_copy(update=updates)})


def measure_calibration(study: Study, open_pool: Callable[[Study], WorkerPool], progress: Progress) -> Calibration:
    """Step times measured by one worker, with what there is to say about them."""
    pool = open_pool(study)
    try:
        progress.stage("calibrate")
        pool.start()
        calibration = time_denoisers(study, lambda job: run_alone(pool, job, progress), progress)
    finally:
        pool.close()
    warn(study, LatencyModel(calibration), progress)
    return calibration


def warn(study: Study, latency: LatencyModel, progress: Progress) -> None:
    """Say what is odd about the step times: their order, or how much repeats differ."""
    for warning in (latency.order_warning(study.space.names), latency.noise_warning):
        if warning:
            progress.note(warning)


def write_calibration(path: Path, key: Mapping[str, str], calibration: Calibration) -> None:
    """Write the calibration with what it depends on. Read by `latency.from`; schema version 1."""
    document = {"version": FILE_VERSION, "timed": _timed_by(key), "calibration": asdict(calibration)}
    write_whole(path, (json.dumps(document, indent=2) + "\n").encode())


def given_calibration(study: Study, key: Mapping[str, str]) -> Calibration | None:
    """What the file named by `latency.from` says, or None when none is named.

    Raises ConfigError when the file is no calibration, or one of other members or settings.
    """
    if study.config.latency.from_file is None:
        return None
    path = study.study_path.parent / study.config.latency.from_file
    try:
        return _parse(read_json(path), _timed_by(key))
    except ConfigError as error:
        raise ConfigError(
            f"latency.from: {path}: {error.message}", hint=error.hint or "write it with `tstitch-search calibrate`"
        ) from error


def _parse(document: Any, timed: Mapping[str, str]) -> Calibration:
    if get(document, "version") != FILE_VERSION:
        refuse("version", str(FILE_VERSION), document["version"])
    there = get(document, "timed")
    if differing := [name for name in {**there, **timed} if there.get(name) != timed.get(name)]:
        lines = [f"  {n}: {there.get(n, 'absent')} there, {timed.get(n, 'absent')} now" for n in differing]
        raise ConfigError(
            "it was measured with other members or settings; these differ:\n" + "\n".join(lines),
            hint="calibrate this study anew, or leave latency.from out",
        )
    values = get(document, "calibration")
    get(values, "step_s")
    values = {**NEWER_OF_CALIBRATION, **values}
    for field in fields(Calibration):
        _check(field.name, get(values, field.name), timed["space.denoisers"].split())
    return Calibration(**{field.name: values[field.name] for field in fields(Calibration)})


def _check(field: str, value: Any, denoisers: Sequence[str]) -> None:
    """Refuse what `field` of a calibration of these denoisers cannot be."""
    if field == "device":
        check_text(field, value)
    elif field in ("batch_size", "n_repeats"):
        check_count(field, value)
    elif field == "first_batch_s":
        for name in value:
            check_number(f"{field}.{name}", get(value, name), lowest=0)
    elif field == "weights_of":
        for name in value:
            check_text(f"{field}.{name}", get(value, name))
    elif field in ("places", "calls"):
        for name in value:
            for i, share in enumerate(get(value, name)):
                check_number(f"{field}.{name}.{i}", share, lowest=0)
    elif field in PER_DENOISER:
        for name in denoisers:
            check_number(f"{field}.{name}", get(value, name), lowest=-inf if field == "switch_s" else 0)
    else:
        check_number(field, value, lowest=0)


def remember(study: Study, key: Mapping[str, str], calibration: Calibration) -> None:
    """Keep the calibration for later plans on this machine; one that cannot be kept is no loss.

    One of a busy machine does not take the place of a better one.
    """
    path, before = _path(study, key), recall(study, key)
    if before and calibration.spread > max(before.spread, NOISY):
        return
    with suppress(EnvironmentProblem):
        make_folder(path.parent)
        write_whole(path, json.dumps(asdict(calibration)).encode())


def recall(study: Study, key: Mapping[str, str]) -> Calibration | None:
    """The calibration of the same members, batch and settings on this machine, if there is one."""
    try:
        return Calibration(**json.loads(_path(study, key).read_text()))
    except (OSError, ValueError, TypeError):  # none, or written by another version: as good as none
        return None


def _timed_by(key: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in key.items() if name.startswith(TIMED_BY)}


def _path(study: Study, key: Mapping[str, str]) -> Path:
    identity = json.dumps([platform.node(), study.config.workers.device, sorted(_timed_by(key).items())])
    return cache_folder("calibrations") / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
