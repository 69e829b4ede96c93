"""`python -m tstitch_search` is `tstitch-search`."""

from tstitch_search.cli import main

main()
