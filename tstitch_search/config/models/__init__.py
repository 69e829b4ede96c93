"""The shapes of `search_spaces/*.yaml` and `studies/*.yaml`: every field documented, unknown keys refused.

One file for each part of a study. These documents are checked here once; inside the package there are only these
frozen objects. Descriptions become the JSON Schema that editors use (`tstitch-search schema study`).
"""

from tstitch_search.config.models.denoiser import DenoiserConfig, LoraConfig
from tstitch_search.config.models.latency import DEFAULT_POINT, LatencyConfig, PointConfig
from tstitch_search.config.models.measure import MeasureConfig
from tstitch_search.config.models.proxy_set import GroupsConfig, ProxyFiles, ProxySetConfig
from tstitch_search.config.models.quality import GuardConfig, MetricName, QualityConfig
from tstitch_search.config.models.search import ConfirmConfig, FocusConfig, SearchConfig
from tstitch_search.config.models.space import SpaceConfig
from tstitch_search.config.models.study import StudyConfig
from tstitch_search.config.models.workers import ExecutionConfig, WorkersConfig

__all__ = [
    "DEFAULT_POINT",
    "ConfirmConfig",
    "DenoiserConfig",
    "ExecutionConfig",
    "FocusConfig",
    "GroupsConfig",
    "GuardConfig",
    "LatencyConfig",
    "LoraConfig",
    "MeasureConfig",
    "MetricName",
    "PointConfig",
    "ProxyFiles",
    "ProxySetConfig",
    "QualityConfig",
    "SearchConfig",
    "SpaceConfig",
    "StudyConfig",
    "WorkersConfig",
]
