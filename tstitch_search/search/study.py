"""The decision record: an Optuna study with two objectives, driven by ask and tell. The only home of optuna.

One process writes it; optuna-dashboard may read it at any time. It is not the truth (the ledger is): after a crash
`reopen` brings it back in line. Each question is answered by a sampler made anew from (seed, number of the question),
so that the answer depends on the seed and on what was told, in that order, and on nothing else. In particular it does
not depend on whether the process was killed and started again in between.

Over 250 lines, because both searches put their questions here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from math import inf
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from tstitch_search.allocation import Allocation
from tstitch_search.search.encoding import BASELINE, CutPoints, Encoding, StickBreaking
from tstitch_search.search.known_latency import AllocationSampler, history_of
from tstitch_search.search.posterior import Candidates, QualityScale, Told, posterior
from tstitch_search.search.proposals import near_front
from tstitch_search.search.rule import Rule
from tstitch_search.search.samplers import FixedSampler, stock_sampler
from tstitch_search.search.storage import open_study
from tstitch_search.search_space import SearchSpace
from tstitch_search.space_sampling import moves

# After this many proposals in a row that are no news, an unseen allocation is drawn instead.
MAX_REPEATS = 20


@dataclass(frozen=True)
class Trial:
    """One question to the sampler and the allocation it answered."""

    number: int
    allocation: Allocation


class AllocationStudy:
    """Asks a sampler for allocations it has not proposed yet, and tells it what they cost and gave."""

    def __init__(self, database: Path | str, name: str, space: SearchSpace, rule: Rule, owner: str = ""):
        """Create or reopen the study `name` in the SQLite file or at the URL `database`.

        Controls and baselines are asked first. `owner` names the ledger that the study belongs to. Raises ConfigError
        when it is another's, EnvironmentProblem when the database cannot be used.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._rule, self._space = rule, space
        self._candidates = frozenset(rule.candidates)
        first = dict.fromkeys([*rule.controls, *space.baselines()])
        self._baselines = [a for a in first if a in self._candidates]
        drawn = [rule.candidates[i] for i in np.random.default_rng(rule.seed).permutation(len(rule.candidates))]
        self._order = list(dict.fromkeys([*self._baselines, *drawn]))
        self._cut_points = CutPoints(space)
        draws_parameters = rule.sampler not in ("enumerate", "known_latency")
        self._encoding: Encoding = StickBreaking(space) if draws_parameters else self._cut_points
        self._storage, self._study = open_study(database, name, rule, owner)
        self._study_id = self._storage.get_study_id_from_name(name)
        self._read: list[FrozenTrial] | None = None

    def reopen(self) -> list[Trial]:
        """The trials a crash left unanswered, oldest first, to be gone on with.

        What was not a question yet is answered here: a trial that died inside the sampler, and a proposal that was
        about to be dismissed.
        """
        self._fail_lost()
        asked = self._asked()
        unanswered = [t for t in self._trials() if t.state == TrialState.RUNNING]
        trials = [Trial(t.number, self._encoding.decode(t.params)) for t in unanswered]
        return [trial for trial in trials if self._accept(trial, asked)]

    @property
    def allocations(self) -> list[Allocation]:
        """Every allocation that was measured in full, oldest first."""
        return [allocation for allocation, t in self._asked().items() if t.state == TrialState.COMPLETE]

    @property
    def n_allocations(self) -> int:
        """How many allocations were asked for."""
        return len(self._asked())

    def has_asked(self, allocation: Allocation) -> bool:
        """Whether the allocation was asked for."""
        return allocation in self._asked()

    @property
    def is_exhausted(self) -> bool:
        """Whether every candidate was asked for."""
        return self._candidates <= self._asked().keys()

    def ask(self) -> Trial | None:
        """The next allocation that was not asked for before, or None when every candidate was.

        Baselines come first, then the sampler's proposals; "enumerate" takes the candidates in an order drawn from the
        seed, and so does any other sampler that only repeats itself.
        """
        while True:
            asked = self._asked()
            unseen = next((a for a in self._order if a not in asked), None)
            if unseen is None:
                return None
            trial = self._propose(unseen)
            if self._accept(trial, asked):
                return trial

    def open(self, allocations: Sequence[Allocation]) -> list[Trial]:
        """The trials of these very allocations, asked now if they were not before; without those that were answered.

        No sampler is asked, so that the record costs next to nothing: a trial is written as a whole.
        """
        asked, trials = self._asked(), list[Trial]()
        for allocation in allocations:
            earlier = asked.get(allocation)
            if earlier is None:
                trials.append(Trial(self._write(allocation), allocation))
            elif not earlier.state.is_finished():
                trials.append(Trial(earlier.number, allocation))
        return trials

    def _write(self, allocation: Allocation) -> int:
        """A new trial that asks for the allocation; its number."""
        self._read = None
        template = create_trial(
            state=TrialState.RUNNING,
            params=self._encoding.encode(allocation),
            distributions=self._encoding.distributions,
            user_attrs={"allocation": str(allocation), **self._said_of(allocation)},
        )
        trial_id = self._storage.create_new_trial(self._study_id, template)
        return self._storage.get_trial_number_from_id(trial_id)

    def prune(self, trial: Trial, quality: float, quality_se: float, n_images: int) -> None:
        """Answer a trial that was not worth its full number of images: PRUNED, with what is known of it."""
        objective = self._rule.objective
        self._describe(trial, **{objective: quality, f"{objective}_se": quality_se, "n_images": n_images})
        self._finish(trial.number, TrialState.PRUNED)

    @property
    def anchor(self) -> Allocation:
        """What all are compared with."""
        return self._space.anchor

    @property
    def failed(self) -> frozenset[Allocation]:
        """The allocations that could not be measured."""
        return frozenset(a for a, t in self._asked().items() if t.state == TrialState.FAIL)

    @property
    def has_model(self) -> bool:
        """Whether the sampler models quality over all candidates."""
        return self._rule.sampler == "known_latency"

    @property
    def candidates(self) -> Candidates:
        """What is known of every candidate before anything is measured; a sample where the space is not enumerated."""
        return self._known

    def candidates_given(self, told: Sequence[Told]) -> Candidates:
        """The candidates; of a space that is not enumerated also those next to the front that is believed."""
        admits = self._rule.admits
        if admits is None:
            return self._known
        space = self._space
        return near_front(self._known, told, self.scale, lambda a: filter(admits, moves(space, a)))

    @property
    def scale(self) -> QualityScale:
        """How the objective becomes what is modelled."""
        return self._rule.scale

    def expected_gain(self) -> float:
        """By how much the best next allocation is expected to raise the hypervolume, as a share of it.

        Infinite until every baseline is answered. It is the model's view, whoever proposes. Needs `Rule.latency_s`.
        """
        history = history_of(self._proposed(), self._encoding, self._rule.objective)
        expected = posterior(self.candidates_given(history.told), history, self._rule.scale)
        return inf if expected is None else expected.expected_gain

    def tell(self, trial: Trial, latency_s: float, quality: float, quality_se: float, n_images: int) -> None:
        """Answer a trial: COMPLETE with seconds and quality; the quality's standard error and its n stand beside."""
        self._describe(trial, **{f"{self._rule.objective}_se": quality_se, "n_images": n_images})
        self._finish(trial.number, TrialState.COMPLETE, [float(latency_s), float(quality)])

    def fail(self, trial: Trial, reason: str) -> None:
        """Answer a trial that could not be measured: FAIL, with the reason."""
        self._describe(trial, reason=reason)
        self._finish(trial.number, TrialState.FAIL)

    def _propose(self, unseen: Allocation) -> Trial:
        """What the sampler says next, or `unseen` when it is not for the sampler to say."""
        before = self._proposed()
        repeats = takewhile(lambda t: "dismissed" in t.user_attrs, reversed(before))
        own_choice = self._rule.sampler != "enumerate" and unseen not in self._baselines
        sampler = self._sampler(question=len(before))
        if not own_choice or len(list(repeats)) >= MAX_REPEATS:
            sampler = FixedSampler(self._encoding.encode(unseen), sampler)
        try:
            trial = self._answer_of(sampler)
        except BaseException:
            self._fail_lost()
            raise
        if isinstance(sampler, AllocationSampler) and sampler.decision:
            self._describe(trial, **sampler.decision.attributes(self._rule.objective))
        return trial

    def _fail_lost(self) -> None:
        """Answer the trials that died inside a sampler, which have no allocation: FAIL."""
        names = self._encoding.distributions.keys()
        for t in self._trials():
            if t.state == TrialState.RUNNING and t.params.keys() != names:
                self._finish(t.number, TrialState.FAIL)

    def _accept(self, trial: Trial, asked: Mapping[Allocation, FrozenTrial]) -> bool:
        """Whether the trial is the first to ask for a candidate; it then gets attributes for people to read.

        Any other trial is dismissed.
        """
        earlier = asked.get(trial.allocation)
        if trial.allocation not in self._candidates and not (self._rule.admits and self._rule.admits(trial.allocation)):
            self._dismiss(trial, "outside the focus of the study")
        elif earlier and earlier.number != trial.number:
            self._dismiss(trial, f"repeats trial {earlier.number}", earlier.values)
        else:
            self._describe(trial, allocation=str(trial.allocation), **self._said_of(trial.allocation))
            return True
        return False

    def _said_of(self, allocation: Allocation) -> dict[str, str | int]:
        """The cut points of an allocation, and its name if it is a baseline."""
        cut_points = self._cut_points.encode(allocation) if allocation not in self._space.extras else {}
        name = self._space.baseline_names.get(allocation)
        return {**{k: v for k, v in cut_points.items() if k != BASELINE}, **({BASELINE: name} if name else {})}

    def _dismiss(self, trial: Trial, why: str, values: list[float] | None = None) -> None:
        """Answer a proposal that is not asked: with what is known already, otherwise FAIL."""
        self._describe(trial, dismissed=why)
        self._finish(trial.number, TrialState.COMPLETE if values else TrialState.FAIL, values)

    def _asked(self) -> dict[Allocation, FrozenTrial]:
        """Every allocation that was asked for, with the first trial that did, oldest first."""
        asked: dict[Allocation, FrozenTrial] = {}
        for t in self._proposed():
            if "dismissed" not in t.user_attrs:
                asked.setdefault(self._encoding.decode(t.params), t)
        return asked

    def _proposed(self) -> list[FrozenTrial]:
        """Every trial whose allocation is known, oldest first."""
        names = self._encoding.distributions.keys()
        return [t for t in self._trials() if t.params.keys() == names]

    def _trials(self) -> list[FrozenTrial]:
        """Every trial, oldest first, read anew once something was written: a read takes as long as ten writes."""
        if self._read is None:
            self._read = self._study.get_trials(deepcopy=False)
        return self._read

    def _answer_of(self, sampler: BaseSampler) -> Trial:
        """A new trial with what the sampler says."""
        self._read, self._study.sampler = None, sampler
        proposed = self._study.ask(self._encoding.distributions)
        return Trial(proposed.number, self._encoding.decode(proposed.params))

    def _finish(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self._read = None
        self._study.tell(number, values, state=state)

    def _sampler(self, question: int) -> BaseSampler:
        """The sampler of one question, made anew."""
        rule = self._rule
        if self.has_model:
            told = history_of(self._proposed(), self._encoding, rule.objective).told if rule.admits else ()
            known = self.candidates_given(told)
            return AllocationSampler(known, self._encoding, rule.objective, rule.scale, rule.per_second)
        return stock_sampler(rule.sampler, rule.seed, question, holds_all=not self._space.extras)

    @cached_property
    def _known(self) -> Candidates:
        rule = self._rule
        baselines, names = self._baselines, self._space.denoisers
        return Candidates(rule.candidates, baselines, rule.latency_s, names, rule.positions, rule.earlier)

    def _describe(self, trial: Trial, **attributes: str | int | float) -> None:
        self._read = None
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        for key, value in attributes.items():
            self._storage.set_trial_user_attr(trial_id, key, value)
