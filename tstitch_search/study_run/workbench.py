"""The bench: whatever is asked of it is measured once.

Finished chunks come from the ledger, the rest from workers, which start when first needed. Every answer is on disk
before anything is decided from it. Timing jobs have the bench to themselves.

Over 250 lines, because asking, waiting, keeping and replaying are about one queue and one ledger.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from sys import intern
from types import TracebackType
from typing import NamedTuple

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.errors import MeasurementError
from tstitch_search.kept_images import KeptImages
from tstitch_search.ledger import GROUP_S, Event, Ledger, damaged_name
from tstitch_search.measurement import Answer, Chunk, ChunkFeatures, Finished, Job, Loaded, MakeChunk
from tstitch_search.progress import Progress
from tstitch_search.quality.feature_store import DamagedFile, FeatureStore
from tstitch_search.study_run.evaluation import no_anchor
from tstitch_search.workers.protocol import WorkerPool

# A chunk that failed this often is given up, and its allocation with it.
MAX_TRIES = 3
# How long one look at the workers waits before the display is refreshed.
POLL_S = 0.5

ChunkKey = tuple[str, str, int, int]


class Kept(NamedTuple):
    """Where a finished chunk's features are, and the device seconds it took."""

    file: str
    sha256: str
    seconds: float
    images: str | None = None  # the hash of the images themselves, of an anchor that pairs need

    @classmethod
    def of(cls, event: Event) -> "Kept":
        """What a `chunk` event says."""
        return cls(event["file"], event["sha256"], event["seconds"], event.get("images"))


class Workbench:
    """Measures chunks and times, and remembers them in the ledger and the feature store of one run folder."""

    def __init__(
        self,
        pool: WorkerPool,
        ledger: Ledger,
        store: FeatureStore,
        progress: Progress,
        arrays: tuple[str, ...] = ("features",),
        is_stopping: Callable[[], bool] = lambda: False,
        pairs_with: Allocation | None = None,
    ):
        """`arrays`: what the study's metrics need of every image; a chunk kept without one of them is made again.
        `pairs_with`: the anchor, when metrics of pairs need its images first.

        Once `is_stopping`, what is under way is finished and recorded, then KeyboardInterrupt raised.
        """
        self.ledger, self.progress = ledger, progress
        self._pool, self._store, self._started = pool, store, False
        self._is_stopping = is_stopping
        self._in_flight: set[ChunkKey] = set()
        self._arrays, self._anchor = arrays, pairs_with
        self._waiting: dict[ChunkKey, list[tuple[Allocation, Chunk]]] = {}
        self._done = {_key_of(e): Kept.of(e) for e in ledger.read("chunk") if self._is_kept(e)}
        self._errors: dict[ChunkKey, list[str]] = {}
        self._given_up: dict[tuple[str, str], str] = {}
        for e in ledger.of("failed"):
            self._remember_error(_key_of(e), e["error"])
        self.n_new = 0
        if ledger.damaged:
            progress.note(
                f"{ledger.path}: {len(ledger.damaged)} damaged line(s) were moved to {damaged_name(ledger.path).name}, "
                f"the first was line {ledger.damaged[0]}; what they said is lost, and measured again where it is needed"
            )

    def __enter__(self) -> "Workbench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    @property
    def n_failed(self) -> int:
        """How many allocations could not be measured, on either set."""
        return len(self._given_up)

    def seconds_of(self, allocation: Allocation, chunk: Chunk) -> float:
        """Device seconds that making the chunk took; 0 when it was given up."""
        kept = self._done.get(_key(allocation, chunk))
        return kept.seconds if kept else 0.0

    def request(self, allocation: Allocation, chunks: Sequence[Chunk]) -> None:
        """Have the missing ones of `chunks` made; returns at once."""
        for chunk in chunks:
            key = _key(allocation, chunk)
            if key in self._done:
                self.progress.known(allocation, chunk)
            elif key not in self._in_flight and key[:2] not in self._given_up:
                self._in_flight.add(key)
                self._submit(allocation, chunk)

    def _submit(self, allocation: Allocation, chunk: Chunk) -> None:
        """Queue the chunk; with metrics of pairs as soon as the anchor's images of the same seeds are there.

        Raises EnvironmentProblem when there will be none.
        """
        if self._anchor is None or allocation == self._anchor:
            self._workers().submit(MakeChunk(allocation, chunk, is_anchor=self._anchor is not None))
            return
        key = _key(self._anchor, chunk)
        if problem := self._given_up.get(key[:2]):
            raise no_anchor(self._anchor, f"{self._anchor}: {problem}")
        elif against := self.images_of_anchor(chunk):
            self._workers().submit(MakeChunk(allocation, chunk, against))
        else:
            self._waiting.setdefault(key, []).append((allocation, chunk))
            self.request(self._anchor, [chunk])

    def images_of_anchor(self, chunk: Chunk) -> KeptImages | None:
        """The anchor's own images of the chunk, if they are there; damaged ones are forgotten, to be made again."""
        assert self._anchor is not None
        kept = self._done.get(_key(self._anchor, chunk))
        if kept is None or kept.images is None:
            return None
        images = KeptImages(KeptImages.place(self._store.anchor_images, kept.images), kept.images)
        if images.is_whole:
            return images
        self.progress.note(f"{images.path.name} is damaged or gone: the anchor's images are made again")
        del self._done[_key(self._anchor, chunk)]
        return None

    def is_ready(self, allocation: Allocation, chunks: Sequence[Chunk]) -> bool:
        """Whether every chunk is there or given up."""
        done = (_key(allocation, chunk) in self._done for chunk in reversed(chunks))  # the last one is made last
        return _key(allocation, chunks[0])[:2] in self._given_up or all(done)

    def is_made(self, allocation: Allocation, chunk: Chunk) -> bool:
        """Whether the chunk is there."""
        return _key(allocation, chunk) in self._done

    @property
    def is_busy(self) -> bool:
        """Whether chunks are under way."""
        return bool(self._in_flight)

    def collect(self, at_most_s: float = POLL_S) -> None:
        """Wait a moment for workers and record what they finished. Raises KeyboardInterrupt once it is to stop."""
        if self._is_stopping():
            self._finish_what_is_under_way()
        for finished in self._workers().wait(at_most_s if self.ledger.is_synced else min(at_most_s, GROUP_S)):
            self._record(finished)
        self.ledger.sync_if_due()
        self.progress.tick()
        for loaded in self._workers().reloads():
            self._record_loaded(loaded)

    def make(self, wanted: Sequence[tuple[Allocation, Sequence[Chunk]]]) -> None:
        """Have all of it made and wait until it is."""
        for allocation, chunks in wanted:
            self.request(allocation, chunks)
        self.wait_for(wanted)

    def wait_for(self, wanted: Sequence[tuple[Allocation, Sequence[Chunk]]]) -> None:
        """Return when all of it, requested before, is there or given up."""
        waiting = deque(wanted)
        while waiting:
            if self.is_ready(*waiting[0]):
                waiting.popleft()
            else:
                self.collect()

    def read(self, allocation: Allocation, chunks: Sequence[Chunk], array: str = "features") -> np.ndarray:
        """A stored array (n, ...) of the chunks in order. Raises MeasurementError when one was given up."""
        keys = [_key(allocation, chunk) for chunk in chunks]
        if problem := self._given_up.get(keys[0][:2]):
            raise MeasurementError(f"{allocation}: {problem}")
        self.ledger.sync()
        try:
            return self._store.read([self._file_of(key) for key in keys], array)
        except DamagedFile:
            self._make_damaged_again(allocation, chunks)
            return self._store.read([self._file_of(key) for key in keys], array)

    def _file_of(self, key: ChunkKey) -> tuple[str, str]:
        return self._done[key].file, self._done[key].sha256

    def _make_damaged_again(self, allocation: Allocation, chunks: Sequence[Chunk]) -> None:
        """Set feature files aside that are not what was written, say so, and make their images again."""
        damaged = [c for c in chunks if not self._store.is_whole(*self._file_of(_key(allocation, c)))]
        for chunk in damaged:
            file = self._done.pop(_key(allocation, chunk)).file
            aside = self._store.set_aside(file)
            what = f"is damaged and set aside as {aside.name}" if aside else "is gone"
            self.ledger.append("damaged", file=file, set_aside=aside and aside.name)
            self.progress.note(f"{file} {what}: its images {chunk.first} to {chunk.last - 1} are made again")
        self.make([(allocation, damaged)])

    def alone(self, job: Job) -> Answer:
        """The answer to a job that must have the device to itself. Raises MeasurementError when it fails."""
        self._become_idle()
        return run_alone(self._pool, job, self.progress)

    def together(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Answer]]:
        """Each job with its answer as workers finish them, all workers at once and nothing else under way.

        Raises MeasurementError when one fails.
        """
        self._become_idle()
        pool = self._pool
        for job in jobs:
            pool.submit(job)
        while pool.n_in_flight:
            if self._is_stopping():
                pool.withdraw()
            for finished in pool.wait(POLL_S):
                if finished.answer is None:
                    raise MeasurementError(finished.error or "a worker gave no answer")
                yield finished.job, finished.answer
            self.progress.tick()
            for loaded in pool.reloads():
                self._record_loaded(loaded)
        self._leave_if_stopping()

    def _become_idle(self) -> None:
        """Wait until nothing is under way. Raises KeyboardInterrupt when the bench is to stop."""
        while self._workers().n_in_flight:
            self.collect()
        self._leave_if_stopping()

    def _finish_what_is_under_way(self) -> None:
        """Record what workers have begun, and leave the rest for another run: raises KeyboardInterrupt."""
        while self._started and self._pool.n_in_flight:
            self._pool.withdraw()  # again, since a job comes back into the queue when its worker dies
            for finished in self._pool.wait(POLL_S):
                self._record(finished)
            self.progress.tick()
        self._leave_if_stopping()

    def _leave_if_stopping(self) -> None:
        if self._is_stopping():
            raise KeyboardInterrupt

    def _workers(self) -> WorkerPool:
        if not self._started:
            self.progress.note("starting workers and loading the denoisers")
            self._started = True
            for loaded in self._pool.start():
                self._record_loaded(loaded)
        return self._pool

    def _record(self, finished: Finished) -> None:
        job = finished.job
        assert isinstance(job, MakeChunk)
        key = _key(job.allocation, job.chunk)
        self._in_flight.discard(key)
        where = {"set": key[0], "allocation": key[1], "first": key[2], "last": key[3], "worker": finished.worker}
        try:
            if not isinstance(finished.answer, ChunkFeatures):
                raise MeasurementError(finished.error or "a worker gave no answer")
            file, sha256 = self._store.write(job.allocation, job.chunk, finished.answer.arrays)
            made = finished.answer.images
            images = None if made is None else KeptImages.write(self._store.anchor_images, made).sha256
        except MeasurementError as error:
            self.ledger.add("failed", **where, error=error.message)
            self._remember_error(key, error.message)
            if not self._is_stopping():
                self.request(job.allocation, [job.chunk])
            if key[:2] in self._given_up:
                self._release(key)
            return
        kept = {"file": file, "sha256": sha256, "arrays": sorted(finished.answer.arrays)}
        kept |= {} if images is None else {"images": images}
        calls = finished.answer.calls
        counted: dict[str, object] = {"calls": {"made": calls.made, "reused": calls.reused}} if calls.n_all else {}
        if prompts := finished.answer.prompts:
            counted["prompts"] = {"saved_s": round(prompts.saved_s, 4), "freed_mb": round(prompts.freed_mb, 1)}
        seconds = round(finished.answer.seconds, 4)
        self.ledger.add("chunk", **where, **kept, seconds=seconds, **counted)
        self._done[key] = Kept(file, sha256, seconds, images)
        self.n_new += 1
        self.progress.made(job.allocation, job.chunk)
        self._release(key)

    def _release(self, key: ChunkKey) -> None:
        """Queue what has waited for the anchor's images of this chunk."""
        for allocation, chunk in self._waiting.pop(key, []):
            if self._is_stopping():
                self._in_flight.discard(_key(allocation, chunk))
            else:
                self._submit(allocation, chunk)

    def _is_kept(self, event: Event) -> bool:
        """Whether the chunk's file is there and holds what is needed."""
        if self._anchor and event["allocation"] == str(self._anchor) and "images" not in event:
            return False
        return set(self._arrays) <= set(event.get("arrays", ["features"])) and self._store.holds(event["file"])

    def _record_loaded(self, loaded: Loaded) -> None:
        self.ledger.append("loaded", worker=loaded.worker, device=loaded.device, load_s=loaded.load_s)

    def _remember_error(self, key: ChunkKey, error: str) -> None:
        self._errors.setdefault(key, []).append(error)
        if len(self._errors[key]) >= MAX_TRIES:
            self._given_up[key[:2]] = error


def run_alone(pool: WorkerPool, job: Job, progress: Progress) -> Answer:
    """The answer to a job on an idle pool. Raises MeasurementError when it fails."""
    pool.submit(job)
    while True:
        for finished in pool.wait(POLL_S):
            if finished.answer is None:
                raise MeasurementError(finished.error or "a worker gave no answer")
            return finished.answer
        progress.tick()


def _key(allocation: Allocation, chunk: Chunk) -> ChunkKey:
    return (chunk.set_name, str(allocation), chunk.first, chunk.last)


def _key_of(event: Event) -> ChunkKey:
    return (intern(event["set"]), intern(event["allocation"]), event["first"], event["last"])
