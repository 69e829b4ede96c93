"""Study and search space files: YAML in, frozen and checked objects out."""

from tstitch_search.config.load import load_space, load_study
from tstitch_search.config.models import SpaceConfig, Study, StudyConfig

__all__ = ["SpaceConfig", "Study", "StudyConfig", "load_space", "load_study"]
