"""The Python API as a new user meets it, on the tiny family."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml
from children import HANG_S
from typer.testing import CliRunner

import tstitch_search as ts
from tstitch_search.cli import app

ROOT = Path(__file__).parent.parent


def study_in(folder: Path, **changed: Any) -> ts.Study:
    """The tiny study, written in Python."""
    return ts.Study(
        name="tiny",
        search_space=yaml.safe_load((folder / "space.yaml").read_text()),
        guidance_scale=1.5,
        proxy_set={"chunk_size": 10},
        quality={
            "extractor": "fashion-cnn",
            "extractor_weights": folder / "features.safetensors",
            "reference": folder / "reference.npz",
            "n_images": 20,
        },
        search={"sampler": "enumerate", "n_trials": 6},
        confirm={"n_images": 40, "max_entries": 4},
        latency={"batch_size": 2, "n_repeats": 3, "threads": 1},
        workers={"pool": "inline", "n_workers": 1, "device": "cpu", "device_batch_size": 10},
        folder=folder,
        **changed,
    )


class Events:
    """A reporter that keeps what it hears, and may press Ctrl-C at the first chunk."""

    def __init__(self, *, presses: bool = False):
        self.kinds: list[str] = []
        self.presses, self.is_closed = presses, False

    def event(self, event: Mapping[str, Any]) -> None:
        self.kinds.append(event["event"])
        if self.presses and event["event"] == "chunk":
            self.presses = False
            os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(scope="module")
def result(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> ts.Result:
    """A run that was interrupted in between, as in a notebook, and then went on."""
    folder, first, second = tmp_path_factory.mktemp("runs") / "run", Events(presses=True), Events()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ts.run(study_in(tiny_family), folder, reporter=first, progress=False)
    assert first.is_closed
    assert "finished" not in first.kinds
    assert signal.getsignal(signal.SIGINT) is before
    found = ts.run(study_in(tiny_family), folder, reporter=second, progress=False)
    assert second.kinds[-1] == "finished"
    both = [*first.kinds, *second.kinds]
    files = [path for path in (folder / "features").rglob("*") if path.is_file()]
    assert both.count("chunk") == len(files)  # none was made twice
    return found


def test_importing_brings_nothing_heavy() -> None:
    script = "import sys, tstitch_search as ts\nprint(ts.errors.ConfigError.__name__, ts.Allocation.parse('S*20'))\n"
    script += "heavy = ('torch', 'numpy', 'pydantic', 'yaml', 'rich', 'plotly', 'optuna', 'ray', 'diffusers')\n"
    script += "import tstitch_search.api\nprint([name for name in heavy if name in sys.modules], dir(ts) == ts.__all__)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_S)
    assert said.stdout.splitlines() == ["ConfigError S*20", "[] True"], said.stderr


def test_ten_lines_build_a_study_run_it_pick_stitch_and_draw(
    tiny_family: Path, result: ts.Result, tmp_path: Path
) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    study = study_in(tiny_family)
    result = ts.run(study, result.folder, progress=False)
    picked = result.table.pick(max_fid_loss=0.5)
    ts.plot(result.table).write_html(tmp_path / "front.html")
    members = {name: DiTTransformer2DModel.from_pretrained(tiny_family / name) for name in ("S", "B", "XL")}
    vae = AutoencoderKL.from_pretrained(tiny_family / "vae")
    scheduler = DDIMScheduler.from_pretrained(tiny_family / "scheduler")
    pipeline = DiTPipeline(transformer=members["XL"], vae=vae, scheduler=scheduler)
    images = ts.stitch(pipeline, picked, members=members, table=result.table)([3, 7]).images

    assert result.n_new == 0
    assert [image.size for image in images] == [(32, 32)] * 2
    assert str(picked.allocation) in (tmp_path / "front.html").read_text()


def test_a_study_in_python_measures_what_its_file_would(tiny_family: Path, result: ts.Result) -> None:
    again = ts.run(tiny_family / "study.yaml", result.folder, overrides={"search.n_trials": 6}, progress=False)
    assert again.n_new == 0
    assert again.table.entries == result.table.entries


def test_a_result_is_shown_as_table_and_plot(result: ts.Result) -> None:
    shown = result._repr_html_()
    assert all(f'data-label="allocation">{entry.allocation}</td>' in shown for entry in result.table.entries)
    assert "Plotly.newPlot" in shown


def test_the_plot_of_a_folder_also_has_what_the_search_saw(result: ts.Result) -> None:
    n_of_table, n_of_folder = (
        sum(len(trace.x) for trace in ts.plot(source).data) for source in (result.table, result.folder)
    )
    assert n_of_folder > n_of_table >= len(result.table.entries)


def test_rows_go_into_a_data_frame(result: ts.Result) -> None:
    rows = result.table.to_dicts(candidates=True)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    frame = pandas.DataFrame(rows)
    assert list(frame[frame.on_front].allocation) == [str(e.allocation) for e in result.table.entries]
    assert list(frame.fid) == [c.quality for c in (*result.table.entries, *result.table.candidates)]
    assert (frame.steps_S + frame.steps_B + frame.steps_XL == 4).all()


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_table_is_read_from_its_folder_or_its_file(result: ts.Result, given: str) -> None:
    path = result.folder if given == "folder" else result.folder / "lookup.json"
    assert ts.load_table(path).entries == result.table.entries
    assert ts.compare(path, "S*4", "XL*4").quality.n_images == 40
    images = ts.generate(path, "S*4", labels=[3, 7], progress=False)
    assert [image.size for image in images["S*4"]] == [(32, 32)] * 2


@pytest.mark.parametrize(
    "line", ["show {}", "pick {} --max-fid-loss 0.5", "status {}", "report {}", "diff {} {}", "export {}"]
)
def test_a_verb_takes_a_run_folder_or_its_table(result: ts.Result, line: str) -> None:
    of_folder, of_table = (
        CliRunner().invoke(app, [part.format(path) for part in line.split()])
        for path in (result.folder, result.folder / "lookup.json")
    )
    assert (of_folder.exit_code, of_table.exit_code) == (0, 0), (of_folder.exception, of_table.exception)
    assert of_folder.stdout == of_table.stdout


def test_images_of_a_study_come_by_allocation_and_share_their_noise(tiny_family: Path) -> None:
    study = study_in(tiny_family)
    drawn = ts.generate(study, ["S*4", "XL*4"], n=2, progress=False)
    assert {text: len(images) for text, images in drawn.items()} == {"S*4": 2, "XL*4": 2}
    again = ts.generate(study, "S*4", n=2, progress=False)["S*4"]
    assert [image.tobytes() for image in again] == [image.tobytes() for image in drawn["S*4"]]


def test_checks_plans_and_calibrations_are_answers_too(tiny_family: Path, tmp_path: Path) -> None:
    study = study_in(tiny_family)
    assert ts.check(study).problem is None
    assert set(ts.calibrate(study, progress=False).step_s) == {"S", "B", "XL"}
    few = ts.plan(study, tmp_path / "run", overrides={"space.grid": 0.5, "quality.n_images": 30})
    assert 0 < few.n_allocations < ts.plan(study, tmp_path / "run").n_allocations
    assert not (tmp_path / "run").exists()


def test_a_table_still_holds_where_it_was_made(result: ts.Result) -> None:
    found = ts.verify(result.folder, max_fid_loss=0.001, n_entries=1, progress=False)
    assert found.passed
    assert [abs(v.loss) < 1e-9 for v in found.entries] == [True]


def test_errors_are_those_of_the_command_line(tiny_family: Path, tmp_path: Path) -> None:
    with pytest.raises(ts.errors.ConfigError, match="n_images"):
        ts.run(study_in(tiny_family), tmp_path, overrides={"quality.n_images": "many"})
    with pytest.raises(ts.errors.ConfigError, match="nowhere"):
        ts.load_table(tmp_path / "nowhere")
    with pytest.raises(AttributeError, match="colour"):
        ts.colour  # noqa: B018


def test_a_run_in_a_thread_stops_when_its_program_says_so(tiny_family: Path, tmp_path: Path) -> None:
    ended: list[BaseException | None] = []
    events = Events()

    def work() -> None:
        try:
            ts.run(
                study_in(tiny_family),
                tmp_path,
                reporter=events,
                progress=False,
                is_stopping=lambda: "chunk" in events.kinds,
            )
        except KeyboardInterrupt as stop:
            ended.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert len(ended) == 1
    assert "chunk" in events.kinds
    assert "finished" not in events.kinds


@pytest.mark.slow
def test_the_examples_of_the_documentation_run_one_after_another(
    tiny_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_family, tmp_path / "family")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.S):
        exec(block, names)
        if (folder / "run").exists() and not (folder / "other").exists():
            shutil.copytree(folder / "run", folder / "other")  # which the page merges with it
    assert names["result"].table.entries == names["table"].entries
    assert (folder / "calibration.json").exists()


@pytest.mark.slow
def test_the_example_of_a_study_in_python_ends_with_a_pick_and_a_plot(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "study_in_python.py"), "50"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert "within 20 % of the largest:" in done.stdout
    assert (tmp_path / "front.html").exists()
    assert len(ts.load_table(tmp_path / "reports" / "in_python").entries) == done.stdout.count("FID")
