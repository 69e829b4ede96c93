"""TensorBoard: event files, with the writer that comes with Ray Tune, which loads torch where that is installed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tstitch_search.report.trackers.curves import Curves


class TensorBoard:
    """Writes into `folder`/tensorboard; a run that goes on adds a file."""

    def __init__(self, folder: Path, study: str):
        from tensorboardX import SummaryWriter

        self._writer, self._curves = SummaryWriter(str(folder / "tensorboard")), Curves()

    def event(self, event: Mapping[str, Any]) -> None:
        for point in self._curves.points(event):
            self._writer.add_scalar(point.name, point.value, point.step)
            if point.text:
                self._writer.add_text("allocation", point.text, point.step)

    def close(self) -> None:
        self._writer.close()
