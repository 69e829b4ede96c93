"""From a lookup table back to the study that made it, so that it can be measured again here."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tstitch_search.config import Study, load_study, study_of
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable

if TYPE_CHECKING:
    from tstitch_search.study_run.key import StudyFacts


def study_from_table(path: Path, table: LookupTable, study: Path | None, settings: Sequence[str]) -> Study:
    """The table's own study with `settings` (`key=value`), or the one in the file `study`.

    Raises ConfigError when the table does not hold it, when its paths lead nowhere from here, or when it is a study of
    recorded numbers.
    """
    found = load_study(study, settings) if study else _own_study(path, table, settings)
    if found.config.measure.recorded is not None:
        raise ConfigError(
            f"{path} holds recorded numbers, which cannot be measured again",
            hint="make a study of the models themselves, and run it",
        )
    return found


def _own_study(path: Path, table: LookupTable, settings: Sequence[str]) -> Study:
    document = table.provenance.get("study")
    if not isinstance(document, dict):
        raise ConfigError(f"{path} does not say which study made it", hint="name the study file with --study")
    try:
        return study_of(document, path, settings)
    except ConfigError as error:
        hint = "--study STUDY, where the table was moved away from its study"
        raise ConfigError(error.message, hint=f"{error.hint}; or {hint}" if error.hint else hint) from error


def facts_like(path: Path, table: LookupTable, study: Study, may_differ: Iterable[str]) -> "StudyFacts":
    """The study's facts on this machine, once they are known to be those of the table.

    Facts whose name begins with one of `may_differ` are not held against it. Raises ConfigError naming the others.
    """
    from tstitch_search.study_run.key import resolve_facts  # torch, which reading a table does without

    facts, prefixes = resolve_facts(study), tuple(may_differ)
    recorded = table.provenance.get("key")
    if not isinstance(recorded, dict):
        raise ConfigError(f"{path} does not say what it was measured with", hint="make it again with this version")
    now = {**facts.key, "resolution": str(facts.resolution)}
    there = {**recorded, "resolution": str(table.provenance.get("resolution", "unknown"))}
    names = [name for name in {**there, **now} if not name.startswith(prefixes) and there.get(name) != now.get(name)]
    if names:
        lines = [f"  {name}: {there.get(name, 'absent')} there, {now.get(name, 'absent')} now" for name in names]
        raise ConfigError(
            f"{path} is about something else; these facts differ:\n" + "\n".join(lines),
            hint="use the weights and settings that the table was made with",
        )
    return facts
