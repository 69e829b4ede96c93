"""The report in a real browser: plotly draws, the switches work, the console stays silent, a phone need not scroll."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tstitch_search.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on PATH")

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    "--disable-dev-shm-usage",
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=5000"),
    *("--enable-logging=stderr", "--v=0"),
]

# Runs inside the page: presses both switches and tells what became of the plot, and how wide the page is.
PROBE = """
<script>addEventListener("load", () => {
  const plot = document.getElementById("pareto");
  document.querySelector("[data-axis=log]").click();
  document.querySelector("[data-search=hidden]").click();
  setTimeout(() => {
    const hidden = plot.data.filter((trace) => trace.visible === false).map((trace) => trace.meta);
    const told = ["axis " + plot._fullLayout.yaxis.type, "hidden " + hidden, "width " + innerWidth,
                  "needs " + document.documentElement.scrollWidth].join(", ");
    document.body.append(told);
    parent.postMessage(told, "*");
  }, 1000);
});</script></body>"""


def visit(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page's document once it has run, and what it wrote to the console."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def probed(run_folder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with the probe in it."""
    page = tmp_path_factory.mktemp("probed") / "report.html"
    page.write_text(
        write_report(run_folder.path).read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8"
    )
    return page


def test_plotly_draws_and_the_console_stays_silent(run_folder, tmp_path: Path) -> None:
    document, console = visit(write_report(run_folder.path), tmp_path)
    assert '<svg class="main-svg"' in document
    assert len(re.findall(r'<path class="point\b', document)) >= 16 + len(run_folder.entries)
    assert console == []


def test_the_switches_change_the_axis_and_hide_the_search(probed: Path, tmp_path: Path) -> None:
    document, console = visit(probed, tmp_path)
    assert "axis log, hidden search" in document.rpartition("</script>")[2]
    assert console == []


def test_a_narrow_screen_needs_no_sideways_scrolling(probed: Path, tmp_path: Path) -> None:
    frame = probed.with_name("phone.html")
    listen = "addEventListener('message', (told) => document.body.append(told.data))"
    frame.write_text(
        f'<body><script>{listen}</script><iframe src="report.html" width="400" height="800"></iframe></body>'
    )
    document, _ = visit(frame, tmp_path)
    width, needs = re.findall(r"width (\d+), needs (\d+)", document)[-1]
    assert int(width) == 400
    assert int(needs) <= 400
