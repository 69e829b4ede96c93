"""Ray Tune: a `Searcher` that hands out allocations and a class `Trainable` that measures them.

    searcher = AllocationSearcher("studies/x.yaml", "tune/study.db", ["latency.from=calibration.json"])
    trainable = tune.with_parameters(AllocationTrainable, study="studies/x.yaml")
    tune.Tuner(trainable, tune_config=tune.TuneConfig(search_alg=searcher, num_samples=50, reuse_actors=True)).fit()

What is lost against `tstitch-search run` stands in docs/cluster.md: above all the ledger, and the confirmation.
"""

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tstitch_search.config import Study, allocation_in, load_study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.files import make_folder
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Chunk, ChunkFeatures, MakeChunk
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.metrics import metric_named, of_kind
from tstitch_search.quality.reference import Reference
from tstitch_search.search import AllocationStudy, Trial
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.key import StudyFacts, resolve_facts
from tstitch_search.study_run.preparation.pool import build_measurer
from tstitch_search.study_run.preparation.references import recall
from tstitch_search.study_run.stages import candidates_in_focus, rule_of, search_chunks
from tstitch_search.study_run.times.calibrations import given_calibration
from tstitch_search.workers.ray_session import ray

# isort: split
from ray import tune
from ray.tune.search import Searcher

assert ray  # its settings are in place before Tune is imported


class AllocationSearcher(Searcher):
    """Suggests `{"allocation": ..., "latency_s": ...}`, and tells the sampler what Tune's trials report.

    Times come from the study's calibration (`latency.from`) or its record. Trials are told in the order in which they
    finish, so that with several at once the questions depend on which was faster.
    """

    def __init__(self, study: str | Path, database: str | Path, settings: Sequence[str] = ()):
        """Create or reopen the Optuna study in the SQLite file `database`. Raises ConfigError without a calibration."""
        loaded = load_study(Path(study), settings)
        objective = metric_named(loaded.config.quality.objective)
        super().__init__(metric=objective.name, mode="max" if objective.higher_is_better else "min")
        space, facts = SearchSpace.of_study(loaded), resolve_facts(loaded)
        self._latency = _latency(loaded, facts)
        candidates = candidates_in_focus(loaded, space, self._latency, facts.measurable(space))
        rule = rule_of(loaded, objective, candidates, self._latency)
        name = f"{loaded.config.name} at n = {loaded.config.quality.n_images}, by Ray Tune"
        self._n_trials = loaded.config.search.n_trials
        make_folder(Path(database).parent)
        self._trials = AllocationStudy(Path(database), name, space, rule)
        self._unanswered = deque(self._trials.reopen())
        self._live: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next allocation, those of an earlier session that were never answered first; FINISHED after the last."""
        if self._unanswered:
            trial: Trial | None = self._unanswered.popleft()
        elif self._n_trials is not None and self._trials.n_allocations >= self._n_trials:
            return str(Searcher.FINISHED)
        else:
            trial = self._trials.ask()
        if trial is None:
            return str(Searcher.FINISHED)
        self._live[trial_id] = trial
        return {"allocation": str(trial.allocation), "latency_s": self._latency.latency_s(trial.allocation)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        if error or not result or self.metric not in result:
            self._trials.fail(trial, "Ray Tune reports no value")
            return
        quality, n_images = float(result[self.metric]), int(result["n_images"])
        self._trials.tell(trial, float(result["latency_s"]), quality, float(result[f"{self.metric}_se"]), n_images)

    def save(self, checkpoint_path: str) -> None:
        """Which of Tune's trials asks for which allocation; the rest is in the database."""
        live = {name: [trial.number, str(trial.allocation)] for name, trial in self._live.items()}
        Path(checkpoint_path).write_text(json.dumps(live))

    def restore(self, checkpoint_path: str) -> None:
        saved = json.loads(Path(checkpoint_path).read_text())
        by_number = {trial.number: trial for trial in self._unanswered}
        self._live = {name: by_number[number] for name, (number, _) in saved.items() if number in by_number}
        taken = {trial.number for trial in self._live.values()}
        self._unanswered = deque(trial for trial in self._unanswered if trial.number not in taken)


class AllocationTrainable(tune.Trainable):
    """One allocation; a step makes one chunk of images and reports the objective over all so far, with its error.

    Done after `quality.n_images`. With `reuse_actors=True` the members stay loaded from one trial to the next.
    """

    def setup(self, config: dict[str, Any], study: str = "", settings: Sequence[str] = ()) -> None:
        """Load the members. Raises ConfigError when the reference is not known on this machine."""
        self._study = load_study(Path(study), settings)
        quality = self._study.config.quality
        if of_kind(quality.all_metrics, "pair"):
            paired = of_kind(quality.all_metrics, "pair")[0]
            raise ConfigError(
                f"{paired} compares with the anchor's images, which no trial alone has",
                hint="use `tstitch-search run`, or a metric per image or per set",
            )
        self._measurer = build_measurer(self._study, threads=1)
        self._measurer.load()
        self._objective = metric_named(quality.objective)
        self._statistic = self._objective.bind(_reference(self._study, resolve_facts(self._study)))
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with another allocation."""
        self._allocation = allocation_in(self._study.space, new_config["allocation"])
        self._latency_s = float(new_config["latency_s"])
        self._made: list[np.ndarray] = []
        return True

    def step(self) -> dict[str, Any]:
        chunks: list[Chunk] = search_chunks(self._study)
        answer = self._measurer.do(MakeChunk(self._allocation, chunks[len(self._made)]))
        assert isinstance(answer, ChunkFeatures)
        array = answer.arrays[self._objective.array]
        if not np.isfinite(array).all():
            raise MeasurementError(f"{self._allocation}: the images are not finite")
        self._made.append(array)
        found = jackknifed(self._statistic, np.concatenate(self._made))
        name = self._objective.name
        about = {"latency_s": self._latency_s, "n_images": found.n_images, "done": len(self._made) == len(chunks)}
        return {name: found.value, f"{name}_se": found.se, **about}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        made = {f"{i:06d}": array for i, array in enumerate(self._made)}
        np.savez(Path(checkpoint_dir) / "made.npz", **made)  # type: ignore[arg-type]

    def load_checkpoint(self, checkpoint: str) -> None:
        with np.load(Path(checkpoint) / "made.npz", allow_pickle=False) as kept:
            self._made = [kept[name] for name in sorted(kept.files)]


def _latency(study: Study, facts: StudyFacts) -> LatencyModel:
    calibration = facts.record.calibration if facts.record else given_calibration(study, facts.key)
    if calibration is None:
        raise ConfigError(
            "Ray Tune cannot have the machine to itself, so it times nothing: latency.from is missing",
            hint="write the file with `tstitch-search calibrate` first",
        )
    return LatencyModel(calibration)


def _reference(study: Study, facts: StudyFacts) -> Reference | None:
    """The reference as statistics, or as the features that an earlier run on this machine has made."""
    if not study.config.quality.comparing:
        return None
    known = facts.reference.statistics or recall(study, facts)
    if known is None:
        raise ConfigError(
            f"the reference {facts.reference.text!r} was not turned into features on this machine yet",
            hint="start `tstitch-search run` once, or give an .npz of statistics as quality.reference",
        )
    return known
