"""A `Reporter` that writes the curves of a run for TensorBoard, with the writer that comes with Ray Tune."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Trials by number, device seconds by images made, and the published values of the front, as event files.

    The writer loads torch where that is installed.
    """

    def __init__(self, folder: Path):
        """Write into `folder`; a run that goes on adds a file."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        self._n_images, self._device_seconds, self._n_published = 0, 0.0, 0

    def event(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "trial" if event["state"] == "COMPLETE":
                for name, value in (("latency_s", event["latency_s"]), (event["metric"], event["quality"])):
                    self._writer.add_scalar(f"search/{name}", value, event["number"])
                self._writer.add_text("search/allocation", event["allocation"], event["number"])
            case "chunk":
                self._n_images += event["last"] - event["first"]
                self._device_seconds += event["seconds"]
                self._writer.add_scalar("device_seconds", self._device_seconds, self._n_images)
            case "published":
                self._n_published += 1
                self._writer.add_scalar(f"front/{event['metric']}", event["value"], self._n_published)

    def close(self) -> None:
        self._writer.close()
