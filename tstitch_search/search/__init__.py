"""The search: which allocation to try next."""

from tstitch_search.search.study import AllocationStudy, Rule, Trial

__all__ = ["AllocationStudy", "Rule", "Trial"]
