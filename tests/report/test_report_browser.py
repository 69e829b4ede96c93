"""The report in a real browser: plotly draws, the switches work, the console stays silent, a phone need not scroll."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from children import HANG_S

from tstitch_search.errors import QualityGateError
from tstitch_search.lookup import GroupValue, LookupTable, MetricValue
from tstitch_search.report.writing import write_report

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
<script>addEventListener("drawn", () => {
  const plot = document.getElementById("pareto");
  document.querySelector("[data-yaxis=log]").click();
  document.querySelector("[data-search=hidden]").click();
  setTimeout(() => {
    const hidden = plot.data.filter((trace) => trace.visible === false).map((trace) => trace.meta);
    const told = ["axis " + plot._fullLayout.yaxis.type, "hidden " + hidden, "width " + innerWidth,
                  "needs " + document.documentElement.scrollWidth].join(", ");
    document.body.append(told);
    parent.postMessage(told, "*");
  }, 1000);
});</script></body>"""

# Runs inside the page: moves every slider to every place with the keyboard's event, pins two points and one of them
# away again, asks for differences, and writes down what is to be seen.
USE = """
<script>addEventListener("drawn", () => {
  const seen = { picks: {}, pinned: [], black: {} }, slider = document.getElementById("budget");
  const shown = () => [...document.querySelectorAll("#picked .card")].filter((card) => card.checkVisibility());
  document.querySelectorAll("button[data-slider]").forEach((button) => {
    button.click();
    const picks = seen.picks[button.textContent] = [];
    for (slider.value = 0; ; slider.value = Number(slider.value) + 1) {
      slider.dispatchEvent(new Event("input"));
      picks.push([document.getElementById("call").textContent, shown().map((card) => card.dataset.allocation),
                  document.getElementById("refusal").textContent]);
      if (slider.value === slider.max) break;
    }
  });
  const plot = document.getElementById("pareto"), front = plot.data.find((trace) => trace.meta === "front");
  const click = (told) => plot.emit("plotly_click", { points: [{ customdata: told }] });
  [front.customdata[0], front.customdata[1], front.customdata[0]].forEach(click);
  click(plot.data.find((trace) => trace.meta === "search").customdata[2]);
  document.getElementById("pin").click();
  const cards = [...document.querySelectorAll("#pinned .card")];
  seen.pinned = cards.map((card) => [card.textContent, card.checkVisibility()]);
  const strips = [...document.querySelectorAll("#samples img")];
  document.querySelector("button[data-samples=difference]").click();
  Promise.all(strips.map((img) => img.decode())).then(() => {
    strips.forEach((img) => {
      const context = Object.assign(document.createElement("canvas"), { width: 320, height: 32 }).getContext("2d");
      context.drawImage(img, 0, 0);
      const values = context.getImageData(0, 0, 320, 32).data.filter((_, i) => i % 4 < 3);
      seen.black[img.dataset.of] = values.filter((value) => value === 0).length / values.length;
    });
    document.body.append("SEEN" + JSON.stringify(seen) + "SEEN");
  });
});</script></body>"""


def visit(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page's document once it has run, and what it wrote to the console (the browser's own pages write too)."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=True)
    return done.stdout, [
        line for line in done.stderr.splitlines() if ":CONSOLE" in line and "source: chrome://" not in line
    ]


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


def test_a_browser_that_cannot_draw_says_so_and_the_rest_of_the_page_works(run_folder, tmp_path: Path) -> None:
    old = "<script>delete window.DecompressionStream</script></main>"
    html = write_report(run_folder.path).read_text(encoding="utf-8").replace("</main>", old)
    page = tmp_path / "report.html"
    page.write_text(html, encoding="utf-8")
    document, console = visit(page, tmp_path / "profile")
    assert "This browser cannot draw the plots: DecompressionStream is not defined" in document
    assert 'aria-valuetext="' in document  # the slider has answered
    assert console == []


def test_the_switches_change_the_axis_and_hide_the_search(probed: Path, tmp_path: Path) -> None:
    document, console = visit(probed, tmp_path)
    assert "axis log, hidden search" in document.rpartition("</script>")[2]
    assert console == []


# Runs inside the page: asks for the front of a group, then for all images again, and tells what the plot shows.
BY_GROUP = """
<script>addEventListener("drawn", () => {
  const plot = document.getElementById("pareto"), told = [];
  const shown = () => plot.data.filter((trace) => trace.visible !== false).map((trace) => trace.meta || "mark");
  document.querySelector("[data-posterior=hidden]")?.click();
  document.querySelector('[data-group="1"]').click();
  setTimeout(() => {
    told.push("one " + shown());
    document.querySelector("[data-group=all]").click();
    setTimeout(() => document.body.append([...told, "all " + [...new Set(shown())]].join("; ") + "; end"), 500);
  }, 500);
});</script></body>"""


def test_the_front_of_a_group_stands_alone(run_folder, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder.path, tmp_path / "run"))
    table = LookupTable.read(run / "lookup.json")
    values = [GroupValue(n_images=n, metrics={"fid": MetricValue(value=9.0, se=0.1)}) for n in (200, 300)]
    groups = dict(zip(("cats", "dogs"), values, strict=True))
    replace(table, entries=tuple(replace(e, by_group=groups) for e in table.entries)).write(run / "lookup.json")
    page = write_report(run)
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", BY_GROUP), encoding="utf-8")
    document, console = visit(page, tmp_path / "profile")
    assert console == []
    one, everything = re.findall(r"one (.*?); all (.*?); end", document.rpartition("</script>")[2])[0]
    assert one == "group-1"
    assert {"front", "search"} <= set(everything.split(","))
    assert "group" not in everything
    assert "posterior" not in everything


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


@pytest.fixture(scope="module")
def seen(run_folder, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What is to be seen while the page of a run with a strip of the largest denoiser is used."""
    run = Path(shutil.copytree(run_folder.path, tmp_path_factory.mktemp("used") / "run"))
    shutil.copy(run / "images" / "Sx20.png", run / "images" / "XLx20.png")
    page = write_report(run)
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", USE), encoding="utf-8")
    document, console = visit(page, tmp_path_factory.mktemp("profile"))
    assert console == []
    return json.loads(unescape(document.rpartition("</script>")[2].split("SEEN")[1]))


def test_the_card_shown_is_what_the_table_picks(seen: dict, run_folder) -> None:
    table = LookupTable.read(run_folder.path / "lookup.json")
    assert len(seen["picks"]) == 4  # seconds at three operating points, and loss
    for places in seen["picks"].values():
        assert len(places) > 60
        for call, shown, refusal in places:
            ask = call.replace("LookupTable.read('lookup.json')", "table")
            if refusal:
                assert shown == []
                with pytest.raises(QualityGateError, match=re.escape(refusal.rpartition("; try ")[0])):
                    eval(ask, {"table": table})
            else:
                assert shown == [str(eval(ask, {"table": table}).allocation)]


def test_a_point_is_pinned_by_one_click_and_unpinned_by_another(seen: dict, run_folder) -> None:
    (entry, visible), (search, _), (picked, _) = seen["pinned"]
    assert str(run_folder.entries[1].allocation) in entry
    assert visible
    assert "predicted" in search  # the search timed nothing
    assert str(run_folder.entries[0].allocation) in picked  # with the loosest limit on loss, the fastest of all


def test_differences_are_black_where_the_images_are_those_of_the_largest(seen: dict) -> None:
    assert seen["black"]["Sx20"] == 1  # the fixture's largest has the same picture
    assert seen["black"]["Bx20"] < 0.9
