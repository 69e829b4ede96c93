"""Keeps `report.html` up to date while a run goes on."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.report.writing import write_report

EVERY_S = 60.0
LARGEST_SHARE = 0.01  # of the run's time that pages may take


class LiveReport:
    """Hears of the ledger's events and writes the page again now and then; that it cannot never ends a run."""

    def __init__(self, run_folder: Path, every_s: float = EVERY_S):
        self._run_folder, self._every_s = run_folder, every_s
        self._next_s = time.monotonic() + every_s

    def event(self, event: Mapping[str, Any]) -> None:
        """Write the page if it is time to."""
        if (began_s := time.monotonic()) < self._next_s:
            return
        with suppress(ConfigError, EnvironmentProblem):
            write_report(self._run_folder)
        now_s = time.monotonic()
        self._next_s = now_s + max(self._every_s, (now_s - began_s) / LARGEST_SHARE)
