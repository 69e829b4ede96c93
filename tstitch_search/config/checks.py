"""What no section of a study can check by itself: whether its parts go together. Each raises ConfigError."""

from pathlib import Path

from tstitch_search.config.document import Document, Key, printable
from tstitch_search.config.models import ProxyFiles, SpaceConfig, StudyConfig
from tstitch_search.config.models.quality import BY_PROMPT
from tstitch_search.config.proxy_files import check_takes, read_proxy_files
from tstitch_search.errors import ConfigError


def require_prompts(config: StudyConfig, document: Document) -> None:
    """Nothing, when there are prompts for the metrics that go by them."""
    going_by = [name for name in config.quality.all_metrics if name in BY_PROMPT]
    if going_by and config.proxy_set.prompts is None:
        raise ConfigError(
            f"{document.place(('quality',)).label}: quality: {going_by[0]} needs prompts, got no proxy_set.prompts",
            hint="name a file of prompts, or take another metric",
        )


def require_models(space: SpaceConfig, document: Document, prefix: Key = ()) -> None:
    """Nothing, when all is named that images are made with; `prefix` is where the space is in the document."""
    needed = ("pipeline", *(["controlnet"] if space.family == "sdxl_controlnet" else []))
    missing: list[Key] = [(key,) for key in needed if getattr(space, key) is None]
    missing += [("denoisers", i, "weights") for i, denoiser in enumerate(space.denoisers) if denoiser.weights is None]
    keys = [(*prefix, *key) for key in missing]
    lines = [f"{document.place(key).label}: {'.'.join(map(str, key))} is missing" for key in keys]
    if lines:
        raise ConfigError("\n".join(lines), hint="name it; only a study with measure.recorded makes no images")


def proxy_files(config: StudyConfig, space: SpaceConfig, near: Path, document: Document) -> ProxyFiles:
    """Labels, prompts and control images, read and counted; paths are relative to `near`."""
    n_search, n_confirm = config.quality.n_images, config.confirm.n_images
    try:
        check_takes(config.proxy_set, space)
        return read_proxy_files(config.proxy_set, space.n_classes, n_search, n_confirm, near)
    except ConfigError as error:
        key = error.message.partition(":")[0]
        place = document.place(("proxy_set", key)).label
        raise type(error)(f"{place}: proxy_set.{printable(error.message)}", error.hint) from error
