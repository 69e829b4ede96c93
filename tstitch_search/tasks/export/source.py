"""What every format is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.measurement import Step
from tstitch_search.tasks.tables.from_table import study_from_table


@dataclass(frozen=True)
class Source:
    """The table at `path`, the entries to export, and what leads to the study that made it."""

    path: Path
    table: LookupTable
    entries: tuple[LookupEntry, ...]
    other_study: Path | None = None
    settings: Sequence[str] = ()

    @cached_property
    def study(self) -> Study:
        """The study, with `settings`. Raises ConfigError when it is not to be had from here."""
        return study_from_table(self.path, self.table, self.other_study, self.settings)

    def steps(self, entry: LookupEntry) -> list[Step]:
        """The entry's steps as the table records them; those of the study's solver where settings or it do not say."""
        if entry.timesteps and not self.settings:
            sigmas = entry.sigmas or (None,) * len(entry.timesteps)
            return [Step(t, sigma) for t, sigma in zip(entry.timesteps, sigmas, strict=True)]
        from tstitch_search.sampling.timetable import timetable  # torch, which reading a table does without

        return timetable(self.study.space, self.study.space_path.parent, entry.allocation)


def ranges(allocation: Allocation) -> list[tuple[str, int, int]]:
    """Denoiser, first step and the one after its last, of every segment."""
    lasts = accumulate(segment.n_steps for segment in allocation.segments)
    return [(s.denoiser, last - s.n_steps, last) for s, last in zip(allocation.segments, lasts, strict=True)]
