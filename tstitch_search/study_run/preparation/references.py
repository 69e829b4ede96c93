"""Real images become features once per machine: made by the workers, kept for every study that compares with them."""

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError
from tstitch_search.files import cache_folder, write_whole
from tstitch_search.measurement import DescribeFeatures, ExtractReference, FeatureFacts
from tstitch_search.quality.reference import Reference, read_statistics, require_enough, save_reference, summarise
from tstitch_search.quality.sources import NO_SOURCE
from tstitch_search.real_images import RealImages, RegisteredDataset
from tstitch_search.study_run.key import StudyFacts
from tstitch_search.study_run.workbench import Workbench

# Images per job: what a crash can lose, and the memory a job takes (250 images of 512 x 512 are 200 MB).
CHUNK = 250
# Part of what a cached file is named by: to be raised when features come to be made in another way.
VERSION = 1
# For prices, while the extractor has not been loaded: as many as Inception's.
USUAL_FEATURES = 2048


def prepare_reference(
    bench: Workbench, study: Study, facts: StudyFacts, needs_features: bool = False
) -> Reference | None:
    """The study's reference, None if it has none; real images are turned into features first where they have not been.

    `needs_features`: some metric compares with real images themselves. Workers start only for what is not known yet.
    Raises ConfigError for images that cannot be used, too few of them, or statistics of another extractor.
    """
    source = facts.reference
    if source is NO_SOURCE:
        return None
    images = source.to_extract(needs_features)
    made = recall(study, facts) if images else None
    if not bench.ledger.last("reference") or (images and not made):
        try:
            described = _describe(bench, study, facts, images)
            made = _make(bench, study, facts, images, described) if images and not made else made
        except MeasurementError as error:
            raise ConfigError(f"the reference {source.text!r}: {error}") from error
        bench.ledger.append("reference", n_features=described.n_features, n_images=described.n_images)
    if made is None:
        assert source.statistics is not None  # a source has images or statistics
        return source.statistics
    return replace(source.statistics, features=made.features) if source.statistics else made


def state_of_reference(study: Study, facts: StudyFacts, needs_features: bool = False) -> str:
    """What `run` will find, or still has to do, in a few words."""
    source, images = facts.reference, facts.reference.to_extract(needs_features)
    if source is NO_SOURCE:
        return "none: no metric of the study compares with real images"
    if images is None:
        n_images = source.statistics.n_images if source.statistics else None
        return f"{source.text}: statistics of {n_images or 'an unknown number of'} images"
    if made := recall(study, facts):
        return f"{source.text}: features of {made.n_images} images, made before"
    n = "all" if isinstance(images, RegisteredDataset) else images.n_images
    return f"{source.text}: features of {n} images still to be made, once"


def feature_dim(study: Study, facts: StudyFacts) -> int:
    """How many features an image has, as far as it can be known without the extractor."""
    known = facts.reference.statistics or recall(study, facts)
    return len(known.mu) if known else USUAL_FEATURES


def recall(study: Study, facts: StudyFacts) -> Reference | None:
    """The features made before of the same images with the same extractor on this machine, if there are any."""
    path = _path(study, facts)
    try:
        return read_statistics(path, facts.reference.sha256)
    except (OSError, ConfigError, EnvironmentProblem):  # none, or a damaged file: as good as none
        return None


def _describe(bench: Workbench, study: Study, facts: StudyFacts, images: RealImages | None) -> FeatureFacts:
    """What a worker says of the features. Raises ConfigError when the reference does not fit them."""
    described = bench.alone(DescribeFeatures(images))
    assert isinstance(described, FeatureFacts)
    statistics = facts.reference.statistics
    if statistics is None:
        require_enough(described.n_images, described.n_features)
    elif len(statistics.mu) != described.n_features:
        raise ConfigError(
            f"the extractor {study.config.quality.extractor!r} gives {described.n_features} features, "
            f"the reference {facts.reference.text!r} has {len(statistics.mu)}",
            hint="make quality.reference with the same extractor",
        )
    return described


def _make(bench: Workbench, study: Study, facts: StudyFacts, images: RealImages, described: FeatureFacts) -> Reference:
    """Have the features made, and keep them. Chunks that a crash left behind are not made again."""
    path = _path(study, facts)
    chunks = path.with_suffix(".chunks")
    files = {first: chunks / f"{first:08d}.npy" for first in range(0, described.n_images, CHUNK)}
    _make_chunks(bench, images, described, files)
    made = summarise(map(np.load, files.values()), described.n_images, facts.reference.sha256)
    save_reference(made, path)
    shutil.rmtree(chunks, ignore_errors=True)
    return made


def _make_chunks(bench: Workbench, images: RealImages, described: FeatureFacts, files: Mapping[int, Path]) -> None:
    """Write the features (n, d) of each chunk to its file in `files`, by the index of its first image."""
    n_images = described.n_images
    shapes = {first: (min(CHUNK, n_images - first), described.n_features) for first in files}
    missing = [first for first, path in files.items() if not _holds(path, shapes[first])]
    n_done = sum(shapes[first][0] for first in files.keys() - missing)
    bench.progress.stage("reference")
    jobs = [ExtractReference(images.part(first, first + shapes[first][0]), first) for first in missing]
    for job, features in bench.together(jobs):
        assert isinstance(job, ExtractReference)
        _keep(files[job.first], features, shapes[job.first], job.first)
        n_done += shapes[job.first][0]
        bench.progress.extracted(n_done, n_images)


def _keep(path: Path, features: object, shape: tuple[int, int], first: int) -> None:
    if not isinstance(features, np.ndarray) or features.shape != shape or not np.isfinite(features).all():
        raise MeasurementError(
            f"the extractor gave no finite features of shape {shape} for real images {first} to {first + shape[0] - 1}"
        )
    content = io.BytesIO()
    np.save(content, features.astype(np.float32))
    write_whole(path, content.getbuffer())


def _holds(path: Path, shape: tuple[int, int]) -> bool:
    try:
        return bool(np.load(path, mmap_mode="r").shape == shape)
    except (OSError, ValueError, EOFError):
        return False


def _path(study: Study, facts: StudyFacts) -> Path:
    quality, weights = study.config.quality, facts.key["quality.extractor_weights"]
    made_from = {
        "version": VERSION,
        "images": facts.reference.sha256,
        "extractor": quality.extractor,
        "weights": weights,
        "layer": "that of FID",
    }
    return cache_folder("references") / f"{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()}.npz"
