"""One worker, wherever it runs: a measurer under a name, whose every failure is a message a person can act on."""

import traceback

from tstitch_search.errors import EnvironmentProblem, MeasurementError, TStitchError
from tstitch_search.measurement import Answer, Job, Loaded
from tstitch_search.workers.protocol import Measurer, MeasurerFactory


class Worker:
    """Holds one measurer. Only TStitchErrors leave it: unlike many others they survive the trip between processes."""

    def __init__(self) -> None:
        self._measurer: Measurer | None = None

    def load(self, name: str, factory: MeasurerFactory) -> Loaded:
        """Build the measurer and load its members; what it holds. Raises TStitchError when that fails."""
        try:
            measurer = factory()
            load_s = measurer.load()
        except TStitchError:
            raise
        except Exception as error:
            raise EnvironmentProblem(f"{name} could not load the members: {_in_words(error)}") from error
        self._measurer = measurer
        return Loaded(name, measurer.device, load_s)

    def do(self, job: Job) -> Answer:
        """The measurer's answer to `job`. Raises TStitchError when it cannot be done."""
        assert self._measurer is not None, "load comes before do"
        try:
            return self._measurer.do(job)
        except TStitchError:
            raise
        except Exception as error:
            raise MeasurementError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    """Type, message and place of an unexpected exception, in one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
