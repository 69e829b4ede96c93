"""The plots as PNG files: drawn where kaleido is, a clear message where it is not."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.report.pictures import write_pictures


def test_without_kaleido_the_message_says_how_to_get_it(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)  # Python's own way to say that it cannot be imported
    with pytest.raises(EnvironmentProblem, match="kaleido, which is not installed") as raised:
        write_pictures(own_run)
    assert "tstitch-search[png]" in str(raised.value.hint)
    assert not list(own_run.glob("*.png"))


@pytest.mark.skipif(find_spec("kaleido") is None, reason="needs kaleido")
@pytest.mark.filterwarnings("ignore")  # kaleido's own
def test_every_plot_becomes_a_picture(own_run: Path) -> None:
    assert [path.name for path in write_pictures(own_run)] == [
        "pareto.png",
        "hypervolume.png",
        "ternary.png",
        "times.png",
    ]
    with Image.open(own_run / "pareto.png") as drawn:
        assert drawn.size == (2000, 1120)
