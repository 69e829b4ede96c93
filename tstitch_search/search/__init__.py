"""The search: which allocation to try next."""

from tstitch_search.search.rule import Rule
from tstitch_search.search.study import AllocationStudy, Trial

__all__ = ["AllocationStudy", "Rule", "Trial"]
