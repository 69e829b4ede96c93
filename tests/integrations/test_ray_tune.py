"""Inside Ray Tune our searcher and trainable do what a run does: the same allocations, the same values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from children import HANG_S

STORY = Path(__file__).with_name("tune_story.py")
STUDY = """\
name: tuned
search_space: {name: past, denoisers: [{name: S}, {name: XL}], n_steps: 10, grid: 1}
proxy_set: {chunk_size: 20}
measure: {recorded: table.csv}
quality: {n_images: 40}
confirm: {n_images: 60}
search: {sampler: enumerate}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rows = [f"S*{n}-XL*{10 - n},{11 - n}.0,{8 + n}.5" for n in range(1, 10)]
    rows += ["S*10,1.0,20.0", "XL*10,11.0,8.0"]
    (tmp_path / "table.csv").write_text("allocation,latency_s,fid\n" + "\n".join(rows) + "\n")
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


@pytest.mark.slow
def test_tune_measures_the_allocations_that_are_asked_for_and_tells_them(study: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_"))}
    told = subprocess.run(
        [sys.executable, STORY, study, tmp_path / "tune"],
        env=environment, capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    found = json.loads(told.stdout.splitlines()[-1])
    record = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'tune' / 'study.db'}")
    assert {t.user_attrs["allocation"]: t.values[1] for t in record.trials} == {a: fid for a, (fid, _) in found.items()}
    assert len(found) == 6
    assert {n for _, n in found.values()} == {40}
    assert found["S*10"][0] == pytest.approx(20.0, rel=1e-6)


def test_searcher_goes_on_where_it_was_left(study: Path, tmp_path: Path) -> None:
    from tstitch_search.integrations.tune import AllocationSearcher

    def answer(question: dict[str, object]) -> dict[str, object]:
        return {"fid": 9.0, "fid_se": 0.1, "n_images": 40, "latency_s": question["latency_s"]}

    before = AllocationSearcher(study, tmp_path / "study.db", ["search.n_trials=3"])
    questions = {name: before.suggest(name) for name in "ab"}
    before.on_trial_complete("a", answer(questions["a"]))
    before.save(str(tmp_path / "state"))

    after = AllocationSearcher(study, tmp_path / "study.db", ["search.n_trials=3"])
    assert after.suggest("anew") == questions["b"]  # as when Tune forgot
    after.on_trial_complete("anew", error=True)
    last = after.suggest("c")
    assert last["allocation"] not in {q["allocation"] for q in questions.values()}
    after.on_trial_complete("c", answer(last))
    assert after.suggest("d") == AllocationSearcher.FINISHED
    record = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state.name for t in record.trials] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_restored_searcher_knows_which_trial_asks_what(study: Path, tmp_path: Path) -> None:
    from tstitch_search.integrations.tune import AllocationSearcher

    before = AllocationSearcher(study, tmp_path / "study.db")
    question = before.suggest("a")
    before.save(str(tmp_path / "state"))
    after = AllocationSearcher(study, tmp_path / "study.db")
    after.restore(str(tmp_path / "state"))
    assert after.suggest("b")["allocation"] != question["allocation"]
    after.on_trial_complete("a", {"fid": 9.0, "fid_se": 0.1, "n_images": 40, "latency_s": question["latency_s"]})
    record = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert record.trials[0].values == [question["latency_s"], 9.0]
