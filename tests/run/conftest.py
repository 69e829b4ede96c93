"""A run of the synthetic measurer, for tests of what is done with its folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from run.synthetic import SyntheticMeasurer

from tstitch_search.config import load_study
from tstitch_search.quality.reference import load_reference
from tstitch_search.run import Outcome, run_study
from tstitch_search.run.progress import Silent
from tstitch_search.workers.inline import InlinePool


@pytest.fixture
def measurer(tiny_family: Path) -> SyntheticMeasurer:
    return SyntheticMeasurer(load_reference("reference.npz", tiny_family))


@pytest.fixture
def run(tiny_family: Path, tmp_path: Path) -> Callable[..., Outcome]:
    def run_with(measurer: SyntheticMeasurer, *overrides: str, folder: str = "run") -> Outcome:
        study = load_study(tiny_family / "study.yaml", overrides)
        return run_study(study, tmp_path / folder, lambda _: InlinePool(lambda: measurer), Silent())

    return run_with
