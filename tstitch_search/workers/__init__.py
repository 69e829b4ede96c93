"""Who does the work: workers that hold the members for a whole run, behind one protocol."""

from tstitch_search.workers.protocol import Measurer, MeasurerFactory, WorkerPool

__all__ = ["Measurer", "MeasurerFactory", "WorkerPool"]
