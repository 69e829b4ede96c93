"""The plots as PNG files: drawn where kaleido is, a clear message where it is not."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.report.pictures import write_pictures


def browser() -> str | None:
    """The Chrome or Chromium that kaleido would take; None without one, or without kaleido."""
    if find_spec("kaleido") is None:
        return None
    from choreographer.browsers.chromium import Chromium

    return os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False)


def test_without_kaleido_the_message_says_how_to_get_it(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)  # Python's own way to say that it cannot be imported
    with pytest.raises(EnvironmentProblem, match="kaleido, which is not installed") as raised:
        write_pictures(own_run)
    assert "tstitch-search[png]" in str(raised.value.hint)
    assert not list(own_run.glob("*.png"))


@pytest.mark.skipif(browser() is None, reason="needs kaleido, and Chrome or Chromium for it")
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
