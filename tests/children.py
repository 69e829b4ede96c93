"""For tests that start a process."""

HANG_S = 1800
"""Seconds after which a process that a test started counts as hanging: far more than any takes on a busy machine."""
