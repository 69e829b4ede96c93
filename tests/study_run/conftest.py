"""Runs of the synthetic measurer, shared with every test of this folder."""

from study_run.finished_runs import finish, measurer, plain, run

__all__ = ["finish", "measurer", "plain", "run"]
