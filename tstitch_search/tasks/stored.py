"""A run folder read again, without a device and without touching it: images' features and what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.ledger import Event, read_events
from tstitch_search.measurement import Chunk, SetName
from tstitch_search.progress import Progress, Silent
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.reference import Reference, file_sha256, read_statistics
from tstitch_search.search_space import SearchSpace

Files = dict[Chunk, tuple[str, str]]


@dataclass(frozen=True)
class StoredRun:
    """What a run folder holds: its study, and the stored chunks of every allocation."""

    path: Path
    study: Study
    space: SearchSpace
    store: FeatureStore
    chunks: dict[Allocation, Files]
    progress: Progress

    @classmethod
    def open(cls, path: Path) -> "StoredRun":
        """The run folder at `path`, which may be in use. Raises ConfigError when it is none."""
        ledger = path / "ledger.jsonl"
        if not ledger.is_file():
            raise ConfigError(
                f"{path} holds no ledger.jsonl", hint="give the folder of a run, such as reports/quickstart"
            )
        study = load_study(path / "study.resolved.yaml")
        chunks: dict[Allocation, Files] = {}
        for event in read_events(ledger):
            if event["event"] == "chunk":
                chunks.setdefault(Allocation.parse(event["allocation"]), {})[_chunk_of(event)] = _file_of(event)
        return cls(path, study, SearchSpace.of_study(study), FeatureStore(path / "features", {}), chunks, Silent())

    def reference(self) -> Reference | None:
        """The study's real images as statistics and features, as the run kept them; None if it has none."""
        path = self.path / "reference.npz"
        return read_statistics(path, file_sha256("the run's", path)) if path.exists() else None

    def read(self, allocation: Allocation, chunks: Sequence[Chunk], array: str = "features") -> np.ndarray:
        """A stored array (n, ...) of the chunks in order. Raises MeasurementError when one is not there."""
        files = self.chunks.get(allocation, {})
        if missing := [chunk for chunk in chunks if chunk not in files]:
            raise MeasurementError(f"{allocation}: images {missing[0].first} to {missing[0].last - 1} were not made")
        return self.store.read([files[chunk] for chunk in chunks], array)

    def common(self, allocations: Sequence[Allocation], set_name: SetName) -> list[Chunk]:
        """The chunks from image 0 on, without a gap, that all of these allocations have."""
        shared = set.intersection(*(set(self.chunks.get(a, {})) for a in allocations))
        found: list[Chunk] = []
        for chunk in sorted(chunk for chunk in shared if chunk.set_name == set_name):
            if chunk.first == (found[-1].last if found else 0):
                found.append(chunk)
        return found


def _chunk_of(event: Event) -> Chunk:
    return Chunk(event["set"], event["first"], event["last"])


def _file_of(event: Event) -> tuple[str, str]:
    return event["file"], event["sha256"]
