"""Pictures for people: the same seeds under several allocations, side by side; animated where they are clips."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from tstitch_search.files import make_folder

# uint8 (h, w, 3), or of a clip (frames, h, w, 3).
Picture: TypeAlias = np.ndarray | Image.Image

MARGIN = 4
LABEL_HEIGHT = 16
FRAME_MS = 125
ANIMATED = (".png", ".webp", ".gif")  # of a clip, other kinds of file show the first frame


def save_strip(images: Iterable[Picture], path: Path) -> None:
    """Save uint8 images, or clips, of one size as one row, left to right."""
    make_folder(path.parent)
    frames = zip(*(_frames(image) for image in images), strict=True)
    _save([Image.fromarray(np.concatenate(row, axis=1)) for row in frames], path)


def save_grid(rows: Mapping[str, Sequence[Picture]], path: Path) -> None:
    """Save rows of uint8 images, or clips, by their labels, one below the other; small ones are doubled in size."""
    arrays = {label: np.stack([_frames(image) for image in images]) for label, images in rows.items()}
    n_frames = next(iter(arrays.values())).shape[1]
    sheets = [_sheet({label: clips[:, i] for label, clips in arrays.items()}) for i in range(n_frames)]
    make_folder(path.parent)
    _save(sheets, path)


def _sheet(arrays: Mapping[str, np.ndarray]) -> Image.Image:
    """Rows of images (n, h, w, 3), each below its label."""
    scale = max(1, 64 // next(iter(arrays.values())).shape[1])
    strips = [np.concatenate(list(images.repeat(scale, 1).repeat(scale, 2)), axis=1) for images in arrays.values()]
    height = sum(LABEL_HEIGHT + strip.shape[0] + MARGIN for strip in strips)
    sheet = Image.new("RGB", (strips[0].shape[1] + 2 * MARGIN, height), "white")
    draw, y = ImageDraw.Draw(sheet), 0
    for label, strip in zip(arrays, strips, strict=True):
        draw.text((MARGIN, y + 2), label, fill="black")
        sheet.paste(Image.fromarray(strip), (MARGIN, y + LABEL_HEIGHT))
        y += LABEL_HEIGHT + strip.shape[0] + MARGIN
    return sheet


def _frames(picture: Picture) -> np.ndarray:
    """A picture as (frames, h, w, 3)."""
    array = np.asarray(picture)
    return array if array.ndim == 4 else array[None]


def _save(frames: Sequence[Image.Image], path: Path) -> None:
    if len(frames) == 1 or path.suffix.lower() not in ANIMATED:
        frames[0].save(path)
        return
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
