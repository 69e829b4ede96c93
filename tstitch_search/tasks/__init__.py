"""Tasks: whatever else can be asked of a study, a run folder or a table; an answer goes out. A module per verb.

Each is named as its verb. `from_table.py` leads from a table back to its study, `stored.py` reads a run folder again.
"""
