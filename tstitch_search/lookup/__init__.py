"""The deployable result: for any time budget, the allocation to use and how good it was measured to be.

Readers of `lookup.json`: any server (this package imports only the standard library and our own values), `pick`, the
report. A reader ignores fields it does not know; a change it must not ignore raises SCHEMA_VERSION.
"""

from tstitch_search.lookup.building import build_table as build_table
from tstitch_search.lookup.changes import Changes as Changes
from tstitch_search.lookup.changes import changes as changes
from tstitch_search.lookup.entry import Candidate as Candidate
from tstitch_search.lookup.entry import LookupEntry as LookupEntry
from tstitch_search.lookup.entry import PointTime as PointTime
from tstitch_search.lookup.groups import GroupValue as GroupValue
from tstitch_search.lookup.lossless import promising as promising
from tstitch_search.lookup.objective import MetricValue as MetricValue
from tstitch_search.lookup.objective import Objective as Objective
from tstitch_search.lookup.objective import OperatingPoint as OperatingPoint
from tstitch_search.lookup.schema import lookup_schema as lookup_schema
from tstitch_search.lookup.table import SCHEMA_VERSION as SCHEMA_VERSION
from tstitch_search.lookup.table import LookupTable as LookupTable
