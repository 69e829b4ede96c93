"""What is kept of images, one file per (allocation, chunk): written whole or not at all, readable without pickle."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from safetensors.numpy import load, save

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.files import what_instead, write_whole
from tstitch_search.measurement import Chunk

AGAIN = "run the study again: that sets the file aside and makes its images again"
StoredDtype: TypeAlias = Literal["float32", "float16"]


class DamagedFile(EnvironmentProblem):
    """A feature file that is missing, or not what was written."""


@dataclass(frozen=True)
class FeatureStore:
    """The `features/` folder of a run. `recipe` names what the arrays depend on and is written into each file."""

    folder: Path
    recipe: Mapping[str, str]
    dtype: StoredDtype = "float32"

    @property
    def anchor_images(self) -> Path:
        """Where the anchor's own images are kept, for metrics of pairs."""
        return self.folder / "anchor_images"

    def write(self, allocation: Allocation, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> tuple[str, str]:
        """Store arrays of one row per image; returns (file relative to the folder, sha256 of its content).

        Raises MeasurementError when a value is not finite as stored or the number of rows is not the chunk's.
        """
        stored = {name: self._checked(allocation, chunk, name, array) for name, array in arrays.items()}
        made_from = {
            **self.recipe,
            "allocation": str(allocation),
            "set": chunk.set_name,
            "first": chunk.first,
            "last": chunk.last,
            "stored_dtype": self.dtype,
        }
        # One entry: several would be written in random order, and the same features would hash differently.
        content = save(stored, metadata={"made_from": json.dumps(made_from)})
        name = f"{chunk.set_name}/{allocation.file_name}/{chunk.first:06d}-{chunk.last:06d}.safetensors"
        write_whole(self.folder / name, content)
        return name, hashlib.sha256(content).hexdigest()

    def _checked(self, allocation: Allocation, chunk: Chunk, name: str, array: np.ndarray) -> np.ndarray:
        """The array as it is stored."""
        if array.ndim > 2 or len(array) != chunk.n_images or (name == "features" and array.ndim != 2):
            raise MeasurementError(f"{allocation}: expected {chunk.n_images} rows of {name}, got shape {array.shape}")
        with np.errstate(over="ignore"):  # what the dtype cannot hold becomes infinite and is refused
            stored = np.ascontiguousarray(array, dtype=self.dtype)
        if not np.isfinite(stored).all():
            fits = np.isfinite(array).all() and self.dtype == "float16"
            raise MeasurementError(
                f"{allocation}: {name} of images {chunk.first} to {chunk.last - 1} are not finite"
                + (" as float16" if fits else ""),
                hint="set quality.features_dtype: float32" if fits else "",
            )
        return stored

    def read(self, files: Sequence[tuple[str, str]], array: str = "features") -> np.ndarray:
        """The array (n, ...) float32 of several (file, sha256), one after another, each checked against its hash.

        Raises DamagedFile for a file that is missing or changed, EnvironmentProblem for one without the array.
        """
        return np.concatenate([self._read_one(name, sha256, array) for name, sha256 in files])

    def _read_one(self, name: str, sha256: str, array: str) -> np.ndarray:
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedFile(f"cannot read {path}: {error.strerror}", hint=AGAIN) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            what = (what_instead(content) or ("is not what the ledger recorded", ""))[0]
            raise DamagedFile(f"{path} {what}", hint=AGAIN)
        arrays = load(content)
        if array not in arrays:
            raise EnvironmentProblem(
                f"{path} holds {', '.join(arrays)}, no {array}",
                hint="add the metric to quality.metrics and run again: the chunks are then made with it",
            )
        values: np.ndarray = arrays[array].astype(np.float32)
        return values

    def holds(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.folder / name).exists()

    def is_whole(self, name: str, sha256: str) -> bool:
        """Whether the file is there and what was written."""
        try:
            return hashlib.sha256((self.folder / name).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def set_aside(self, name: str) -> Path | None:
        """Rename the file to `*.damaged`, where it is not read; None when there is none."""
        path = self.folder / name
        if not path.exists():
            return None
        return path.replace(path.with_name(path.name + ".damaged"))
