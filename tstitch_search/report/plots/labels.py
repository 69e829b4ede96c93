"""Names beside marks of a plot, so placed that none hides another."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

CORNERS = ("top right", "top left", "bottom right", "bottom left")


@dataclass(frozen=True)
class Label:
    """A name at a corner of its mark: left end, middle and width as shares of the plot's width and height."""

    corner: str
    left: float
    middle: float
    width: float

    def hides(self, other: "Label") -> bool:
        """Whether the two overlap."""
        apart = self.left > other.left + other.width or other.left > self.left + self.width
        return abs(self.middle - other.middle) < 0.05 and not apart


def kept_apart(marks: Sequence[go.Scatter]) -> Sequence[go.Scatter]:
    """The named marks, one point each: where a name would hide an earlier one it moves to a free corner of its mark."""
    right = max((mark.x[0] for mark in marks), default=0) or 1
    values = [mark.y[0] for mark in marks]
    height = max(values, default=0) - min(values, default=0) or 1
    placed: list[Label] = []
    for mark in marks:
        x, y = mark.x[0] / right, (mark.y[0] - min(values)) / height
        labels = [_label(corner, x, y, mark.text[0]) for corner in (mark.textposition, *CORNERS)]
        free = [label for label in labels if not any(label.hides(other) for other in placed)]
        placed.append((free or labels)[0])
        mark.update(textposition=placed[-1].corner)
    return marks


def _label(corner: str, x: float, y: float, text: str) -> Label:
    width = 0.02 + 0.012 * len(text)
    left = x - width if corner.endswith("left") else x
    return Label(corner, left, y + (0.04 if corner.startswith("top") else -0.04), width)
