"""Which allocation a server should use for each request; needs neither torch nor numpy, and a pick takes microseconds.

`python examples/serve_by_budget.py reports/quickstart-sample/lookup.json 0.05 0.2 2` prints one for each budget.
"""

import sys

from tstitch_search import LookupTable
from tstitch_search.errors import QualityGateError


def main() -> None:
    """Answer each budget, in seconds, from the table; where none fits, take the fastest and say so."""
    table = LookupTable.read(sys.argv[1])
    for budget_s in map(float, sys.argv[2:]):
        try:
            entry = table.pick(budget_s=budget_s)
        except QualityGateError as refused:
            print(f"{budget_s} s: {refused.message}", file=sys.stderr)
            entry = table.entries[0]
        print(budget_s, entry.allocation)


if __name__ == "__main__":
    main()
