"""The search: measured allocations come in, the allocation to try next goes out.

Start with `study.py`; `posterior.py` and `acquisition.py` decide by known times, `racing.py` chunk by chunk.
"""

from tstitch_search.search.rule import Rule
from tstitch_search.search.study import AllocationStudy, Trial

__all__ = ["AllocationStudy", "Rule", "Trial"]
