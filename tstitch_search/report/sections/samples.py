"""The same seeds across the front: one strip of sample images per allocation, as the run left them."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageSequence, UnidentifiedImageError

from tstitch_search.lookup import Candidate
from tstitch_search.report.markup import Html, image, join, switch, tag
from tstitch_search.report.plots.bars import bar
from tstitch_search.report.record import Record
from tstitch_search.report.wording import latency_text, named, quality_text

_SMALL = 64  # pixels: images no taller than this are kept exactly, and shown enlarged, pixel by pixel
_FRAME_MS = 125  # of a clip
_TALLEST = 160  # pixels: images taller than this are made smaller
_ALL_BYTES, _BYTES_PER_PIXEL = 4e6, 0.35  # what all strips may take together; of a WebP picture, rather more than less


def sample_grid(record: Record, images: Path) -> Html:
    """One row per allocation that has a strip in the folder `images`; empty when none has."""
    shown = [(c, path) for c in _candidates(record) if (path := images / f"{c.allocation.file_name}.png").is_file()]
    if not shown:
        return Html()
    rows = [_row(record, measured, path, len(shown)) for measured, path in shown]
    note = "Each column is one seed: the same start noise and the same label for every allocation."
    anchor, name = record.anchor, record.table.anchor_name
    compare = Html()
    if anchor and any(c.allocation == anchor for c, _ in shown):
        compare = switch("show", {"images": "images", f"difference to {name}": "difference"}, "samples")
        note += f" The difference to {name} is that of the pixels, four times enlarged; black where equal. "
        note += "Its own row stays."
    listed = {"id": "samples", "data-anchor": anchor.file_name if anchor else ""}
    return join(compare, tag("p", note, kind="note"), tag("div", *rows, kind="samples", attributes=listed))


def _candidates(record: Record) -> list[Candidate]:
    """The front, and the anchor even when it is off the front."""
    off = [c for c in record.beaten if c.allocation == record.anchor]
    return [*record.table.entries, *off]


def _row(record: Record, measured: Candidate, path: Path, n_rows: int) -> Html:
    numbers = (
        tag("span", latency_text(measured)),
        " ",
        tag("span", f"{named(record.label, measured.n_images)} {quality_text(measured)}"),
    )
    label = tag("div", bar(record, measured.allocation), tag("p", *numbers, kind="note"), kind="label")
    picture = strip(path, f"samples of {measured.allocation}", n_rows, {"data-of": measured.allocation.file_name})
    return tag("div", label, picture, kind="row")


def strip(path: Path, text: str, n_rows: int, attributes: dict[str, str]) -> Html:
    """The strip in the file as WebP within the page, animated where it has several frames; `n_rows` share the room."""
    try:
        with Image.open(path) as opened:
            return _picture([f.convert("RGB") for f in ImageSequence.Iterator(opened)], text, n_rows, attributes)
    except (UnidentifiedImageError, OSError):
        return tag("p", f"{path.name} is not a picture", kind="note")


def _picture(frames: list[Image.Image], text: str, n_rows: int, attributes: dict[str, str]) -> Html:
    first = frames[0]
    small, n_images = first.height <= _SMALL, max(1, round(first.width / first.height))
    affordable = round((_ALL_BYTES / _BYTES_PER_PIXEL / n_rows / n_images / len(frames)) ** 0.5)
    height = first.height if small else min(first.height, _TALLEST, affordable)
    size = (round(first.width * height / first.height), height)
    shown, *further = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]
    content = BytesIO()
    animation = {"save_all": True, "append_images": further, "duration": _FRAME_MS, "loop": 0} if further else {}
    shown.save(content, "WEBP", lossless=small, quality=82, **animation)
    source = f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    return image(source, text, *shown.size, {"class": "pixels" if small else "photo", **attributes})
