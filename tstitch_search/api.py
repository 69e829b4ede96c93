"""What can be done from Python, and what the command line does: `import tstitch_search as ts`, then `ts.run(...)`.

In: a study, as a file or as a `Study` made in Python; a run folder or its `lookup.json`. Out: frozen objects. Overrides
are `{"quality.n_images": 200}` or `["quality.n_images=200"]`. `progress` is True (said on stderr), "verbose" (a line
for each chunk), False, or a `Progress` of your own. Errors that can be mended are subclasses of `TStitchError`. Heavy
packages are imported where they are used, so that importing this takes no time. A long file, since it is the list of
all that can be called.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tstitch_search.config import Study
    from tstitch_search.lookup import LookupTable
    from tstitch_search.measurement import Calibration
    from tstitch_search.progress import Progress, Reporter
    from tstitch_search.study_run import Result
    from tstitch_search.tasks.check import Check
    from tstitch_search.tasks.compare import Comparison
    from tstitch_search.tasks.plan import Plan
    from tstitch_search.tasks.tables.verify import Verification

StudyLike: TypeAlias = Union["Study", Path, str]
Overrides: TypeAlias = Mapping[str, Any] | Sequence[str]
Shown: TypeAlias = Union["Progress", bool, Literal["verbose"]]


def run(
    study: StudyLike,
    output: Path | str | None = None,
    *,
    overrides: Overrides = (),
    reporter: "Reporter | None" = None,
    progress: Shown = True,
    is_stopping: Callable[[], bool] | None = None,
) -> "Result":
    """Search, confirm, and write the lookup table and the report into the folder `output`, or go on in it.

    `output` is `reports/NAME` by default. What was measured there before is not measured again. `reporter` hears each
    event once it is recorded and is closed at the end. Ctrl-C, or the interrupt of a notebook, finishes what is under
    way, then raises KeyboardInterrupt; a second one stops at once. `is_stopping` asks your own program instead. Raises
    ConfigError and EnvironmentProblem before anything is measured.
    """
    loaded = load_study(study, overrides)
    from tstitch_search.signals import stop_on_signals
    from tstitch_search.study_run import run_study
    from tstitch_search.study_run.preparation.pool import open_pool

    with ExitStack() as stack:
        shown = stack.enter_context(_shown(progress))
        asked = is_stopping or stack.enter_context(stop_on_signals())
        if reporter is not None:
            stack.enter_context(closing(reporter))
        return run_study(loaded, run_folder(loaded, output), open_pool, shown, asked, reporter)


def load_study(study: StudyLike, overrides: Overrides = (), *, own: Sequence[str] = ()) -> "Study":
    """The study in a file, or the `study` itself, with `overrides` put in; those of `space.` are the search space's.

    `own`: settings that overrides win over. Raises ConfigError naming file, line and key.
    """
    from tstitch_search import config

    if isinstance(study, config.Study):
        return config.overridden(study, _settings(overrides), own)
    return config.load_study(Path(study), _settings(overrides), own)


def load_table(table: Path | str) -> "LookupTable":
    """The lookup table of a run folder, in a `lookup.json`, or on the Hugging Face hub: `hub:owner/name@revision`.

    Raises ConfigError naming the file and the field, EnvironmentProblem when the hub does not have it.
    """
    if isinstance(table, str) and table.startswith("hub:"):
        from tstitch_search.tasks.tables.hub import load

        return load(table)
    from tstitch_search.lookup import LookupTable

    return LookupTable.read(table_path(table))


def push_to_hub(table: "LookupTable | Path | str", repository: str, *, private: bool = False) -> str:
    """Put a table, or that of a run folder, on the Hugging Face hub, with a card; the repository's address comes back.

    `repository`: a dataset's `owner/name`, made where it is not there, `private` then; a table that it held is
    replaced. The table names the paths of its study. Raises EnvironmentProblem when the hub does not take it.
    """
    from tstitch_search.lookup import LookupTable
    from tstitch_search.tasks.tables.hub import push

    return push(table if isinstance(table, LookupTable) else load_table(table), repository, private)


def plan(
    study: StudyLike,
    output: Path | str | None = None,
    *,
    overrides: Overrides = (),
    calibrate: bool = False,
    progress: Shown = True,
) -> "Plan":
    """What `run` would do and take: allocations, images, device seconds and disk.

    With `calibrate` step times are measured first. Raises what `run` raises.
    """
    loaded = load_study(study, overrides)
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.tasks.plan import plan_study

    with _shown(progress) as shown:
        return plan_study(loaded, run_folder(loaded, output), open_pool if calibrate else None, shown)


def check(study: StudyLike, *, probe: int = 0, overrides: Overrides = (), progress: Shown = True) -> "Check":
    """Whether the members fit together (`.problem` is None when they do), and what stitching them could gain.

    Reads configurations only; with `probe` it loads the members of a fitting study too, and compares their predictions
    on so many images. Raises ConfigError for a study that cannot be read, EnvironmentProblem for files that cannot be
    had.
    """
    loaded, beside = _for_members(study, _settings(overrides), own=["workers.pool=inline"])
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.tasks.check import check_study
    from tstitch_search.tasks.probe import probe_study

    found = check_study(loaded, beside)
    if not probe or found.problem:
        return found
    with _shown(progress) as shown:
        return replace(found, similarity=probe_study(loaded, probe, open_pool, shown))


def calibrate(
    study: StudyLike, output: Path | str | None = None, *, overrides: Overrides = (), progress: Shown = True
) -> "Calibration":
    """Seconds of each denoiser's step, measured now by one worker; written to the file `output` for `latency.from`.

    Raises ConfigError and EnvironmentProblem before anything is measured, MeasurementError when it fails.
    """
    loaded = load_study(study, overrides, own=["workers.n_workers=1"])
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.study_run.times.calibrations import calibrate_study

    with _shown(progress) as shown:
        return calibrate_study(loaded, None if output is None else Path(output), open_pool, shown)


def generate(
    source: StudyLike,
    allocations: str | Sequence[str] = (),
    *,
    n: int = 16,
    labels: Sequence[int] = (),
    prompts: Sequence[str] = (),
    negative_prompt: str | None = None,
    seed: int = 0,
    budget_s: float | None = None,
    max_fid_loss: float | None = None,
    at: str | None = None,
    strict: bool = False,
    study: Path | str | None = None,
    overrides: Overrides = (),
    progress: Shown = True,
) -> dict[str, list[Any]]:
    """Images by allocation, in the order asked for.

    Of a study: its first `n` search images under each of `allocations`, from the same seeds. Of a run folder or its
    `lookup.json`: an image for each of `labels` or `prompts`, made as the one named allocation says, or as the one that
    is picked within `budget_s` seconds for a batch, `max_fid_loss` (0.02 is 2 %) and at the operating point `at`. Files
    that are not the table's are noted, with `strict` refused; `study`: its study file, where the table's own paths lead
    nowhere. Raises ConfigError for what cannot be drawn, QualityGateError when nothing is within the limits.
    """
    texts = [allocations] if isinstance(allocations, str) else list(allocations)
    if isinstance(source, (Path, str)) and is_of_run(source):
        from tstitch_search.tasks.tables.generate_from_table import Wanted, draw_from_table, entry_for

        table = table_path(source)
        wanted = Wanted(tuple(labels), tuple(prompts), negative_prompt, seed)
        entry = entry_for(table, texts, budget_s, max_fid_loss, at)
        other, settings = Path(study) if study else None, _settings(overrides)
        with _shown(progress) as shown:
            drawn = draw_from_table(table, entry, wanted, shown, strict=strict, other_study=other, settings=settings)
        return _as_images({str(entry.allocation): drawn})
    loaded = load_study(source, overrides, own=["workers.pool=inline"])
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.tasks.generate import images_of

    with _shown(progress) as shown:
        return _as_images(images_of(loaded, texts, n, open_pool, shown))


def compare(run: Path | str, first: str, second: str, *, metric: str | None = None) -> "Comparison":
    """Which of two allocations of a run folder is better, over the same images, with the interval of the difference.

    Of the study's objective, or of `metric`. Raises ConfigError when they have too few images in common.
    """
    from tstitch_search.tasks.compare import compare as compare_two

    return compare_two(run_path(run), first, second, metric)


def verify(
    table: Path | str,
    *,
    max_fid_loss: float = 0.02,
    max_slowdown: float = 1.25,
    n_entries: int = 3,
    study: Path | str | None = None,
    overrides: Overrides = (),
    progress: Shown = True,
) -> "Verification":
    """Whether a table still holds: `n_entries` of its front, made and timed again here; `.passed` says so.

    `max_fid_loss`: the share by which an entry may be worse than the table says; `max_slowdown`: how many times as long
    it may take, judged on the table's device and beyond its errors. Raises ConfigError when members or
    settings are not the table's.
    """
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.tasks.tables.verify import verify as measure_again

    other = Path(study) if study else None
    with _shown(progress) as shown:
        given = _settings(overrides)
        return measure_again(
            table_path(table), max_fid_loss, n_entries, open_pool, shown, other, given, max_slowdown=max_slowdown
        )


def merge(first: Path | str, second: Path | str) -> "LookupTable":
    """Two tables of one key, or of its seeds, made into one: what either measured, with errors as of one run.

    Raises ConfigError naming the facts that differ.
    """
    from tstitch_search.tasks.tables.merge import merge as made_of

    return made_of(table_path(first), table_path(second))


def recalibrate(
    table: Path | str,
    point: str = "here",
    *,
    study: Path | str | None = None,
    overrides: Overrides = (),
    progress: Shown = True,
) -> "LookupTable":
    """The table with the times of this device under the operating point `point`; qualities are kept.

    Raises ConfigError when members or settings are not the table's.
    """
    from tstitch_search.study_run.preparation.pool import open_pool
    from tstitch_search.tasks.tables.recalibrate import recalibrate as measure_again

    other = Path(study) if study else None
    with _shown(progress) as shown:
        return measure_again(table_path(table), point, open_pool, shown, other, _settings(overrides))


def plot(table: "LookupTable | Path | str") -> "Figure":
    """The Pareto plot of the report, a plotly figure: of a table, or of a run folder with all that its search saw."""
    from tstitch_search.report.figure import pareto_figure

    return pareto_figure(Path(table) if isinstance(table, str) else table)


def run_folder(study: "Study", output: Path | str | None) -> Path:
    """Where the study is run: `output`, or `reports/NAME`."""
    return Path("reports") / study.config.name if output is None else Path(output)


def is_of_run(source: Path | str) -> bool:
    """Whether `source` is a run folder or a lookup table rather than a study."""
    return Path(source).is_dir() or Path(source).suffix == ".json"


def table_path(given: Path | str) -> Path:
    """The lookup table that is meant: the file itself, or that of a run folder."""
    path = Path(given)
    return path / "lookup.json" if path.is_dir() else path


def run_path(given: Path | str) -> Path:
    """The run folder that is meant: the folder itself, or the one that a `lookup.json` lies in."""
    path = Path(given)
    return path.parent if path.is_file() else path


def _settings(overrides: Overrides) -> list[str]:
    if isinstance(overrides, Mapping):
        return [f"{key}={_value(value)}" for key, value in overrides.items()]
    return list(overrides)


def _value(value: Any) -> str:
    """As it is written after `--set KEY=`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _for_members(study: StudyLike, settings: list[str], own: list[str]) -> tuple["Study", str | None]:
    from tstitch_search.config.load import Study, load_for_members

    if isinstance(study, Study):
        return load_study(study, settings, own=own), None
    return load_for_members(Path(study), settings, own)


def _shown(progress: Shown) -> "AbstractContextManager[Progress]":
    from tstitch_search.display import shown

    return shown(progress)


def _as_images(drawn: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Images as PIL's; clips stay arrays (frames, h, w, 3)."""
    from PIL import Image

    return {
        text: [image if image.ndim == 4 else Image.fromarray(image) for image in images]
        for text, images in drawn.items()
    }
