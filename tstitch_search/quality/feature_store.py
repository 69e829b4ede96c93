"""Features on disk, one file per (allocation, chunk): written whole or not at all, readable without pickle."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.files import write_whole
from tstitch_search.measurement import Chunk


@dataclass(frozen=True)
class FeatureStore:
    """The `features/` folder of a run. `recipe` names what the features depend on and is written into each file."""

    folder: Path
    recipe: dict[str, str]

    def write(self, allocation: Allocation, chunk: Chunk, features: np.ndarray) -> tuple[str, str]:
        """Store features (n, d) float32 and return (file relative to the folder, sha256 of its content).

        Raises MeasurementError when a value is not finite (as float32) or the number of rows is not the chunk's.
        """
        if features.ndim != 2 or len(features) != chunk.n_images:
            raise MeasurementError(
                f"{allocation}: expected {chunk.n_images} rows of features, got shape {features.shape}"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
            features = np.ascontiguousarray(features, dtype=np.float32)
        if not np.isfinite(features).all():
            raise MeasurementError(f"{allocation}: features of images {chunk.first} to {chunk.last - 1} are not finite")
        made_from = {**self.recipe, "allocation": str(allocation), "set": chunk.set_name, "first": chunk.first}
        # One entry: several would be written in random order, and the same features would hash differently.
        content = save({"features": features}, metadata={"made_from": json.dumps(made_from)})
        name = f"{chunk.set_name}/{allocation.file_name}/{chunk.first:06d}-{chunk.last:06d}.safetensors"
        write_whole(self.folder / name, content)
        return name, hashlib.sha256(content).hexdigest()

    def read(self, files: Sequence[tuple[str, str]]) -> np.ndarray:
        """The features (n, d) of several (file, sha256), one after another, each checked against its hash."""
        return np.concatenate([self._read_one(name, sha256) for name, sha256 in files])

    def _read_one(self, name: str, sha256: str) -> np.ndarray:
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EnvironmentProblem(f"cannot read {path}: {error.strerror}", hint="restore the run folder") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise EnvironmentProblem(f"{path} is not what the ledger recorded", hint="delete the file and run again")
        features: np.ndarray = load(content)["features"]
        return features

    def holds(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.folder / name).exists()
