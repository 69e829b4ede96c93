"""Which device times, where workers have different ones: times of two devices cannot be compared."""

from collections.abc import Collection

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.measurement import Calibrate, Job, TimeAllocations


def is_timing(job: Job) -> bool:
    """Whether the job measures times."""
    return isinstance(job, Calibrate | TimeAllocations)


class TimingDevice:
    """The one device whose times count in a pool: settled at the first timing job, the same from then on."""

    def __init__(self, part_of_name: str | None):
        """`part_of_name`: what the study says of it; None when all workers are to have the same."""
        self._part, self._name = part_of_name or "", ""

    def settle(self, devices: Collection[str]) -> None:
        """Choose among the workers' `devices`. Raises EnvironmentProblem when none or several of them could time."""
        matching = sorted({device for device in devices if self._part.lower() in device.lower()})
        if not self._name and len(matching) > 1:
            raise EnvironmentProblem(
                f"the workers have different devices ({', '.join(matching)}), whose times cannot be compared",
                hint="name the one that times with workers.timing_workers; the others then only make images",
            )
        if not self._name and not matching:
            raise self.absent(devices)
        self._name = self._name or matching[0]

    def is_on(self, device: str) -> bool:
        """Whether a worker with this device may time."""
        return device == self._name

    def absent(self, devices: Collection[str]) -> EnvironmentProblem:
        """What to say when no worker may time."""
        wanted, there = self._name or self._part, ", ".join(sorted(set(devices)))
        return EnvironmentProblem(
            f"no worker has the device that times, {wanted}; there are {there}",
            hint="correct workers.timing_workers, or run again when that machine is back",
        )
