"""Which numbers of a run are curves, and over what they are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tstitch_search.ledger import read_events


@dataclass(frozen=True)
class Point:
    """A value of the curve `name` at `step` of its `axis`; `text` says what was measured, an allocation."""

    name: str
    value: float
    axis: str
    step: int
    text: str = ""


class Curves:
    """Trials by their number, device seconds by images made, published values by the order in which they came."""

    def __init__(self) -> None:
        self._n_images, self._device_seconds, self._n_published = 0, 0.0, 0

    def points(self, event: Mapping[str, Any]) -> list[Point]:
        """What an event of the ledger adds to the curves."""
        match event["event"]:
            case "trial" if event["state"] == "COMPLETE":
                values = {"latency_s": event["latency_s"], event["metric"]: event["quality"]}
                number, text = event["number"], event["allocation"]
                return [Point(f"search/{name}", value, "trial", number, text) for name, value in values.items()]
            case "chunk":
                self._n_images += event["last"] - event["first"]
                self._device_seconds += event["seconds"]
                return [Point("device_seconds", self._device_seconds, "images", self._n_images)]
            case "published":
                self._n_published += 1
                name, text = f"front/{event['metric']}", event["allocation"]
                return [Point(name, event["value"], "published", self._n_published, text)]
        return []


def facts(folder: Path) -> dict[str, str]:
    """What is fixed for the whole run: the key of its measurements. Empty before the folder has a ledger."""
    ledger = folder / "ledger.jsonl"
    opened = [event for event in read_events(ledger) if event["event"] == "opened"] if ledger.exists() else []
    return {name: str(value) for name, value in opened[-1]["key"].items()} if opened else {}
