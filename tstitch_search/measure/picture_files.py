"""Pictures for people: the same seeds under several allocations, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from tstitch_search.files import make_folder

Picture: TypeAlias = np.ndarray | Image.Image

MARGIN = 4
LABEL_HEIGHT = 16


def save_strip(images: Iterable[Picture], path: Path) -> None:
    """Save uint8 images (h, w, 3) of one size as one row, left to right."""
    make_folder(path.parent)
    Image.fromarray(np.concatenate([np.asarray(image) for image in images], axis=1)).save(path)


def save_grid(rows: Mapping[str, Sequence[Picture]], path: Path) -> None:
    """Save rows of uint8 images (h, w, 3) by their labels, one below the other; small images are doubled in size."""
    arrays = {label: np.stack([np.asarray(image) for image in images]) for label, images in rows.items()}
    scale = max(1, 64 // next(iter(arrays.values())).shape[1])
    strips = [np.concatenate(list(images.repeat(scale, 1).repeat(scale, 2)), axis=1) for images in arrays.values()]
    height = sum(LABEL_HEIGHT + strip.shape[0] + MARGIN for strip in strips)
    sheet = Image.new("RGB", (strips[0].shape[1] + 2 * MARGIN, height), "white")
    draw, y = ImageDraw.Draw(sheet), 0
    for label, strip in zip(arrays, strips, strict=True):
        draw.text((MARGIN, y + 2), label, fill="black")
        sheet.paste(Image.fromarray(strip), (MARGIN, y + LABEL_HEIGHT))
        y += LABEL_HEIGHT + strip.shape[0] + MARGIN
    make_folder(path.parent)
    sheet.save(path)
