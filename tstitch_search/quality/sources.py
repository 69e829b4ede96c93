"""What `quality.reference` points to: statistics, real images whose features are still to be made, or both."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tstitch_search.errors import ConfigError
from tstitch_search.quality.reference import Reference, file_sha256, read_statistics, reference_path
from tstitch_search.real_images import ImageFiles, RealImages, RegisteredDataset, list_images, npz_images

DATASET = "dataset:"


@dataclass(frozen=True)
class ReferenceSource:
    """`text` as in the study, `sha256` of the content, and what is there.

    Where both are, the statistics (of the whole training set) decide FID, the images KID, precision and recall.
    """

    text: str
    sha256: str
    statistics: Reference | None
    images: RealImages | None

    def to_extract(self, needs_features: bool) -> RealImages | None:
        """The images whose features are needed and not known; `needs_features`: some metric compares with them."""
        if self.statistics and (self.statistics.features is not None or not needs_features):
            return None
        return self.images


# Of a study whose metrics compare with no real images.
NO_SOURCE = ReferenceSource("none", "none", statistics=None, images=None)


def open_source(text: str | None, near: Path, resolution: int) -> ReferenceSource:
    """The source `text`: dataset:NAME, zoo:FAMILY, or a folder or .npz relative to `near`; without decoding an image.

    Raises EnvironmentProblem for what cannot be read, ConfigError for what is no reference or has images that are not
    `resolution` pixels wide and high.
    """
    if text is None:
        return NO_SOURCE
    if text.startswith(DATASET):
        dataset = RegisteredDataset(text.removeprefix(DATASET), resolution)
        return ReferenceSource(text, hashlib.sha256(text.encode()).hexdigest(), None, dataset)
    path = reference_path(text, near).absolute()
    if path.is_dir():
        try:
            files = ImageFiles(path, list_images(path), resolution)
            return ReferenceSource(text, files.sha256(), None, files)
        except ConfigError as error:
            raise ConfigError(f"quality.reference: {error.message}", error.hint) from error
    sha256 = file_sha256(text, path)
    statistics = read_statistics(path, sha256)
    return ReferenceSource(text, sha256, statistics, npz_images(path, resolution))
