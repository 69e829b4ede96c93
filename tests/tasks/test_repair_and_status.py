"""The ledger can make the decision record again, and tell how a run is getting on, without a device."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from search.studies import THREE, latency_s
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.ledger import Ledger
from tstitch_search.search import AllocationStudy, Rule
from tstitch_search.search.storage import open_storage
from tstitch_search.tasks.repair import repair
from tstitch_search.tasks.status import status_of


def trials(folder: Path) -> list[tuple[object, ...]]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    return [(t.state, t.params, t.values, t.user_attrs["allocation"]) for t in study.trials]


def test_repaired_record_is_the_lost_one(run, measurer):
    measurer.broken = frozenset({"S*2-XL*2"})
    folder = run(measurer).folder
    before = trials(folder)
    (folder / "study.db").write_bytes(b"a damaged disk" * 100)
    assert repair(folder).n_trials == len(before) == 15
    assert trials(folder) == before
    assert (folder / "study.db.before-repair").read_bytes().startswith(b"a damaged disk")


def test_run_goes_on_with_a_repaired_record_and_measures_nothing_again(run, measurer):
    folder = run(measurer, "search.n_trials=6").folder
    (folder / "study.db").unlink()
    repair(folder)
    before = len(measurer.made)
    table = run(measurer).table
    assert len(measurer.made) == len(set(measurer.made)) > before
    assert len(table.entries) + len(table.candidates) == 15


def test_repair_waits_for_no_run_and_says_so(run, measurer):
    folder = run(measurer, "search.n_trials=4").folder
    with Ledger(folder / "ledger.jsonl"), pytest.raises(EnvironmentProblem, match="another process is writing"):
        repair(folder)


@pytest.mark.parametrize("act", [repair, status_of])
def test_folder_that_is_none_of_a_run_is_refused(tmp_path, act):
    with pytest.raises(ConfigError, match=r"holds no ledger\.jsonl"):
        act(tmp_path)


def test_status_tells_what_the_ledger_holds(run, measurer):
    measurer.broken = frozenset({"S*2-XL*2"})
    outcome = run(measurer)
    found = status_of(outcome.folder)
    assert (found.study, found.stage, found.is_running) == ("tiny", "finished", False)
    assert found.trials == {"COMPLETE": 14, "FAIL": 1}
    assert found.n_images["search"] == 14 * 20
    assert 3 <= found.n_failed_chunks <= 6  # three tries of one chunk; those of the other until then
    assert "not finite" in found.last_error
    assert found.device_seconds == pytest.approx(sum(_seconds(outcome.folder)))
    assert found.front[0][0] == "S*4"
    assert found.search_stopped.startswith("space exhausted")


def test_status_counts_the_rounds_of_timing_the_front(run, measurer):
    ledger = run(measurer).folder / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    second = [i for i, line in enumerate(lines) if json.loads(line)["event"] == "timing_round"][1]
    ledger.write_text("".join(lines[: second + 1]))
    assert status_of(ledger.parent).stage == "timing the front, 2 rounds done"


def test_the_front_of_a_race_holds_what_was_not_worth_all_images(run, measurer):
    racing = ("search.sampler=known_latency", "search.racing=true", "quality.n_images=60", "proxy_set.chunk_size=20")
    found = status_of(run(measurer, *racing, "space.n_steps=10").folder)
    assert found.trials["PRUNED"] > 3
    assert len(found.front) > found.trials["COMPLETE"]


def _seconds(folder: Path) -> list[float]:
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return [e["seconds"] for e in map(json.loads, lines) if e["event"] == "chunk"]


def test_status_of_a_run_that_goes_on_disturbs_nothing(run, measurer):
    folder = run(measurer, "search.n_trials=4").folder
    with Ledger(folder / "ledger.jsonl") as ledger:
        said = CliRunner().invoke(app, ["status", str(folder), "--json"])
        assert json.loads(said.stdout)["is_running"]
        ledger.append("finished")
    assert ": finished; " in CliRunner().invoke(app, ["status", str(folder)]).stdout


def locked(database: Path, seconds: float) -> threading.Thread:
    """A thread that keeps the database to itself for a while, as a writing dashboard does."""
    held = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            held.set()
            time.sleep(seconds)
            connection.rollback()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    return thread


def test_locked_database_is_waited_for(tmp_path):
    rule = Rule("enumerate", 0, tuple(THREE), latency_s={a: latency_s(a) for a in THREE})
    study = AllocationStudy(tmp_path / "study.db", "test", THREE, rule)
    holder = locked(tmp_path / "study.db", 1.5)
    trial = study.ask()
    study.tell(trial, 1.0, 2.0, 0.1, 20)
    holder.join()
    assert study.allocations == [trial.allocation]


def test_database_locked_for_good_is_a_problem_that_says_what_to_do(tmp_path):
    storage = open_storage(tmp_path / "study.db", patience_s=0.1)
    holder = locked(tmp_path / "study.db", 1.5)
    with pytest.raises(EnvironmentProblem, match="database is locked") as caught:
        optuna.create_study(storage=storage, directions=["minimize", "minimize"])
    holder.join()
    assert "tstitch-search repair" in caught.value.hint


def test_study_of_another_run_folder_is_refused_in_a_shared_storage(tiny_family, run, measurer, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    run(measurer, "search.n_trials=4", f"storage={url}")
    assert run(measurer, "search.n_trials=4", f"storage={url}").n_new == 0
    assert not (tmp_path / "run" / "study.db").exists()
    with pytest.raises(ConfigError, match="of another run folder"):
        run(measurer, "search.n_trials=4", f"storage={url}", folder="other")
