"""Pictures for people: the same seeds under several allocations, side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tstitch_search.files import make_folder

MARGIN = 4
LABEL_HEIGHT = 16


def save_strip(images: np.ndarray, path: Path) -> None:
    """Save uint8 images (n, h, w, 3) as one row, left to right."""
    make_folder(path.parent)
    Image.fromarray(np.concatenate(list(images), axis=1)).save(path)


def save_grid(rows: Sequence[tuple[str, np.ndarray]], path: Path) -> None:
    """Save labelled rows of uint8 images (n, h, w, 3), one below the other; small images are doubled in size."""
    scale = max(1, 64 // rows[0][1].shape[1])
    strips = [np.concatenate(list(images.repeat(scale, 1).repeat(scale, 2)), axis=1) for _, images in rows]
    height = sum(LABEL_HEIGHT + strip.shape[0] + MARGIN for strip in strips)
    sheet = Image.new("RGB", (strips[0].shape[1] + 2 * MARGIN, height), "white")
    draw, y = ImageDraw.Draw(sheet), 0
    for (label, _), strip in zip(rows, strips, strict=True):
        draw.text((MARGIN, y + 2), label, fill="black")
        sheet.paste(Image.fromarray(strip), (MARGIN, y + LABEL_HEIGHT))
        y += LABEL_HEIGHT + strip.shape[0] + MARGIN
    make_folder(path.parent)
    sheet.save(path)
