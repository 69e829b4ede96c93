"""Past measurements stand in for a device: a `Measurer` that answers every job from a table. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.latency_model import Parts
from tstitch_search.measure.recorded.images import FeatureFolder, RecordedImages, SimulatedImages
from tstitch_search.measure.recorded.table import RecordedTable, Row, read_table
from tstitch_search.measurement import (
    AllocationTime,
    AllocationTimes,
    Answer,
    Calibrate,
    Calibration,
    ChunkFeatures,
    DescribeFeatures,
    ExtractReference,
    FeatureFacts,
    Job,
    MakeChunk,
    MakeImages,
    Probe,
    Publish,
    TimeAllocations,
)
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.reference import Reference

GREY, TILE = 128, 32


@dataclass(frozen=True)
class Record:
    """A study's table with the step costs that explain it, and the images that it stands for."""

    study: Study
    table: RecordedTable
    images: RecordedImages
    key: Mapping[str, str]

    @cached_property
    def parts(self) -> Parts:
        """What the recorded times are made of. Raises ConfigError when step costs do not explain them."""
        return self.table.parts(self.study.space.names)

    @cached_property
    def calibration(self) -> Calibration:
        """The step costs as a calibration; memory is not recorded, so 0. Raises ConfigError when they do not fit."""
        none = dict.fromkeys(self.study.space.names, 0.0)
        return Calibration(
            step_s=dict(self.parts.step_s),
            step_se=none,
            switch_s=none,
            switch_se=none,
            fixed_s=self.parts.fixed_s,
            fixed_se=0.0,
            spread=0.0,
            peak_memory_mb=0.0,
            member_memory_mb=none,
            weights_mb=none,
            device=self.study.config.measure.device,
            batch_size=self.study.config.latency.batch_size,
            n_repeats=self.study.config.latency.n_repeats,
        )


def open_record(study: Study) -> Record:
    """The study's record, checked.

    Raises ConfigError when it is none, or lacks a baseline, or the study asks what no record answers;
    EnvironmentProblem when a file cannot be read.
    """
    config, near = study.config, study.study_path.parent
    assert config.measure.recorded is not None
    table = read_table(near / config.measure.recorded, study.space)
    table.require([Allocation.of([(name, study.space.n_steps)]) for name in study.space.names])
    _check_answerable(study)
    key = {"measure.recorded": table.sha256, "measure.device": config.measure.device}
    if config.measure.features is not None:
        n_search = max(config.quality.n_images, config.quality.control_images or 0)
        folder = FeatureFolder(near / config.measure.features, n_search, config.confirm.n_images)
        return Record(study, table, folder, {**key, "measure.features": folder.check(list(table.rows))})
    given, correlation = config.measure.noise, config.measure.noise_correlation
    variance = table.noise_per_image() if given is None else given**2 * config.quality.n_images
    noise = {"measure.noise": f"variance {variance:.6g} per image, correlation {correlation:g}"}
    return Record(study, table, SimulatedImages(config.proxy_set.seed, variance, correlation), {**key, **noise})


def _check_answerable(study: Study) -> None:
    quality = study.config.quality
    if study.config.measure.features is not None:
        answerable = all(metric_named(name).array == "features" for name in quality.all_metrics)
    else:
        answerable = quality.all_metrics == ("fid",) and quality.guard is None
    if not answerable:
        raise ConfigError(
            f"a record knows FID only, the study asks for {', '.join(quality.all_metrics)}",
            hint="give measure.features for metrics of features; there are no logits and no prompts",
        )
    if study.config.latency.points or study.config.latency.from_file:
        raise ConfigError(
            "a record holds the times of one operating point, the study asks for others by latency.points or .from",
            hint="make a study for each recorded device and batch size",
        )


class RecordedMeasurer:
    """A `Measurer` that looks everything up. Device seconds are those that the recorded times imply."""

    def __init__(self, study: Study):
        """Read nothing yet."""
        self._study = study
        self.device = study.config.measure.device

    def load(self) -> dict[str, float]:
        """Read the record; no member is loaded. Raises what `open_record` raises."""
        self._record = open_record(self._study)
        return dict.fromkeys(self._study.space.names, 0.0)

    def do(self, job: Job) -> Answer:
        """The answer to `job`. Raises MeasurementError for an allocation that was not recorded."""
        match job:
            case MakeChunk():
                return self._make_chunk(job)
            case MakeImages(_, chunk):
                return np.full((chunk.n_images, TILE, TILE, 3), GREY, dtype=np.uint8)
            case Publish():
                return _publish(job)
            case DescribeFeatures():
                return FeatureFacts(len(self._record.images.reference.mu), 0)
            case ExtractReference():
                raise MeasurementError("a record has no extractor for real images")
            case Probe():
                raise MeasurementError("a record has no denoisers whose predictions could be compared")
            case Calibrate(n_repeats=n_repeats):
                return replace(self._record.calibration, n_repeats=n_repeats)
            case TimeAllocations(allocations, n_repeats):
                return AllocationTimes(tuple(self._time(a, n_repeats) for a in allocations))

    def _make_chunk(self, job: MakeChunk) -> ChunkFeatures:
        row = self._row(job.allocation)
        features = self._record.images.features(job.allocation, row.fid, job.chunk)
        batches = job.chunk.n_images / self._study.config.latency.batch_size
        return ChunkFeatures({"features": features}, seconds=row.latency_s * batches)

    def _time(self, allocation: Allocation, n_repeats: int) -> AllocationTime:
        seconds, predicted_s = self._row(allocation).latency_s, self._record.parts.latency_s(allocation)
        return AllocationTime((seconds,) * n_repeats, (predicted_s,) * n_repeats, peak_memory_mb=0.0)

    def _row(self, allocation: Allocation) -> Row:
        if allocation not in self._record.table.rows:
            raise MeasurementError(f"{allocation} was not recorded in {self._record.table.path}")
        return self._record.table.rows[allocation]


def _publish(job: Publish) -> float:
    """Our own value of the job's metric, in the form that the search uses."""
    if job.mu is None or job.sigma is None:
        return metric_named(job.metric).bind(None)(job.array)
    return metric_named(job.metric).bind(Reference(job.mu, job.sigma, None, job.features, sha256=""))(job.array)
