"""The same seeds across the front: one strip of sample images per entry, as the run left them."""

import struct
from base64 import b64encode
from pathlib import Path

from tstitch_search.lookup import LookupEntry
from tstitch_search.report.bars import bar
from tstitch_search.report.markup import Html, image, join, tag
from tstitch_search.report.record import Record
from tstitch_search.report.wording import latency_text, named, quality_text

_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL = 64  # pixels: strips no taller than this are shown enlarged, pixel by pixel


def sample_grid(record: Record, images: Path) -> Html:
    """One row per entry that has a strip in the folder `images`; empty when none has."""
    rows = [_row(record, entry, path) for entry in record.table.entries if (path := _strip(images, entry)).is_file()]
    note = "Each column is one seed: the same start noise and the same label for every allocation."
    return join(tag("p", note, kind="note"), tag("div", *rows, kind="samples")) if rows else Html()


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG from its header, None when `data` is not one."""
    return struct.unpack(">II", data[16:24]) if data[:8] == _PNG and len(data) >= 24 else None


def _strip(images: Path, entry: LookupEntry) -> Path:
    return images / f"{entry.allocation.file_name}.png"


def _row(record: Record, entry: LookupEntry, path: Path) -> Html:
    numbers = (
        tag("span", latency_text(entry)),
        " ",
        tag("span", f"{named(record.label, entry.n_images)} {quality_text(entry)}"),
    )
    label = tag("div", bar(record, entry.allocation), tag("p", *numbers, kind="note"), kind="label")
    data = path.read_bytes()
    size = png_size(data)
    if size is None:
        return tag("div", label, tag("p", f"{path.name} is not a PNG image", kind="note"), kind="row")
    kind = "pixels" if size[1] <= _SMALL else "photo"
    source = f"data:image/png;base64,{b64encode(data).decode()}"
    return tag("div", label, image(source, f"samples of {entry.allocation}", *size, kind), kind="row")
