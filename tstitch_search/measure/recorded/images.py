"""The features of images that a record stands for: those of real ones in a folder, or simulated ones. No torch.

Simulated: one feature per image, x_i = sqrt(F y_i) >= 0, against a reference that is the single point 0. The Fréchet
distance is then the mean of x^2, so F times the mean of y, where F is the recorded FID and y_i has mean 1 and variance
v: with n images FID has the relative standard deviation sqrt(v / n). With y_i = (g_i + h_i) v, g_i ~ Gamma(c / v)
shared by all allocations and h_i ~ Gamma((1 - c) / v) of the allocation alone, y_i ~ Gamma(1 / v) v, and c is the
correlation between any two allocations, exactly. Like FID itself the value from n images is biased upwards, here by
the share Var(sqrt(y)) / n < 1 / n, the same for all allocations.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.special import gammaincinv

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.files import require_itself
from tstitch_search.measurement import Chunk, SetName
from tstitch_search.quality.reference import Reference, file_sha256, read_statistics

SETS: dict[SetName, int] = {"search": 0, "confirm": 1}


class RecordedImages(Protocol):
    """What the images of a study were, as far as FID sees them."""

    @property
    def reference(self) -> Reference:
        """What they are compared with."""
        ...

    def features(self, allocation: Allocation, fid: float, chunk: Chunk) -> np.ndarray:
        """Features (n, d) float32 of the chunk's images, made by an allocation whose recorded FID is `fid`."""
        ...


@dataclass(frozen=True)
class SimulatedImages:
    """Images of which only the FID is known. `variance`: v; `correlation`: c, in [0, 1]."""

    seed: int
    variance: float
    correlation: float

    @property
    def reference(self) -> Reference:
        return Reference(np.zeros(1), np.zeros((1, 1)), None, None, sha256="")

    def features(self, allocation: Allocation, fid: float, chunk: Chunk) -> np.ndarray:
        """Image i depends on seed, set, i and, in its own part, on the allocation alone: on no chunk."""
        own = int.from_bytes(hashlib.sha256(str(allocation).encode()).digest()[:8])
        if self.variance > 0:
            y = self._part(self.correlation, chunk, shared_by=0) + self._part(1 - self.correlation, chunk, own)
        else:
            y = np.ones(chunk.n_images)
        features: np.ndarray = np.sqrt(fid * y)[:, None].astype(np.float32)
        return features

    def _part(self, share: float, chunk: Chunk, shared_by: int) -> np.ndarray:
        """(n,) with mean `share` and variance `share` * v, the same for all that give the same `shared_by`."""
        if share == 0:
            return np.zeros(chunk.n_images)
        seeds = np.random.SeedSequence((self.seed, SETS[chunk.set_name], shared_by))
        stream = np.random.PCG64(seeds).advance(chunk.first)
        quantiles = np.random.Generator(stream).random(chunk.n_images)
        part: np.ndarray = self.variance * gammaincinv(share / self.variance, quantiles)
        return part


@dataclass(frozen=True)
class FeatureFolder:
    """Features of real images: the search takes the first rows of each file, the confirmation the last, from the end.

    So that neither set changes when the other grows.
    """

    folder: Path
    n_search: int
    n_confirm: int

    @property
    def reference(self) -> Reference:
        path = self.folder / "reference.npz"
        if not path.is_file():
            raise ConfigError(f"measure.features: {path} is missing", hint="save mu and sigma of the real images there")
        reference = read_statistics(path, file_sha256("reference.npz", path))
        if reference is None:
            raise ConfigError(f"{path} holds images only, expected mu and sigma", hint="save those of the real images")
        return reference

    def features(self, allocation: Allocation, fid: float, chunk: Chunk) -> np.ndarray:
        rows = self.open(allocation)
        index = np.arange(chunk.first, chunk.last)
        taken: np.ndarray = rows[index if chunk.set_name == "search" else len(rows) - 1 - index].astype(np.float32)
        return taken

    def check(self, allocations: Sequence[Allocation]) -> str:
        """One hash of all files, once it is known that they fit together. Raises ConfigError naming one that does not.

        Only the number of images can be compared, not which they are: that they are the same is the study's word.
        """
        shape = (len(self.open(allocations[0])), len(self.reference.mu))
        for allocation in allocations:
            if (found := self.open(allocation).shape) != shape:
                raise ConfigError(
                    f"measure.features: {self.path(allocation)} holds {found}, expected {shape}: as many images as the "
                    "other files and as many features as reference.npz",
                    hint="take the same images and the same extractor for all",
                )
        paths = [self.folder / "reference.npz", *map(self.path, allocations)]
        return hashlib.sha256("".join(file_sha256(p.name, p) for p in paths).encode()).hexdigest()

    def path(self, allocation: Allocation) -> Path:
        """The allocation's file."""
        return self.folder / f"{allocation.file_name}.npy"

    def open(self, allocation: Allocation) -> np.ndarray:
        """Its rows (n, d), left on disk. Raises EnvironmentProblem without the file, ConfigError for other content."""
        path, n_needed = self.path(allocation), self.n_search + self.n_confirm
        require_itself(path, "measure.features")
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise EnvironmentProblem(
                f"measure.features: cannot read {path}: {error.strerror}",
                hint="every recorded allocation needs its features",
            ) from error
        except (ValueError, EOFError) as error:
            raise ConfigError(f"measure.features: {path} is no .npy file of numbers", hint="numpy.save it") from error
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind != "f":
            raise ConfigError(f"measure.features: {path}: expected floats (n_images, d)", hint="numpy.save them")
        if len(rows) < n_needed:
            raise ConfigError(
                f"measure.features: {path} holds {len(rows)} images, expected at least {n_needed}: {self.n_search} for "
                f"the search and {self.n_confirm} others for the confirmation",
                hint="lower quality.n_images or confirm.n_images",
            )
        return rows
