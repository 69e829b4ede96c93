"""Does a lookup table still hold? A few of its entries measured again, after an upgrade or on another machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.latency_model import median_se
from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.measurement import AllocationTime, chunks_of
from tstitch_search.progress import Progress
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.metrics import arrays_for, needs_real_features
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.confirmation import publish, time_entries
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.study_run.folder import RunFolder, environment
from tstitch_search.study_run.preparation.references import prepare_reference
from tstitch_search.study_run.stages import anchor_of_pairs
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.tasks.tables.from_table import facts_like, study_from_table
from tstitch_search.workers.protocol import WorkerPool

# What may be another here: it decides times or the search, or it is what is being verified (versions).
MAY_DIFFER = ("search.", "execution", "quality.extractor_weights")


TimeVerdict: TypeAlias = Literal["holds", "slow", "unsure"]


@dataclass(frozen=True)
class VerifiedEntry:
    """An entry as the table has it and as it was measured now, on the same images."""

    entry: LookupEntry
    quality: float
    time: AllocationTime
    loss: float

    @property
    def slowdown(self) -> float:
        """By which share it takes longer than the table says; negative when faster."""
        return self.time.latency_s / self.entry.latency_s - 1

    @property
    def slowdown_se(self) -> float:
        """The standard error of that share, from the repeats of both."""
        shares = (self.entry.latency_s_se / self.entry.latency_s, median_se(self.time.seconds) / self.time.latency_s)
        return (1 + self.slowdown) * hypot(*shares)

    def time_verdict(self, max_slowdown: float) -> TimeVerdict:
        """Against the largest `max_slowdown`, 1.25 for a quarter longer. `unsure`: too slow, but within its error."""
        if 1 + self.slowdown <= max_slowdown:
            return "holds"
        return "slow" if 1 + self.slowdown - 1.96 * self.slowdown_se > max_slowdown else "unsure"


@dataclass(frozen=True)
class Verification:
    """What was found. `loss` of an entry: by which share its quality is worse than the table says.

    `max_slowdown`: how many times as long an entry may take. Times are judged where the device is the table's.
    """

    table: LookupTable
    entries: tuple[VerifiedEntry, ...]
    max_loss: float
    device: str
    changed: dict[str, str]
    max_slowdown: float = inf

    @property
    def judges_times(self) -> bool:
        """Whether the table's times were taken on the device that is here."""
        return self.table.operating_points[0].device == self.device

    @property
    def slow(self) -> list[VerifiedEntry]:
        """The entries that take longer than allowed, beyond their errors."""
        return [e for e in self.entries if self.judges_times and e.time_verdict(self.max_slowdown) == "slow"]

    @property
    def unjudged(self) -> list[VerifiedEntry]:
        """The entries of which it cannot be said whether they take longer than allowed."""
        return [e for e in self.entries if not self.judges_times or e.time_verdict(self.max_slowdown) == "unsure"]

    @property
    def holds_quality(self) -> bool:
        """Whether no entry lost more than `max_loss`."""
        return all(e.loss <= self.max_loss for e in self.entries)

    @property
    def passed(self) -> bool:
        """Whether no entry lost more than `max_loss`, and none that could be judged is slower than allowed."""
        return self.holds_quality and not self.slow


def verify(
    path: Path,
    max_loss: float,
    n_entries: int,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
    study_path: Path | None = None,
    settings: Sequence[str] = (),
    max_slowdown: float = 1.25,
) -> Verification:
    """The table at `path` held against `n_entries` of its entries, spread over the front, measured now.

    The very images of the confirmation are made again, so that what differs is due to the device and the libraries.
    """
    table = LookupTable.read(path)
    chosen = spread(table.entries, n_entries)
    study = study_from_table(path, table, study_path, settings)
    facts = facts_like(path, table, study, MAY_DIFFER)
    config, space = study.config, SearchSpace.of_study(study)
    metrics = (config.quality.objective,)
    anchor = anchor_of_pairs(study, metrics)
    with TemporaryDirectory(prefix="tstitch-verify-") as scratch:
        pool = open_pool(study)
        folder = RunFolder.open(Path(scratch), study, facts.key)
        store = FeatureStore(folder.features, facts.recipe, config.quality.features_dtype)
        with (
            folder.ledger,
            Workbench(pool, folder.ledger, store, progress, arrays_for(metrics), pairs_with=anchor) as bench,
        ):
            reference = prepare_reference(bench, study, facts, needs_real_features(metrics))
            evaluator = Evaluator(
                config.quality.model_copy(update={"metrics": (), "guard": None}), space.anchor, reference
            )
            progress.stage("verify")
            allocations = [e.allocation for e in chosen]
            chunks = chunks_of("confirm", table.entries[0].n_images, config.proxy_set.chunk_size)
            bench.make([(allocation, chunks) for allocation in allocations])
            qualities = publish(bench, evaluator, allocations, chunks)[evaluator.objective.name]
            times = time_entries(bench, study, allocations)
            device = str(folder.ledger.of("loaded")[-1]["device"])
    found = [_verified(table, entry, qualities, times) for entry in chosen]
    return Verification(table, tuple(found), max_loss, device, changed_packages(table), max_slowdown)


def _verified(
    table: LookupTable,
    entry: LookupEntry,
    qualities: dict[Allocation, float],
    times: dict[Allocation, AllocationTime],
) -> VerifiedEntry:
    now = qualities[entry.allocation]
    worse = table.objective.loss(now) - table.objective.loss(entry.quality)
    loss = worse / max(abs(entry.quality), entry.quality_se)  # KID may be zero, but not surer than its error
    return VerifiedEntry(entry, now, times[entry.allocation], loss)


def spread(entries: Sequence[LookupEntry], n: int) -> list[LookupEntry]:
    """`n` of the entries, evenly spread over the front, its ends among them."""
    places = np.unique(np.linspace(0, len(entries) - 1, min(n, len(entries))).round().astype(int))
    return [entries[i] for i in places]


def changed_packages(table: LookupTable) -> dict[str, str]:
    """Packages whose version is not that of the table, as `there -> here`."""
    then = table.provenance.get("environment", {}).get("packages", {})
    now = environment()["packages"]
    assert isinstance(now, dict)
    return {name: f"{then[name]} -> {now[name]}" for name in now if name in then and then[name] != now[name]}
