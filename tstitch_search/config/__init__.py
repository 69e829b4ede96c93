"""Study and search space files: YAML in, frozen and checked objects out."""

from tstitch_search.config.allocations import allocation_in
from tstitch_search.config.load import (
    Study,
    json_schema,
    load_space,
    load_study,
    overridden,
    study_as_yaml,
    study_document,
    study_of,
)
from tstitch_search.config.models import SpaceConfig, StudyConfig

__all__ = [
    "SpaceConfig",
    "Study",
    "StudyConfig",
    "allocation_in",
    "json_schema",
    "load_space",
    "load_study",
    "overridden",
    "study_as_yaml",
    "study_document",
    "study_of",
]
