"""From files and `--set key=value` to a checked `Study`, and back to one file with every default written out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from tstitch_search.config.document import printable, read_document
from tstitch_search.config.explain import validated
from tstitch_search.config.models import SpaceConfig, Study, StudyConfig
from tstitch_search.config.overrides import override, split_overrides
from tstitch_search.errors import ConfigError


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """The study in the file at `path` and its search space, with `overrides` (`key=value`) put in.

    Keys that begin with `space.` override the search space. Raises ConfigError naming file, line and key.
    """
    of_study, of_space = split_overrides(overrides)
    document = override(read_document(path), of_study)
    config = validated(StudyConfig, document, of_study, "study")
    space_path = path.parent / config.search_space
    if not os.path.isfile(space_path):
        raise ConfigError(
            f"{document.place(('search_space',)).label}: search_space: got {config.search_space!r:.60}, "
            f"expected a file, and {printable(os.path.normpath(space_path))!r} is none",
            hint="search_space is relative to the folder of the study file",
        )
    return Study(
        config=config,
        space=load_space(space_path, of_space),
        study_path=path,
        space_path=space_path,
        overrides=tuple(overrides),
    )


def load_space(path: Path, overrides: Sequence[str] = ()) -> SpaceConfig:
    """The search space in the file at `path`, with `overrides` (`space.key=value`) put in. Raises ConfigError."""
    document = override(read_document(path), overrides, prefix=("space",))
    return validated(SpaceConfig, document, overrides, "space")


def study_as_yaml(study: Study) -> str:
    """The resolved study as YAML: its keys, then `space:` with the whole search space, then `overrides:` as given."""
    document = {
        **study.config.model_dump(mode="json", by_alias=True),
        "space": study.space.model_dump(mode="json"),
        "overrides": list(study.overrides),
    }
    header = "# The study as it ran: every default written out, the search space and the overrides included.\n"
    return header + yaml.safe_dump(document, sort_keys=False, width=120, default_flow_style=None)


def json_schema(kind: Literal["study", "space"]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of study or search space files, for editors."""
    model: type[BaseModel] = StudyConfig if kind == "study" else SpaceConfig
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(),
        "title": f"tstitch-search {kind}",
    }
