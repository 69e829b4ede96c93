"""The sample grid: the largest denoiser is always there, small pictures are kept exactly, large ones made smaller."""

import re
import shutil
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tstitch_search.report.reading import read_record
from tstitch_search.report.sections.samples import sample_grid


def pictures(html: str) -> dict[str, Image.Image]:
    """The pictures of a grid by what they are of."""
    found = re.findall(r'data-of="([^"]*)" src="data:image/webp;base64,([^"]*)"', html)
    return {name: Image.open(BytesIO(b64decode(content))) for name, content in found}


def test_a_small_strip_is_kept_pixel_by_pixel(run_folder) -> None:
    shown = pictures(sample_grid(read_record(run_folder.path), run_folder.path / "images"))
    assert len(shown) == len(run_folder.entries) - 1
    with Image.open(run_folder.path / "images" / "Sx20.png") as strip:
        np.testing.assert_array_equal(np.asarray(shown["Sx20"]), np.asarray(strip))


def test_many_large_strips_stay_small_together(own_run: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 10 * 1024, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((10 * 512, 512)).save(own_run / "images" / "Sx20.png")
    for entry in read_record(own_run).table.entries[1:]:
        shutil.copy(own_run / "images" / "Sx20.png", own_run / "images" / f"{entry.allocation.file_name}.png")
    html = sample_grid(read_record(own_run), own_run / "images")
    assert pictures(html)["Sx20"].size == (1600, 160)
    assert len(html) < 5_000_000


def test_the_largest_has_a_row_even_when_it_is_off_the_front(own_run: Path) -> None:
    record = read_record(own_run)
    off = replace(record.table.entries[-1], quality=99.0)
    table = replace(record.table, entries=record.table.entries[:-1], candidates=(*record.table.candidates, off))
    shutil.copy(own_run / "images" / "Sx20.png", own_run / "images" / "XLx20.png")
    html = sample_grid(replace(record, table=table), own_run / "images")
    assert "XLx20" in pictures(html)
    assert "difference to XL" in html


def test_without_a_strip_of_the_largest_no_difference_is_offered(run_folder) -> None:
    assert "difference to" not in sample_grid(read_record(run_folder.path), run_folder.path / "images")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_costs_only_its_row(own_run: Path, content: bytes) -> None:
    (own_run / "images" / "Sx20.png").write_bytes(content)
    html = sample_grid(read_record(own_run), own_run / "images")
    assert "Sx20.png is not a picture" in html
    assert len(pictures(html)) == 5
