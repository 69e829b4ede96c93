"""What a run says where there is no terminal."""

from io import StringIO

from rich.console import Console

from tstitch_search.allocation import Allocation
from tstitch_search.display import Display
from tstitch_search.measurement import Chunk


def test_a_line_tells_the_time_left_once_it_is_known() -> None:
    said = StringIO()
    display = Display(Console(file=said, width=200), live=None, every=True)
    display.expect({"search": 100.0}, lambda allocation, n_images: float(n_images))
    display.stage("search")
    display.made(Allocation.parse("S*4"), Chunk("search", 0, 50))
    first, second = said.getvalue().splitlines()
    assert first == "searching"
    assert second.startswith("searching: S*4, images 0 to 49; 50 images so far [50%, done at ")
