"""A run of the synthetic measurer, for tests of what is done with its folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from study_run.synthetic import SyntheticMeasurer

from tstitch_search.config import load_study
from tstitch_search.measurement import MakeChunk
from tstitch_search.progress import Silent
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run import Result, run_study
from tstitch_search.workers.inline import InlinePool


@dataclass(frozen=True)
class Finished:
    """What a run left, and the chunks that were made for it."""

    outcome: Result
    made: tuple[MakeChunk, ...]


@pytest.fixture(scope="session")
def finish(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Finished]:
    """Runs the study in a folder of its own, for fixtures of a whole file."""

    def finish_with(*overrides: str) -> Finished:
        measurer = SyntheticMeasurer(load_reference("reference.npz", tiny_family))
        study, folder = load_study(tiny_family / "study.yaml", overrides), tmp_path_factory.mktemp("finished") / "run"
        outcome = run_study(study, folder, lambda _: InlinePool(lambda: measurer), Silent())
        return Finished(outcome, tuple(measurer.made))

    return finish_with


@pytest.fixture(scope="session")
def plain(finish: Callable[..., Finished]) -> Finished:
    """A run of the study as it stands, shared by tests that only read it."""
    return finish()


@pytest.fixture
def measurer(tiny_family: Path) -> SyntheticMeasurer:
    return SyntheticMeasurer(load_reference("reference.npz", tiny_family))


@pytest.fixture
def run(tiny_family: Path, tmp_path: Path) -> Callable[..., Result]:
    def run_with(measurer: SyntheticMeasurer, *overrides: str, folder: str = "run") -> Result:
        study = load_study(tiny_family / "study.yaml", overrides)
        return run_study(study, tmp_path / folder, lambda _: InlinePool(lambda: measurer), Silent())

    return run_with
