"""What others have published, to be seen beside a study's own front."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tstitch_search.config.csv_rows import number, read_rows
from tstitch_search.errors import ConfigError


@dataclass(frozen=True)
class Rival:
    """Another method's seconds for a batch and FID, as its `source` gives them."""

    name: str
    latency_s: float
    fid: float
    source: str


def read_rivals(path: Path) -> tuple[Rival, ...]:
    """The rivals in the CSV at `path`: name, latency_s, fid, source. Raises ConfigError, EnvironmentProblem."""
    return tuple(read_rows(path, "rivals", ("name", "latency_s", "fid", "source"), (), _rival))


def _rival(fields: Mapping[str, str]) -> Rival:
    for column in ("name", "source"):
        if not fields[column].strip():
            raise ConfigError(f"{column} is blank, expected some text")
    name, source = fields["name"].strip(), fields["source"].strip()
    return Rival(name, number(fields, "latency_s"), number(fields, "fid"), source)
