"""Placeholder, being written."""

from pathlib import Path
import yaml
from tstitch_search.config.models import SpaceConfig, Study, StudyConfig

def load_space(path: Path) -> SpaceConfig:
    return SpaceConfig.model_validate(yaml.safe_load(path.read_text()))

def load_study(path: Path, overrides=()) -> Study:
    config = StudyConfig.model_validate(yaml.safe_load(path.read_text()))
    space_path = path.parent / config.search_space
    return Study(config=config, space=load_space(space_path), study_path=path, space_path=space_path)
