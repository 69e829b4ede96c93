"""Calibrations as files: a study repeated with one decides the same; one that is not its own is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from study_run.synthetic import SyntheticMeasurer, calibration
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.ledger import read_events
from tstitch_search.measurement import Answer, Calibrate, Calibration, Job
from tstitch_search.progress import Silent
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run import run_study
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.times.calibrations import calibrate_study, recall, remember
from tstitch_search.tasks.plan import plan_study
from tstitch_search.workers.inline import InlinePool


class Noisy(SyntheticMeasurer):
    """A measurer on a busy machine: times that nobody could repeat."""

    def do(self, job: Job) -> Answer:
        if isinstance(job, Calibrate):
            found = vars(calibration(n_repeats=job.n_repeats))
            return Calibration(**found | {"spread": 0.3, "switch_s": {"S": -0.001, "B": 0.02, "XL": 0.3}})
        return super().do(job)


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def pool_of(tiny_family: Path) -> Callable[[type[SyntheticMeasurer]], Callable[[Study], InlinePool]]:
    reference = load_reference("reference.npz", tiny_family)
    return lambda kind: lambda study: InlinePool(lambda: kind(reference))


@pytest.fixture
def written(tiny_family: Path, tmp_path: Path, pool_of) -> Path:
    """A calibration file of the tiny study, measured on the busy machine."""
    path = tmp_path / "calibration.json"
    calibrate_study(load_study(tiny_family / "study.yaml"), path, pool_of(Noisy), Silent())
    return path


def load(tiny_family: Path, path: Path, *overrides: str) -> Study:
    return load_study(tiny_family / "study.yaml", [f"latency.from={path}", *overrides])


def test_a_run_takes_its_times_from_the_file_and_measures_none(tiny_family, tmp_path, pool_of, written) -> None:
    outcome = run_study(load(tiny_family, written), tmp_path / "run", pool_of(SyntheticMeasurer), Silent())
    [event] = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "calibration"]
    there = json.loads(written.read_text())["calibration"]
    assert {name: event[name] for name in there} == there
    assert event["switch_s"] == {"S": -0.001, "B": 0.02, "XL": 0.3}


def test_plan_prices_with_the_file_and_says_so(tiny_family, tmp_path, written) -> None:
    plan = plan_study(load(tiny_family, written), tmp_path / "run", None, Silent())
    assert plan.basis == f"{written}, measured on synthetic"


def test_a_folder_calibrated_otherwise_is_not_mixed_with_the_file(tiny_family, tmp_path, pool_of, written) -> None:
    run_study(load_study(tiny_family / "study.yaml"), tmp_path / "run", pool_of(SyntheticMeasurer), Silent())
    with pytest.raises(ConfigError, match="was calibrated otherwise"):
        run_study(load(tiny_family, written), tmp_path / "run", pool_of(SyntheticMeasurer), Silent())


def test_a_busy_machine_is_said_when_calibrating_and_by_the_run(tiny_family, tmp_path, pool_of) -> None:
    listener, study = Listener(), load_study(tiny_family / "study.yaml")
    calibrate_study(study, tmp_path / "calibration.json", pool_of(Noisy), listener)
    run_study(study, tmp_path / "run", pool_of(Noisy), listener)
    said = [note for note in listener.notes if "repeats of a step differ by 30%" in note]
    assert len(said) == 2
    quiet = Listener()
    calibrate_study(study, tmp_path / "calibration.json", pool_of(SyntheticMeasurer), quiet)
    assert not [note for note in quiet.notes if "differ" in note]


@pytest.mark.parametrize(
    ("override", "fact"),
    [
        ("guidance_scale=3", "guidance_scale: 1.5 there, 3 now"),
        ("latency.batch_size=5", "latency.batch_size: 2 there, 5 now"),
        ("execution.channels_last=true", "execution: plain there, channels_last=true now"),
        ("space.denoisers=[{name: S, weights: B}, {name: XL, weights: XL}]", "weights.S: "),
        ("space.n_steps=8", "space.n_steps: 4 there, 8 now"),
    ],
)
def test_a_file_of_other_members_or_settings_is_refused_naming_them(tiny_family, tmp_path, written, override, fact):
    with pytest.raises(ConfigError, match="other members or settings") as caught:
        plan_study(load(tiny_family, written, override), tmp_path / "run", None, Silent())
    assert fact in caught.value.message


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["version"], 2, "version: expected 1, got '2'"),
        (["calibration", "step_s", "S"], "fast", "step_s.S: expected a finite number, got 'fast'"),
        (["calibration", "step_se", "XL"], -1, "step_se.XL: expected a number of at least 0, got '-1'"),
        (["calibration", "step_s"], {"S": 1.0}, "B: expected this field, found S"),
        (["calibration", "batch_size"], 0, "batch_size: expected a whole number of at least 1, got '0'"),
        (["calibration"], [], "expected an object with the field step_s"),
        (["timed"], {}, "other members or settings"),
    ],
)
def test_a_damaged_file_is_refused_naming_file_and_field(tiny_family, tmp_path, written, path, value, problem) -> None:
    document = json.loads(written.read_text())
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    written.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as caught:
        plan_study(load(tiny_family, written), tmp_path / "run", None, Silent())
    assert str(written) in caught.value.message
    assert problem in caught.value.message


def test_a_missing_file_is_refused(tiny_family, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"latency.from: .*nowhere.json: cannot be read: No such file"):
        plan_study(load(tiny_family, tmp_path / "nowhere.json"), tmp_path / "run", None, Silent())


def test_the_command_prints_every_denoiser_and_writes_the_file(tiny_family: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    said = CliRunner().invoke(app, ["calibrate", str(tiny_family / "study.yaml"), "-o", str(path)])
    assert said.exit_code == 0, said.exception
    for text in ("Steps of a batch of 2 on", "denoiser", "start of a segment", "outside the steps", str(path)):
        assert text in said.stdout
    rows = [line.split()[0] for line in said.stdout.splitlines() if line.strip()]
    assert [row for row in rows if row in ("S", "B", "XL")] == ["S", "B", "XL"]
    plan_study(load(tiny_family, path), tmp_path / "run", None, Silent())
    said = CliRunner().invoke(app, ["calibrate", str(tiny_family / "study.yaml"), "-o", str(path), "--json"])
    assert json.loads(said.stdout) == json.loads(path.read_text())["calibration"]


def test_times_of_a_busy_machine_are_called_rough_and_do_not_replace_better_ones(
    tiny_family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    study = load_study(tiny_family / "study.yaml")
    key = resolve_facts(study).key
    calm, busy, busier = (Calibration(**vars(calibration()) | {"spread": spread}) for spread in (0.04, 0.3, 0.9))
    basis = []
    for found in (busier, busy, calm, busy):
        remember(study, key, found)
        basis.append(plan_study(study, tmp_path / "run", None, Silent()).basis)
    assert [words.partition("differed by ")[2] for words in basis] == ["90%", "30%", "", ""]
    assert recall(study, key) == calm
